"""How requests become entries at a leader: gather while entries are in flight, resolve, and hand back the answers.

The pipeline calls nobody: it gives its replica what is to be proposed and which rows are to be read (`Taken`), and says when somebody
waits for a decision.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from node.actors.actor import RETRY_AFTER_MS, Failed, Outcome, Reply, malformed, not_done, overdue
from node.actors.events import Command, Propose
from node.actors.waiting import ROUND_TRANSFERS, Waiting
from node.core.clocks import QUIET_NS, Stamp, Stamps
from node.core.machine import Body, Machine, Need, is_round, pack_entry, rows_of
from node.ports import Clock
from protocol.errors import ErrorCode, ProtocolError
from protocol.frames import FRAME_BYTES_MAX
from protocol.status import MERGED_LENGTH_MAX, TRANSFERS_MAX

ENTRIES_IN_FLIGHT_MAX = 4  # of full entries: one gathered, written, replicated, applied; more only wait in those queues
FULL_ENTRY_TRANSFERS = TRANSFERS_MAX // 2  # less waits for the entry in flight, so that batching grows with load
REQUESTS_PER_ENTRY_MAX = 1_024  # bounds what one entry makes every replica do at once
ENTRY_BYTES_MAX = 8 << 20  # unless one command alone is longer: half of a frame between nodes
NEVER_NS = 1 << 62  # that no log counts: what is due by then is all that lives for a while
LONGEST_ENTRY_BYTES = FRAME_BYTES_MAX - (1 << 16)  # with what a frame has around it; no peer could be sent a longer one
WAITING_MAX = 8_192  # requests that wait for their entry; beyond it clients are told `busy`


@dataclass(slots=True)
class Slot:
    """A command on its way, and which rows of the entry's merged command are its own."""

    command: Command
    start: int
    stop: int

    def of(self, answer: Body) -> Body:
        """Its part of what the entry's command was answered."""
        return rows_of(answer, self.start, self.stop)


@dataclass(slots=True)
class Bundle:
    """One request of an entry, made of one or several commands."""

    request: Body
    slots: list[Slot]
    reply: Reply | None = None  # of a `Propose`


Load = tuple[Command | Propose, Need]
"""A request, and which rows it needs before it can be resolved."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be proposed."""

    data: bytes
    bundles: list[Bundle]


@dataclass(slots=True)
class InFlight:
    """A proposed entry."""

    index: int
    term: int
    bundles: list[Bundle]


@dataclass(frozen=True, slots=True)
class Taken:
    """What has become of requests whose turn it was."""

    drafts: list[Draft]
    loads: list[Load]  # rows to be read; the request comes back by `add_first`


class Pipeline:
    """Owned by one replica, which says when it serves."""

    def __init__(self, clock: Clock, true_ns: Callable[[], int]) -> None:
        """`true_ns`: nanoseconds since 1970, as far as the nodes agree on it."""
        self._clock = clock
        self._true_ns = true_ns
        self._waiting = Waiting()
        self._blocked: list[Command] = []  # commands that wait for a round's decision
        self._in_flight: deque[InFlight] = deque()
        self._stamps = Stamps()
        self._due: dict[str, None] = {}  # parts whose due command is on its way
        self._has_told = False  # the time, since this replica leads
        self._has_laggard = False
        self._has_ticked = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight) + len(self._blocked)

    @property
    def put_back(self) -> int:
        """Requests that have had their turn before and stand first."""
        return self._waiting.put_back

    def start(self) -> None:
        """This replica now leads; stamps go on after the last applied one."""
        self._stamps.lead(self._now_ns(), self._true_ns())
        self._has_told = False

    def _now_ns(self) -> int:
        return int(self._clock.monotonic() * 1e9)

    def _log_ns(self) -> int:
        """By which an entry would be stamped now: what is due by true time, the log may not know yet."""
        return self._stamps.now(self._now_ns(), self._true_ns()).timestamp_ns

    def stamped(self, machine: Machine) -> None:
        """Entries have been applied: what this replica knows of its log's time, should it lead next."""
        self._stamps.applied(Stamp(machine.timestamp_ns, machine.elapsed_ns), self._now_ns())

    def add(self, event: Command | Propose) -> None:
        """Queues a request, or refuses it at once."""
        if len(self._waiting) >= WAITING_MAX and isinstance(event, Command):
            event.reply(
                not_done(ErrorCode.busy, f"expected at most {WAITING_MAX} requests waiting in a shard", RETRY_AFTER_MS)
            )
        else:
            self._waiting.append(event)

    def add_first(self, event: Command | Propose) -> None:
        """Puts a request back whose stored rows have been read."""
        self._waiting.put_first(event)

    def tick(self, machine: Machine, *, has_laggard: bool) -> list[Draft]:
        """Tries blocked commands again, and queues what the time asks for. An entry without requests where the time is to be told."""
        self._has_laggard, self._has_ticked = has_laggard, True
        self._unblock()
        now_ns = self._now_ns()
        for part, body in machine.due(self._log_ns(), self._stamps.elapsed_ns(now_ns)):
            if part not in self._due:
                self._due[part] = None
                self._waiting.append(Command(part, body, partial(self._end_due, part), math.inf))
        is_quiet = self._stamps.quiet_ns(now_ns) > QUIET_NS or not self._has_told
        return self.tell_time(machine) if is_quiet else []

    def _end_due(self, part: str, _: Outcome) -> None:
        del self._due[part]

    def tell_time(self, machine: Machine) -> list[Draft]:
        """Where something lives for a while, an empty entry tells whoever leads next how much time has been counted."""
        return self._draft([]) if machine.due(0, NEVER_NS) else []

    def fail_all(self, failed: Failed) -> None:
        """Leadership is gone: everyone is told; ids make it safe to ask again elsewhere."""
        for entry in self._in_flight:
            for bundle in entry.bundles:
                _fail(bundle, replace(failed, may_have_happened=True))
        for event in [*self._waiting, *self._blocked]:
            drop(event, failed)
        self._in_flight.clear()
        self._waiting.clear()
        self._blocked.clear()

    # -- proposing ------------------------------------------------------------------------------------------------

    def take(self, machine: Machine) -> Taken | None:
        """Takes what waits, as much as one entry holds; None while there is nothing, or no room in flight."""
        if not self._waiting or not self._has_room():
            return None
        bundles: list[Bundle] = []
        loads: list[Load] = []
        for one in self._resolved(machine):
            if isinstance(one, Bundle):
                bundles.append(one)
            else:
                loads += one
        return Taken(self._draft(bundles) if bundles else [], loads)

    def _draft(self, bundles: list[Bundle]) -> list[Draft]:
        """One entry of the bundles, or several where one would not fit a frame."""
        stamp = self._stamps.take(self._now_ns(), self._true_ns())
        data = pack_entry(stamp.timestamp_ns, stamp.elapsed_ns, [bundle.request for bundle in bundles])
        if len(data) > ENTRY_BYTES_MAX and len(bundles) > 1:
            middle = len(bundles) // 2
            return self._draft(bundles[:middle]) + self._draft(bundles[middle:])
        if len(data) > LONGEST_ENTRY_BYTES:
            text = f"an entry of {len(data)} bytes: at most {LONGEST_ENTRY_BYTES}"
            _fail(bundles[0], not_done(ErrorCode.frame_too_large, text))
            return []
        return [Draft(data, bundles)]

    def proposed(self, draft: Draft, index: int, term: int) -> None:
        """The entry is on its way."""
        self._in_flight.append(InFlight(index, term, draft.bundles))
        self._has_told = True

    def dropped(self, draft: Draft, failed: Failed) -> None:
        """It was not taken, for this reason."""
        for bundle in draft.bundles:
            _fail(bundle, failed)

    def _has_room(self) -> bool:
        """A lone request never waits; while an entry is in flight, only a full one may follow.

        While a living replica lags, full entries go one a tick: redundancy comes before speed, or the next death would
        have to wait until the laggard has read it all.
        """
        if self._has_laggard and self._waiting.size >= FULL_ENTRY_TRANSFERS:
            has_ticked, self._has_ticked = self._has_ticked, False
            return has_ticked
        if not self._in_flight:
            return True
        return len(self._in_flight) < ENTRIES_IN_FLIGHT_MAX and self._waiting.size >= FULL_ENTRY_TRANSFERS

    def _resolved(self, machine: Machine) -> Iterator[Bundle | list[Load]]:
        """What waits, in turn, as much as one entry holds; what cannot be resolved is answered here."""
        bundles, transfers, now = 0, 0, self._clock.monotonic()
        while self._waiting and bundles < REQUESTS_PER_ENTRY_MAX and transfers < TRANSFERS_MAX:
            event = self._waiting.take()
            if isinstance(event, Command) and event.deadline < now:
                event.fail(overdue(event.body[0]))
                continue
            if isinstance(event, Propose):
                found = self._resolve_round(machine, event)
                transfers += ROUND_TRANSFERS if is_round(event.request) else 0
            else:
                commands = self._take_mergeable(event, now)
                transfers += sum(command.size for command in commands)
                found = self._resolve(machine, commands)
            bundles += isinstance(found, Bundle)
            yield found

    def _take_mergeable(self, first: Command, now: float) -> list[Command]:
        """The command and those right after it that become one command with it."""
        commands, merging = [first], first.merging
        if first.loaded or merging is None or merging.is_open(first.body):
            return commands
        size, length = first.size, merging.length(first.body)
        while self._waiting:
            following = self._waiting.peek()
            if not isinstance(following, Command) or following.merging is not merging or following.loaded:
                break
            if following.deadline < now or merging.is_open(following.body):
                break
            if size + following.size > TRANSFERS_MAX:
                break
            length += merging.length(following.body)
            if length > MERGED_LENGTH_MAX:
                break
            size += following.size
            commands.append(following)
            self._waiting.take()
        return commands

    def _resolve(self, machine: Machine, commands: list[Command]) -> Bundle | list[Load]:
        first = commands[0]
        body = first.body
        if len(commands) > 1:
            assert first.merging is not None
            body = first.merging.merge([command.body for command in commands])
        try:
            resolved = machine.resolve(first.part, body, self._log_ns(), first.loaded)
        except ProtocolError as error:
            for command in commands:
                command.fail(malformed(error))
            return []
        if isinstance(resolved, Need):
            return [(command, resolved) for command in commands]
        slots, start = [], 0
        for command in commands:
            slots.append(Slot(command, start, start + command.size))
            start += command.size
        return Bundle(resolved, slots)

    def _resolve_round(self, machine: Machine, event: Propose) -> Bundle | list[Load]:
        """The bodies inside a PREPARE are resolved too."""
        request = machine.resolve_round(event.request, self._log_ns(), event.loaded)
        if isinstance(request, Need):
            return [(event, request)]
        return Bundle(request, [], event.reply)

    # -- answers --------------------------------------------------------------------------------------------------

    def applied(
        self, machine: Machine, index: int, term: int, answers: list[Body], not_leader: Callable[[], Failed]
    ) -> bool:
        """The entry at `index` has been applied: answers whoever waits for it here. Whether somebody waits for a decision now.

        `not_leader` makes what those are told whose entry has been replaced by another one.
        """
        if not self._in_flight or self._in_flight[0].index != index:
            return False
        entry = self._in_flight.popleft()
        if entry.term != term:
            for bundle in entry.bundles:
                _fail(bundle, replace(not_leader(), may_have_happened=True))
            return False
        waits = False
        for bundle, answer in zip(entry.bundles, answers, strict=True):
            waits |= self._answer(machine, bundle, answer)
            if is_round(bundle.request):
                self._unblock()
        return waits

    def _answer(self, machine: Machine, bundle: Bundle, answer: Body) -> bool:
        if bundle.reply is not None:
            bundle.reply(answer)
            return False
        part = machine.parts[bundle.slots[0].command.part]
        waits = False
        for slot in bundle.slots:
            own = slot.of(answer)
            if part.waits(own):
                waits |= self._block(slot.command)
            else:
                slot.command.reply(own)
        return waits

    def _block(self, command: Command) -> bool:
        """Tried again as a whole after the round: rows that were created already are then `exists`."""
        if self._clock.monotonic() > command.deadline:
            reason = "a commit round on these accounts is not decided yet"
            command.reply(Failed(ErrorCode.outcome_unknown, reason))
            return False
        command.loaded, command.was_tried = {}, True
        self._blocked.append(command)
        return True

    def _unblock(self) -> None:
        for command in reversed(self._blocked):
            self._waiting.put_first(command)
        self._blocked.clear()


def _fail(bundle: Bundle, failed: Failed) -> None:
    if bundle.reply is not None:
        bundle.reply(failed)
    for slot in bundle.slots:
        slot.command.fail(failed)


def drop(event: Command | Propose, failed: Failed) -> None:
    """Tells whoever asked that nothing comes of it here."""
    if isinstance(event, Command):
        event.fail(failed)
    else:
        event.reply(failed)
