"""Pure coordinators against real machines over a network that delays, repeats and reorders everything.

Coordinators are replaced at random and the old ones act on for a while without knowing it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from node.core.commit import Answered, Ask, Coordinator, Cut, CutMade, Decisions, Effect, Forget, Record, Ticket
from node.core.commit.decisions import unpack_records
from node.core.ledger import Ledger
from node.core.machine import Body, EpochRequest, Kind, Marker, PartQuestion, unpack_decision
from protocol.columns import Flag, Transfers
from protocol.status import Status, split_status
from tests.core.commit.bench import resolved
from tests.core.ledger.driving import columns
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard

ACCOUNTS_A_SHARD = 3
OPENING = 300
COMMITS = {"2pc": ["", "2pc"], "3pc": ["", "3pc"], "mixed": ["", "2pc", "3pc"]}  # what batches ask for


@dataclass(slots=True)
class Batch:
    """What a client wants to know the outcome of."""

    rows: list[Transfer]
    commit: str = ""
    answers: list[list[int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Leader:
    """A coordinator and the tickets that it owes an answer."""

    epoch: int
    core: Coordinator
    tickets: dict[Ticket, Batch] = field(default_factory=dict)


class World:
    """Shards 1 to `count`, group 0, and whoever believes to be the coordinator."""

    def __init__(self, seed: int, count: int, protocol: str = "2pc") -> None:
        self.random = Random(seed)
        self.protocol = protocol
        self.groups = tuple(range(1, count + 1))
        self.shards = {group: Shard(Ledger()) for group in self.groups}
        self.zero = Shard(Decisions())
        self.pool: list[Callable[[], None]] = []
        self.batches: list[Batch] = []
        self.local_ids: list[int] = []
        self.committed: dict[int, list[bool]] = {}  # round to what any shard has carried out
        self.decided: dict[int, bytes] = {}  # round of 2pc to its decision
        self.participants: dict[int, dict[int, None]] = {}  # round to the groups that have prepared it
        self.ended: dict[int, list[tuple[int, int]]] = {group: [] for group in self.groups}  # (index, round)
        self.records = 0
        self.marks: list[str] = []
        self.cuts = 0
        self.open_at_cuts = 0
        self._ids = 10
        self._tickets = 0
        self._open_accounts()
        self.leader = Leader(0, Coordinator())
        self.leaders: list[Leader] = []
        self.replace()

    def _open_accounts(self) -> None:
        for group, shard in self.shards.items():
            shard.accounts(f"{group}:world", minimum=None)
            shard.accounts(f"{group}:usd", minimum=None, currency="USD")
            for number in range(ACCOUNTS_A_SHARD):
                shard.accounts(f"{group}:{number}")
                row = Transfer(group * 1_000_000 + number, f"{group}:world", f"{group}:{number}", OPENING)
                assert shard.transfers(row) == [0]

    # -- who leads ------------------------------------------------------------------------------------------------

    def replace(self) -> None:
        """The next coordinator begins; the one before may not know it yet."""
        default = "2pc" if self.protocol == "mixed" else self.protocol
        self.leader = Leader(self.leader.epoch + 1, Coordinator(default))
        self.leaders.append(self.leader)
        self._begin(self.leader)

    def _begin(self, leader: Leader) -> None:
        def deliver() -> None:
            (answer,) = self.zero.entry([Kind.apply, "decisions", ["begin", leader.epoch, 1]])
            if answer[0] == "begun" and leader in self.leaders and not leader.core.epoch:
                records = unpack_records(answer[1])
                self._take(leader, leader.core.lead(leader.epoch, (0, *self.groups), records))

        self._post(deliver)

    def resign(self, leader: Leader) -> None:
        """It hears that it is over; its clients ask the new one with the same ids."""
        if leader is self.leader or leader not in self.leaders:
            return
        self.leaders.remove(leader)
        unanswered = leader.core.resign()
        known = leader.tickets.keys()
        assert set(unanswered) <= set(known), "a ticket without an answer is one that was submitted"
        for batch in leader.tickets.values():
            self.submit(batch)

    # -- the network ----------------------------------------------------------------------------------------------

    def _post(self, deliver: Callable[[], None]) -> None:
        self.pool.append(deliver)

    def step(self) -> None:
        """Delivers anything that is under way, and now and then leaves a copy of it behind."""
        place = self.random.randrange(len(self.pool))
        deliver = self.pool[place]
        if self.random.random() > 0.1:
            self.pool[place] = self.pool[-1]
            self.pool.pop()
        deliver()
        for leader in self.leaders:
            if self.random.random() < 0.1:
                leader.core.hurry(self.random.choice([None, *self.groups]))
            if self.random.random() < 0.05:
                self._take(leader, leader.core.record_lingering())
            self._take(leader, leader.core.go_on())

    def _take(self, leader: Leader, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ask():
                    self._ask(leader, effect)
                case Record():
                    self._record(leader, effect)
                case Forget(round_ids):
                    forget = [Kind.apply, "decisions", ["forget", list(round_ids)]]
                    self._post(lambda request=forget: self._tell_zero(request))  # type: ignore[misc]
                case Answered(ticket, statuses, _):
                    batch = leader.tickets.pop(ticket)
                    told = [split_status(status)[0] for status in statuses]
                    batch.answers.append(list(told))
                    if max(told) >= Status.undecided:
                        self.submit(batch)  # it was busy for too long
                case CutMade(name, answers):
                    self._check_cut(name, answers)

    def _tell_zero(self, request: Body) -> None:
        self.zero.entry(request)

    def _record(self, leader: Leader, record: Record) -> None:
        body = ["record", list(record.forgotten), record.round_id, list(record.groups), record.decision]

        def answered() -> None:
            self._take(leader, leader.core.recorded(record.round_id))
            self.records += 1

        def deliver() -> None:
            (answer,) = self.zero.entry([Kind.apply, "decisions", body])
            if answer[0] == "recorded":
                self._post(answered)

        self._post(deliver)

    def _ask(self, leader: Leader, ask: Ask) -> None:
        def repeat() -> None:
            if leader.core.wants(ask):
                deliver()

        def deliver() -> None:
            answer = self._carry_out(ask)
            if self.random.random() < 0.1:
                self._post(repeat)  # the answer is lost
                return
            self._post(lambda: self._take(leader, leader.core.asked(ask, answer) if leader.core.wants(ask) else []))
            if (prepare := ask.prepare) is not None and self.random.random() < 0.03:
                self._post(lambda: self._take(leader, leader.core.abandon(prepare.round_id)))

        self._post(deliver)

    def _carry_out(self, ask: Ask) -> Body:
        shard = self.shards.get(ask.group, self.zero)
        opened = list(shard.machine.rounds)
        (answer,) = shard.entry(resolved(ask, shard.round))
        if ask.prepare is not None and answer[0] == "votes":
            self.participants.setdefault(ask.prepare.round_id, {})[ask.group] = None
        if answer[0] != "stale_epoch" and not isinstance(ask.request, EpochRequest):
            self._note_decisions(ask.group, opened, ask.request.decisions)
        return answer

    def _note_decisions(self, group: int, opened: list[int], decisions: Mapping[int, bytes]) -> None:
        for round_id, decision in decisions.items():
            if round_id in opened:
                went = (unpack_decision(decision) == 0).tolist()
                assert self.committed.setdefault(round_id, went) == went, "one decision a round"
                if self.shards[group].machine._trail.get(round_id).protocol == "2pc":  # type: ignore[union-attr]
                    assert self.decided.setdefault(round_id, decision) == decision, "with the same reasons"
                self.ended[group].append((self.shards[group].machine.applied, round_id))

    def _check_cut(self, name: str, answers: dict[int, Marker]) -> None:
        """Money is neither made nor lost nor half moved at a mark, and each round is in the cut as a whole or not at all."""
        self.cuts += 1
        self.open_at_cuts += any(answer.rounds for answer in answers.values())
        in_cut = {
            group: [round_id for index, round_id in self.ended[group] if index <= answers[group].index]
            for group in self.groups
        }
        for round_id, groups in self.participants.items():
            there = [round_id in in_cut[group] for group in groups]
            assert all(there) or not any(there), (name, round_id, there)
        sums: Counter[str] = Counter()
        for group in self.groups:
            if answers[group].answers:
                ((_, rows),) = answers[group].answers
                sums.update({currency: 0 for _, currency, *_ in rows})
                for _, currency, posted, *_ in rows:
                    sums[currency] += posted
                continue
            (_, totals), *_ = answers[group].totals
            for currency, posted, _, _, debits, credits in totals:
                sums[currency] += int(posted)
                sums[f"{currency} turnover"] += int(debits) - int(credits)
        assert not any(sums.values()), sums

    # -- clients --------------------------------------------------------------------------------------------------

    def random_batch(self) -> Batch:
        """A few transfers, some linked, some hopeless, some with an id that was used before."""
        rows: list[Transfer] = []
        for _ in range(self.random.randint(1, 6)):
            payer, payee = self.random.sample([*self._names(), "1:usd", "2:none"], 2)
            self._ids += 1
            id = self.random.randint(11, self._ids) if self.random.random() < 0.05 else self._ids
            if any(row.id == id for row in rows):  # a chain that names an id twice waits for itself
                id = self._ids
            rows.append(Transfer(id, payer, payee, self.random.randint(1, 200)))
            if self.random.random() < 0.3:
                rows[-1].flags = Flag.linked
        if self.random.random() < 0.95:
            rows[-1].flags = 0
        batch = Batch(rows, self.random.choice(COMMITS[self.protocol]))
        self.batches.append(batch)
        return batch

    def _names(self) -> list[str]:
        return [f"{group}:{number}" for group in self.groups for number in range(ACCOUNTS_A_SHARD)]

    def submit(self, batch: Batch) -> None:
        """Gives a batch to the coordinator of the day, now or once it is ready."""

        def deliver() -> None:
            leader = self.leader
            if not leader.core.active:
                self._post(deliver)
                return
            self._tickets += 1
            ticket = Ticket(self._tickets)
            leader.tickets[ticket] = batch
            transfers: Transfers = replace(columns(batch.rows), commit=batch.commit)
            debit, credit = (
                np.array([int(name[0]) for name in names], np.int32)
                for names in (transfers.debits(), transfers.credits())
            )
            self._take(leader, leader.core.submit(ticket, transfers, debit, credit))

        deliver()

    def mark(self) -> None:
        """Somebody wants an audit, or a snapshot of all accounts."""
        name = f"m{len(self.marks)}"
        self.marks.append(name)
        if self.random.random() < 0.5:
            self.leader.core.make_cut(Cut(name, (), True, {}))
            return
        questions: dict[int, list[PartQuestion]] = {}
        for group in self.groups:
            names = [f"{group}:world", f"{group}:usd", *(own for own in self._names() if own.startswith(f"{group}:"))]
            questions[group] = [PartQuestion("ledger", ["accounts", names])]
        self.leader.core.make_cut(Cut(name, self.groups, False, questions))

    def abandon_cut(self) -> None:
        """A cut takes too long."""
        for leader in self.leaders:
            leader.core.abandon_cut(self.random.choice(self.marks))

    def local(self) -> None:
        """A payment inside one shard, which needs no coordinator."""
        group = self.random.choice(self.groups)
        payer, payee = self.random.sample([name for name in self._names() if name.startswith(f"{group}:")], 2)
        self._ids += 1
        self.local_ids.append(self._ids)
        self.shards[group].transfers(Transfer(self._ids, payer, payee, self.random.randint(1, 50)))

    # -- the end --------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everything under way arrives, and every old coordinator hears that it is over."""
        for leader in list(self.leaders):
            self.resign(leader)
        for _ in range(200_000):
            if self.pool:
                self.step()
                continue
            self.leader.core.hurry()
            self._take(self.leader, self.leader.core.go_on())
            if not self.pool:
                return
        raise AssertionError("the rounds never end")

    def histories(self) -> dict[str, Counter[int]]:
        """How often each transfer is in the history of each account."""
        found: dict[str, Counter[int]] = defaultdict(Counter)
        for name in [*self._names(), "1:usd"]:
            rows = self.shards[int(name[0])].query("ledger", "history", name, None, 1_000, False).body[1]
            assert len(rows) < 1_000
            found[name] = Counter(int.from_bytes(row[0], "big") for row in rows)
        return found
