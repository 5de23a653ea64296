"""Drives a pure coordinator by hand: a test says which calls are answered, in what order, and what the groups vote."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from node.core.commit import Answered, Ask, Coordinator, CutMade, Effect, Forget, Record, Ticket
from node.core.commit.decisions import Records
from node.core.commit.legs import DEBIT, Legs
from node.core.machine import (
    Body,
    EpochRequest,
    Marker,
    MarkerRequest,
    Prepare,
    RoundRequest,
    pack_decision,
    unpack_decision,
)
from protocol.columns import Flag, Transfers
from protocol.status import Status

EUR, USD = 1, 2
GROUPS = (1, 2, 3)


def batch(*rows: tuple[int, int, int], linked: Sequence[int] = ()) -> tuple[Transfers, list[int], list[int]]:
    """Rows of (id, debit group, credit group); `linked` are positions chained to the next."""
    flags = [Flag.linked if place in linked else 0 for place in range(len(rows))]
    transfers = Transfers(
        b"".join(id.to_bytes(16, "big") for id, _, _ in rows), "\n".join(f"d{debit}" for _, debit, _ in rows),
        "\n".join(f"c{credit}" for _, _, credit in rows), struct.pack(f"<{len(rows)}q", *(10 for _ in rows)),
        struct.pack(f"<{len(rows)}H", *flags) if linked else b"",
    )  # fmt: skip
    return transfers, [debit for _, debit, _ in rows], [credit for _, _, credit in rows]


def prepare_of(ask: Ask) -> Prepare:
    """The PREPARE that a call brings."""
    assert ask.prepare is not None
    return ask.prepare


def round_of(ask: Ask) -> RoundRequest:
    """The request of a round's call."""
    assert isinstance(ask.request, RoundRequest)
    return ask.request


def marker_of(ask: Ask) -> MarkerRequest:
    """The request of a marker."""
    assert isinstance(ask.request, MarkerRequest)
    return ask.request


def resolved(ask: Ask, resolve: Callable[[Body], Body]) -> Body:
    """The request as its group's leader puts it into an entry."""
    request = ask.request.pack()
    return resolve(request) if isinstance(ask.request, RoundRequest) else request


def vote(ask: Ask, statuses: dict[int, int] | None = None, currency: int = EUR) -> Body:
    """A group's votes on a PREPARE: yes but for the transfer ids in `statuses`."""
    return vote_on(prepare_of(ask).pack(), statuses, currency)


def vote_on(prepare: Body, statuses: dict[int, int] | None = None, currency: int = EUR) -> Body:
    """The same of a PREPARE as the machine takes it."""
    _, count, _, _, _, ((part, body),) = prepare
    assert part == "ledger"
    columns, packed_numbers = Transfers.unpack(body[1]), body[2]
    numbers = np.frombuffer(packed_numbers, "<i4")
    ids = [int.from_bytes(columns.ids[16 * row : 16 * row + 16], "big") for row in range(len(columns))]
    reasons = np.array([(statuses or {}).get(id, 0) for id in ids], np.uint8)
    votes = np.zeros(count, np.uint8)
    for row in np.flatnonzero(reasons)[::-1]:
        votes[numbers[row]] = reasons[row]
    extra = np.full(len(columns), currency, "<u2").tobytes() + reasons.tobytes()
    return ["votes", votes.tobytes(), [["ledger", extra]]]


class Bench:
    """A coordinator and the effects that wait for an answer."""

    def __init__(
        self,
        epoch: int = 1,
        records: Records | None = None,
        protocol: str = "2pc",
        groups: tuple[int, ...] = GROUPS,
    ) -> None:
        self.core = Coordinator(protocol)
        self.asks: list[Ask] = []
        self.records: list[Record] = []
        self.forgets: list[Forget] = []
        self.answers: dict[int, list[int]] = {}
        self.untouched: list[int] = []  # of those that were answered: none of their rows was ever in a round
        self.marks: dict[str, dict[int, Marker]] = {}
        self.take(self.core.lead(epoch, groups, records or {}))

    def take(self, effects: list[Effect]) -> None:
        """Sorts effects by kind."""
        for effect in effects:
            match effect:
                case Ask():
                    self.asks.append(effect)
                case Record():
                    self.records.append(effect)
                case Forget():
                    self.forgets.append(effect)
                case Answered(ticket, statuses, is_begun):
                    assert ticket not in self.answers, "a ticket is answered once"
                    self.answers[ticket] = list(statuses)
                    if not is_begun:
                        self.untouched.append(ticket)
                case CutMade(name, answers):
                    self.marks[name] = answers

    def submit(
        self, ticket: int, *rows: tuple[int, int, int], linked: Sequence[int] = (), commit: str = "", lock: str = ""
    ) -> None:
        """A client's batch; nothing starts before `go_on`. With a lock, its last row alone is guarded."""
        transfers, debits, credits = batch(*rows, linked=linked)
        if lock:
            tokens = struct.pack(f"<{len(rows)}Q", *(5 for _ in rows))
            transfers = replace(transfers, lock="\n" * (len(rows) - 1) + lock, token=tokens)
        transfers = replace(transfers, commit=commit)
        groups = np.array(debits, np.int32), np.array(credits, np.int32)
        self.take(self.core.submit(Ticket(ticket), transfers, *groups))

    def go_on(self, *unwanted: int) -> None:
        """The end of a drain; nobody waits for these tickets any more."""
        self.take(self.core.go_on(lambda ticket: ticket not in unwanted))

    def answer(self, ask: Ask, body: Body) -> None:
        """A group answers."""
        self.asks.remove(ask)
        self.take(self.core.asked(ask, body))

    def tick(self) -> None:
        """Whoever waits for decisions anywhere gets them."""
        self.core.hurry()
        self.go_on()

    def accept(
        self, *groups: int, opened: dict[int, list[Body]] | None = None, finished: dict[int, list[Body]] | None = None
    ) -> None:
        """These groups, or all, accept the epoch: with the rounds open there and the decisions carried out."""
        for ask in [ask for ask in self.asks if isinstance(ask.request, EpochRequest)]:
            if not groups or ask.group in groups:
                self.answer(ask, ["epoch", (opened or {}).get(ask.group, []), (finished or {}).get(ask.group, [])])

    def prepares(self) -> list[Ask]:
        """PREPAREs under way."""
        return [ask for ask in self.asks if ask.prepare is not None]

    def precommits(self) -> list[Ask]:
        """Calls under way that bring a PRECOMMIT."""
        return [ask for ask in self.asks if isinstance(ask.request, RoundRequest) and ask.request.precommits]

    def decides(self) -> list[Ask]:
        """DECIDEs under way that bring nothing else."""
        rounds = [ask for ask in self.asks if isinstance(ask.request, RoundRequest)]
        return [ask for ask in rounds if ask.prepare is None and ask not in self.precommits()]

    def marked(self) -> list[Ask]:
        """Markers under way."""
        return [ask for ask in self.asks if isinstance(ask.request, MarkerRequest)]

    def vote_all(self, statuses: dict[int, int] | None = None) -> None:
        """Every PREPARE under way is voted on."""
        for ask in self.prepares():
            self.answer(ask, vote(ask, statuses))

    def record_all(self) -> None:
        """Group 0 records every decision under way."""
        records, self.records = self.records, []
        for record in records:
            self.take(self.core.recorded(record.round_id))

    def abandon(self, number: int) -> None:
        """The votes of a round have been out for too long."""
        self.take(self.core.abandon(number))

    def linger(self) -> None:
        """Decisions have been under way for too long."""
        for _ in range(2):
            self.take(self.core.record_lingering())

    def decide_all(self) -> None:
        """Every DECIDE under way is carried out."""
        for ask in self.decides():
            self.answer(ask, ["decided"])

    def round(self, statuses: dict[int, int] | None = None) -> None:
        """One round from start to end."""
        self.go_on()
        self.vote_all(statuses)
        self.record_all()
        self.go_on()
        for ask in self.precommits():
            self.answer(ask, ["decided"])
        self.tick()
        self.decide_all()


def round_id(ask: Ask) -> int:
    """The round of a PREPARE."""
    return prepare_of(ask).round_id


def decisions(ask: Ask) -> dict[int, list[int]]:
    """The decisions in a call: round to statuses."""
    assert not isinstance(ask.request, EpochRequest)
    return {round_id: unpack_decision(packed).tolist() for round_id, packed in ask.request.decisions.items()}


def proposals(ask: Ask) -> dict[int, list[int]]:
    """The PRECOMMITs in a call: round to statuses."""
    return {one.round_id: unpack_decision(one.decision).tolist() for one in round_of(ask).precommits}


def open_round(
    round_id: int,
    count: int = 1,
    groups: Sequence[int] = (1, 2),
    protocol: str = "2pc",
    attempt: int = 0,
    proposed: bytes = b"",
) -> Body:
    """An open round as a shard tells the new epoch of it: all of its transfers were voted for, and all touch the shard."""
    rows, numbers = np.arange(count), np.arange(count, dtype=np.int32)
    layout = Legs(rows, np.full(count, DEBIT, np.uint8), "ledger", []).layout(numbers)
    votes = ["votes", bytes(count), [["ledger", bytes(3 * count)]]]
    return [round_id, protocol, list(groups), count, attempt, proposed, layout, votes]


def held(ask: Ask, votes: Body) -> Body:
    """An open round as a shard that has answered this PREPARE so tells the new epoch of it."""
    prepare = prepare_of(ask)
    return [
        prepare.round_id, prepare.protocol, list(prepare.groups), prepare.count, 0, b"", prepare.leg_layout, votes,
    ]  # fmt: skip


def packed(*statuses: int) -> bytes:
    """A decision, one status a transaction."""
    return pack_decision(np.array(statuses, np.uint8))


def with_group_3_away(ticket: int) -> tuple[Bench, int]:
    """A payment from group 1 to group 3, which never votes; the round that was given up. The payment waits."""
    bench = ready()
    bench.submit(ticket, (1, 1, 3))
    bench.go_on()
    payer, payee = bench.prepares()
    bench.answer(payer, vote(payer))
    bench.abandon(round_id(payee))
    bench.record_all()
    bench.asks.remove(payee)
    return bench, round_id(payee)


def ready(protocol: str = "2pc", groups: tuple[int, ...] = GROUPS) -> Bench:
    """A coordinator whose groups have all accepted its epoch."""
    bench = Bench(protocol=protocol, groups=groups)
    bench.accept()
    return bench


RETRY, UNDECIDED = int(Status.retry), int(Status.undecided)
