"""What must hold after every step of a run, looked at from outside, apart from the workload.

The checker keeps, for each group, the log as it was first seen committed, and a machine of its own that applies it: the
reference that replicas, rounds and later the clients' histories are compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from node.actors.replica import Replica
from node.core.ledger import Ledger
from node.core.ledger.books import Books
from node.core.locks import Locks
from node.core.machine import Machine
from node.core.raft import Entry, Role
from node.daemon import make_machine
from tests.simulation.checkpoints import CheckpointLog
from tests.simulation.cluster import Cluster, Host
from tests.simulation.decisions import DecisionLog
from tests.simulation.fencing import HolderLog
from tests.simulation.loop import Owner
from tests.simulation.times import TimeLog

KEPT_MAX = 8  # decisions that a shard remembers behind a cut: those of rounds that were under way then
UNDECIDED_SECONDS_MAX = 2.0  # that a round may stay open once nothing is broken and a majority of every group runs

LATE_SECONDS_MAX = 2.0  # that holds and leases may live too long from then on: an election, and a tick


class Violation(AssertionError):
    """A promise is broken."""


@dataclass(slots=True)
class Seen:
    """What was last seen of one replica in one life of its process."""

    role: Role = Role.follower
    term: int = 0
    commit: int = 0
    last: tuple[int, int] = (0, 0)  # index and checksum of the log's end
    reached: int = 0  # the log is compared up to here


@dataclass(slots=True)
class Watched:
    """One replica in one life of its process, and what tells quickly that nothing has changed there."""

    group: int
    replica: Replica
    seen: Seen
    role: object = None
    term: int = -1
    commit: int = -1
    end: int = -1
    tail: Entry | None = None

    def has_changed(self) -> bool:
        """Whether the log or the role is another one than at the last call."""
        state = self.replica.raft.state
        log = state.log
        entries = log.entries
        end, tail = log.base_index + len(entries), entries[-1] if entries else None
        if (
            tail is self.tail and end == self.end and log.commit == self.commit
            and state.role is self.role and state.term == self.term
        ):  # fmt: skip
            return False
        self.role, self.term, self.commit, self.end, self.tail = state.role, state.term, log.commit, end, tail
        return True


@dataclass(slots=True)
class Point:
    """An account at one version: as the entry with this index left it."""

    index: int
    posted: int
    held: int | None = None  # None while an open round changes it, be it until the next version


@dataclass(slots=True)
class GroupLog:
    """One group as the outside knows it."""

    machine: Machine
    times: TimeLog
    entries: list[Entry] = field(default_factory=list)  # committed, from index 1
    known_since: list[int] = field(default_factory=list)  # the term in which each was first seen committed
    checksums: dict[tuple[int, int], int] = field(default_factory=dict)  # (index, term) -> checksum
    made: dict[tuple[int, int], float] = field(default_factory=dict)  # (index, term) -> virtual time
    leaders: dict[int, int] = field(default_factory=dict)  # term -> node
    digests: dict[int, int] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)  # account -> its states, rising
    unsettled: dict[int, Point] = field(
        default_factory=dict
    )  # row -> its newest state, while an open round changes its holds
    effects: dict[tuple[bytes, str], int] = field(default_factory=dict)  # (transfer, account it changed) -> index
    sealed: int = 0  # segments of the record looked at
    rows: int = 0  # rows of the next one
    row_ns: int = 0  # the time of the last row


class Invariants:
    """Call `step` after each turn of the loop; `fail` is told the first broken promise."""

    def __init__(self, cluster: Cluster, fail: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.fail = fail
        self.groups = {group: self._make_log(group) for group in range(cluster.shape.shards + 1)}
        self.decisions = DecisionLog(self._expect)
        self._holders = HolderLog(self._expect)
        self.checkpoints = CheckpointLog(make_machine, self._expect)
        self.checks = 0
        self.undecided_seconds = 0.0
        self._calm_since: float | None = None
        self._opened: dict[tuple[int, int], float] = {}  # (group, round) -> when it was first seen open
        self._watched: dict[Owner, list[Watched]] = {}
        self._votes: dict[tuple[int, int, int], int] = {}  # (data folder, group, term) -> who got its vote
        self._terms: dict[tuple[int, int], int] = {}  # (node, group) -> the highest durable term

    def _make_log(self, group: int) -> GroupLog:
        clocks = self.cluster.clocks
        times = TimeLog(f"group {group}", self._expect, lambda: clocks.right_since, self.cluster.loop.time())
        return GroupLog(make_machine(group), times)

    def step(self) -> None:
        """Looks at every node that has done something since the last call."""
        stepped, hosts = self.cluster.loop.stepped, self.cluster.hosts
        for owner in stepped:
            host = hosts.get(owner.host)
            if host is None or host.owner is not owner or host.node is None:
                continue
            for one in self._watch(owner, host.node.replicas):
                if one.has_changed():
                    self._look(host, one.group, one.replica, one.seen)
        stepped.clear()

    def _watch(self, owner: Owner, replicas: dict[int, Replica]) -> list[Watched]:
        watched = self._watched.setdefault(owner, [])
        if len(watched) != len(replicas):
            known = [one.group for one in watched]
            for group, replica in replicas.items():
                if group not in known:
                    watched.append(Watched(group, replica, Seen(reached=replica.raft.state.log.base_index)))
        return watched

    def _look(self, host: Host, group: int, replica: Replica, seen: Seen) -> None:
        state = replica.raft.state
        log = state.log
        role, term, commit = state.role.kind, state.term, log.commit
        last = (log.last_index, log.last_checksum)
        if (seen.role, seen.term, seen.commit, seen.last) == (role, term, commit, last):
            return
        self.checks += 1
        name = f"group {group} node {host.number}"
        self._expect(term >= seen.term, f"{name}: term fell from {seen.term} to {term}")
        self._expect(commit >= seen.commit, f"{name}: commit fell from {seen.commit} to {commit}")
        known = self.groups[group]
        if role is Role.leader:
            self._check_leader(name, host.number, known, replica, is_new=(seen.role, seen.term) != (role, term))
            if seen.role is role and seen.term == term and commit > seen.commit:
                own = log.term_at(commit)
                self._expect(own in (term, None), f"{name}: leader of term {term} counted an entry of term {own}")
        if last != seen.last:
            self._check_matching(name, known, replica, seen)
        if commit > seen.commit:
            self._note_committed(name, group, known, replica, seen.commit)
        self._check_votes(name, host, group, replica)
        seen.role, seen.term, seen.commit, seen.last = role, term, commit, last
        self._check_damage(name, host, group, replica)

    def _expect(self, holds: bool, broken: str) -> None:
        if not holds:
            self.fail(broken)

    # -- the log --------------------------------------------------------------------------------------------------

    def _check_leader(self, name: str, node: int, known: GroupLog, replica: Replica, *, is_new: bool) -> None:
        term = replica.raft.state.term
        other = known.leaders.setdefault(term, node)
        self._expect(other == node, f"{name}: second leader of term {term}, the first was node {other}")
        if not is_new:
            return
        log = replica.raft.state.log
        for position in range(len(known.entries) - 1, -1, -1):
            if known.known_since[position] >= term:
                continue
            entry = known.entries[position]
            if entry.index > log.base_index:
                there = entry.index <= log.last_index and log.checksum_at(entry.index) == entry.checksum
                self._expect(there, f"{name}: leader of term {term} lacks committed entry {entry.index}")
            break

    def _check_matching(self, name: str, known: GroupLog, replica: Replica, seen: Seen) -> None:
        log = replica.raft.state.log
        reached = min(seen.reached, log.last_index)
        first = max(log.base_index, 0) + 1
        for index in range(log.last_index, first - 1, -1):
            entry = log.entries[index - first]
            checksum = known.checksums.setdefault((index, entry.term), entry.checksum)
            known.made.setdefault((index, entry.term), self.cluster.loop.time())
            self._expect(checksum == entry.checksum, f"{name}: two entries {index} of term {entry.term}")
            if index <= reached and index <= log.commit:
                break
        seen.reached = log.last_index

    def _note_committed(self, name: str, group: int, known: GroupLog, replica: Replica, before: int) -> None:
        log = replica.raft.state.log
        first = max(before, log.base_index) + 1
        for entry in log.slice(first, log.commit, 1 << 62) if log.commit >= first else ():
            if entry.index <= len(known.entries):
                same = known.entries[entry.index - 1].checksum == entry.checksum
                self._expect(same, f"{name}: committed entry {entry.index} has changed")
            elif entry.index == len(known.entries) + 1:
                self._check_durable(name, group, entry)
                known.entries.append(entry)
                known.known_since.append(replica.raft.state.term)
                self._apply(name, group, known, entry)
            else:
                self.fail(f"{name}: committed entry {entry.index} comes before {len(known.entries) + 1}")

    def _check_durable(self, name: str, group: int, entry: Entry) -> None:
        replicas = self.cluster.placement.replicas[group]
        holding = [node for node in replicas if self.cluster.hosts[node].drive.holds(group, entry)]
        self._expect(
            2 * len(holding) > len(replicas), f"{name}: committed entry {entry.index} is on disk at {holding} only"
        )

    def _check_votes(self, name: str, host: Host, group: int, replica: Replica) -> None:
        """One vote a term, over all lives of a folder and whatever its disk forgets."""
        state, key = replica.raft.state, (host.drive.folder.data_id, group)
        is_known = not host.drive.is_put_back  # else a term that only it had seen is forgotten, with a vote for itself
        is_lower = is_known and state.term < self._terms.get(key, 0)
        self._expect(not is_lower, f"{name}: term {state.term} after {self._terms.get(key)}")
        term, vote = _told(host, group)
        self._terms[key] = max(self._terms.get(key, 0), term)
        votes: list[tuple[int, int]] = [(term, vote)] if vote not in (0, host.number) else []
        if state.role.kind in (Role.candidate, Role.leader) and is_known and (term, vote) == (state.term, host.number):
            votes.append((state.term, host.number))
        for term, vote in votes:
            other = self._votes.setdefault((*key, term), vote)
            self._expect(other == vote, f"{name}: voted for {other} and for {vote} in term {term}")

    def _check_damage(self, name: str, host: Host, group: int, replica: Replica) -> None:
        """A replica that lost what was committed knows it, over any number of lives, until it has it back; no other says so."""
        damaged = host.drive.damaged.get(group)
        if replica.raft.state.recovering:
            self._expect(damaged is not None or host.drive.is_put_back, f"{name}: recovers, and has lost nothing")
            return
        hosts = [self.cluster.hosts[node] for node in self.cluster.placement.replicas[group]]
        is_known = not (self.cluster.may_refuse and all(other.drive.is_put_back for other in hosts))
        if damaged is None or host.is_doubtful or not is_known:
            return
        log, committed = replica.raft.state.log, self.groups[group].entries
        lost = [
            index
            for index in damaged
            if index <= len(committed) and damaged[index].checksum == committed[index - 1].checksum
        ]
        there = [
            index
            for index in lost
            if index <= log.base_index
            or (index <= log.last_index and log.checksum_at(index) == damaged[index].checksum)
        ]
        self._expect(
            lost == there, f"{name}: lost entry {max(lost, default=0)}, ends at {log.last_index}, and forgot that"
        )
        slots = host.drive.disk.promises.get(group)
        is_stored = slots is not None and slots.newest.lost is None
        if is_stored and log.stable >= max(there, default=0):
            del host.drive.damaged[group]

    # -- the machine ----------------------------------------------------------------------------------------------

    def _apply(self, name: str, group: int, known: GroupLog, entry: Entry) -> None:
        machine = known.machine
        epoch = machine.epoch
        made = known.made[entry.index, entry.term]
        if entry.kind == 0 and entry.data:
            self.decisions.look(name, group, machine, entry.data)
            known.times.before(entry.index, entry.term, entry.data, made)
        try:
            machine.apply(entry.index, entry.data if entry.kind == 0 else b"")
        except AssertionError as error:
            self._expect(False, f"{name}: entry {entry.index} cannot be applied: {error}")
            return
        self.decisions.look_after(name, group, machine)
        known.times.after(machine, made)
        if group == 0:
            locks = machine.parts["locks"]
            assert isinstance(locks, Locks)
            self._holders.look(name, locks)
        self._expect(machine.epoch >= epoch, f"{name}: the epoch fell from {epoch} to {machine.epoch}")
        ledger = machine.parts.get("ledger")
        if isinstance(ledger, Ledger):
            self._check_books(name, known, ledger, entry.index)

    def _check_books(self, name: str, known: GroupLog, ledger: Ledger, index: int) -> None:
        accounts = ledger.books.accounts
        count = accounts.count
        # What an open round has reserved may rest on credits of the same round, and may leave again without a trace.
        held = accounts.held[:count] - accounts.unsettled[:count]
        spendable = accounts.posted[:count] - held - accounts.minimum[:count]
        if count and int(spendable.min()) < 0:
            poor = accounts.names[int(np.argmin(spendable))]
            self.fail(f"{name}: entry {index} leaves {poor} {int(spendable.min())} above its limit")
        for row in np.flatnonzero(accounts.version[:count] == index).tolist():
            known.unsettled[row] = Point(index, int(accounts.posted[row]))
            known.points.setdefault(accounts.names[row], []).append(known.unsettled[row])
        for row in [row for row in known.unsettled if not accounts.unsettled[row]]:
            known.unsettled.pop(row).held = int(accounts.held[row])
        self._look_at_record(name, known, ledger.books, index)

    def _look_at_record(self, name: str, known: GroupLog, books: Books, index: int) -> None:
        """The rows that this entry made, some of which it may have sealed: their times rise; which accounts they have changed."""
        history, accounts = books.history, books.accounts
        sealed = (
            history.window.get(number) or history.retired[number] for number in range(known.sealed, history.sealed)
        )
        for source in [*(one.segment for one in sealed), history.tail]:
            for position in range(known.rows, source.count):
                row_ns = int(source.timestamp_ns[position])
                self._expect(row_ns > known.row_ns, f"{name}: a row of entry {index} is not later than the one before")
                known.row_ns = row_ns
                if int(source.status[position]) == 0:
                    for account in (int(source.debit[position]), int(source.credit[position])):
                        if account >= 0 and int(accounts.version[account]) == index:
                            known.effects[source.id_at(position), accounts.names[account]] = index
            known.rows = 0
        known.sealed, known.rows = history.sealed, history.tail.count

    # -- now and then ---------------------------------------------------------------------------------------------

    def compare_digests(self) -> int:
        """Compares replicas that stand where the reference stands, and checkpoints; how many replicas did."""
        compared = 0
        for group, known in self.groups.items():
            expected: int | None = None
            for number, node in self.cluster.nodes().items():
                replica = node.replicas.get(group)
                if replica is None or replica.machine.applied != known.machine.applied:
                    continue
                expected = known.machine.digest() if expected is None else expected
                same = replica.machine.digest() == expected
                self._expect(same, f"group {group} node {number}: another digest at {known.machine.applied}")
                compared += 1
            for host in self.cluster.hosts.values():
                self.checkpoints.look(host, group, known.entries, known.machine)
        return compared

    def open_rounds(self) -> list[str]:
        """Rounds that are prepared somewhere and not decided."""
        return [f"group {group}: round {round_id:x}" for group, round_id in self._open_rounds()]

    def kept_rounds(self) -> list[str]:
        """Groups that remember more decisions than can be under way, once all is carried out and a cut has told them so."""
        kept = {group: len(known.machine._finished) for group, known in self.groups.items()}
        return [f"group {group}: {count} rounds are not forgotten" for group, count in kept.items() if count > KEPT_MAX]

    def _open_rounds(self) -> list[tuple[int, int]]:
        return [(group, round_id) for group, known in self.groups.items() for round_id in known.machine.rounds]

    def short_lives(self) -> list[str]:
        """Holds and leases that should end within seconds."""
        return [one for known in self.groups.values() for one in known.times.short_lives()]

    def check_undecided(self, *, is_calm: bool) -> None:
        """Call it often: no round, hold or lease stays for longer than it may, once a majority of all groups runs in a calm."""
        now = self.cluster.loop.time()
        self._opened = {key: self._opened.get(key, now) for key in self._open_rounds()}
        if not is_calm or not self.cluster.has_majorities() or self.cluster.is_recovering():
            self._calm_since = None
            return
        self._calm_since = now if self._calm_since is None else self._calm_since
        for (group, round_id), opened in self._opened.items():
            age = now - max(opened, self._calm_since)
            self.undecided_seconds = max(self.undecided_seconds, age)
            self._expect(
                age <= UNDECIDED_SECONDS_MAX,
                f"group {group}: round {round_id:x} is undecided for {age:.1f} s in a calm",
            )
        for known in self.groups.values():
            for overdue in known.times.overdue(now, self._calm_since, LATE_SECONDS_MAX):
                self._expect(False, overdue)

    def check_sums(self) -> None:
        """When no round is open anywhere: per currency the books of all shards add up to nothing."""
        if self.open_rounds():
            return
        sums: dict[str, int] = {}
        for known in self.groups.values():
            ledger = known.machine.parts.get("ledger")
            if isinstance(ledger, Ledger):
                for currency, posted, *_ in ledger.totals():
                    sums[currency] = sums.get(currency, 0) + int(posted)
        for currency, posted in sums.items():
            self._expect(posted == 0, f"the books of {currency} are off by {posted}")


def _told(host: Host, group: int) -> tuple[int, int]:
    """The term and the vote that others may know of: they are in the log, and promised behind that; zeros where the two differ."""
    stored, slots = host.drive.disk.groups.get(group), host.drive.disk.promises.get(group)
    if stored is None or slots is None:
        return 0, 0
    hard, promise = stored.hard_state, slots.newest
    is_promised = (hard.term, hard.vote) == (promise.term, promise.vote)
    return (hard.term, int(hard.vote)) if is_promised else (0, 0)
