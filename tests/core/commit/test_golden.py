"""Commit rounds as scripts: what is done, `->`, what follows. Real shards, and a coordinator whose calls the script delivers.

| operation | what it does |
|---|---|
| account NAME GROUP MINIMUM | opens an account in a shard; `world` accounts have no minimum |
| coordinate EPOCH PROTOCOL | the next coordinator begins; calls of the one before stay under way |
| pay ID DEBIT CREDIT AMOUNT | submits a payment; `and` adds one that is linked to the one before |
| deliver GROUP (again) | the oldest call to the group arrives, and its answer; `again`: the call stays under way |
| lose GROUP | the oldest call to the group is lost |
| keep GROUP | it is put behind all others |
| record | group 0 records the oldest decision |
| give up | the votes of the oldest round have been out for too long |
| hurry | decisions go out |
| balance NAME | posted, held, incoming |
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.core.commit import Answered, Ask, Coordinator, Decisions, Effect, Forget, Record, Ticket
from node.core.commit.decisions import unpack_records
from node.core.ledger import Ledger
from node.core.machine import ROUND_BITS, Body, EpochRequest, Kind, RoundRequest, unpack_decision
from protocol.columns import Flag
from protocol.status import Status, split_status
from tests.core.commit.bench import resolved
from tests.core.ledger.driving import columns
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard

SCRIPTS = sorted((Path(__file__).parents[2] / "golden" / "commit").glob("*.txt"))
GROUPS = (1, 2, 3)


class Script:
    """Runs a script; gives it back with what really happened."""

    def __init__(self) -> None:
        self.shards = {group: Shard(Ledger()) for group in GROUPS}
        self.zero = Shard(Decisions())
        self.core = Coordinator()
        self.homes: dict[str, int] = {}
        self.asks: list[tuple[Coordinator, Ask]] = []
        self.records: list[Record] = []
        self.batch: list[Transfer] = []
        self.tickets: dict[int, list[int]] = {}
        self.commit = "2pc"
        self.happened: list[str] = []

    def run(self, text: str) -> str:
        """The script with what follows as it is."""
        lines = []
        operations = [line for line in text.splitlines() if not line.startswith("  -> ")]
        for place, operation in enumerate(operations):
            self.happened = []
            following = operations[place + 1] if place + 1 < len(operations) else ""
            if operation and not operation.startswith("#"):
                self._do(operation.split(), is_followed=following.startswith("and "))
            lines += [operation, *(f"  -> {what}" for what in self.happened)]
        return "\n".join(lines).rstrip("\n") + "\n"

    def _do(self, words: list[str], *, is_followed: bool) -> None:
        match words:
            case ["account", name, group, minimum]:
                self.homes[name] = int(group)
                self.shards[int(group)].accounts(name, minimum=None if minimum == "none" else int(minimum))
            case ["coordinate", epoch, protocol]:
                self._coordinate(int(epoch), protocol)
            case ["pay" | "and", id, debit, credit, amount]:
                flags = int(Flag.linked) if is_followed else 0
                self.batch.append(Transfer(int(id), debit, credit, int(amount), flags))
                if not is_followed:
                    self._submit()
            case ["deliver", group, *again]:
                self._deliver(int(group), stays=bool(again))
            case ["lose", group]:
                self.asks.remove(self._oldest(int(group)))
            case ["keep", group]:
                kept = self._oldest(int(group))
                self.asks.remove(kept)
                self.asks.append(kept)
            case ["record"]:
                self._record(self.records.pop(0))
            case ["give", "up"]:
                self._take(self.core.abandon(min(self.core.rounds)))
            case ["hurry"]:
                self.core.hurry()
                self._take(self.core.go_on())
            case ["balance", name]:
                self.happened.append(" ".join(map(str, self.shards[self.homes[name]].balances(name))))
            case _:
                raise AssertionError(f"unknown operation: {words}")

    def _oldest(self, group: int) -> tuple[Coordinator, Ask]:
        return next(one for one in self.asks if one[1].group == group)

    def _coordinate(self, epoch: int, protocol: str) -> None:
        self.core, self.commit, self.records = Coordinator(protocol), protocol, []
        (answer,) = self.zero.entry([Kind.apply, "decisions", ["begin", epoch, 1]])
        records = unpack_records(answer[1])
        self._take(self.core.lead(epoch, GROUPS, records))

    def _submit(self) -> None:
        rows, self.batch = self.batch, []
        ticket = Ticket(len(self.tickets) + 1)
        self.tickets[ticket] = [row.id for row in rows]
        groups = [
            np.array([self.homes[name] for name in names], np.int32)
            for names in zip(*((r.debit, r.credit) for r in rows), strict=True)
        ]
        self._take(self.core.submit(ticket, replace(columns(rows), commit=self.commit), *groups))
        self._take(self.core.go_on())

    def _deliver(self, group: int, *, stays: bool) -> None:
        core, ask = self._oldest(group)
        if not stays:
            self.asks.remove((core, ask))
        (answer,) = self.shards[group].entry(resolved(ask, self.shards[group].round))
        self.happened.append(f"group {group} answers {_answer(answer)}")
        if core is self.core:
            self._take(core.asked(ask, answer))
            self._take(core.go_on())

    def _record(self, record: Record) -> None:
        body = ["record", list(record.forgotten), record.round_id, list(record.groups), record.decision]
        (answer,) = self.zero.entry([Kind.apply, "decisions", body])
        self.happened.append(f"group 0 answers {answer[0]}")
        if answer[0] == "recorded":
            self._take(self.core.recorded(record.round_id))
            self._take(self.core.go_on())

    def _take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ask():
                    self.asks.append((self.core, effect))
                    self.happened.append(f"to group {effect.group}: {_request(effect)}")
                case Record():
                    self.records.append(effect)
                    self.happened.append(f"to group 0: record {_round(effect.round_id)} {_decision(effect.decision)}")
                case Answered(ticket, statuses, _):
                    for id, status in zip(self.tickets[ticket], statuses, strict=True):
                        self.happened.append(f"{id} {split_status(status)[0].name}")
                case Forget():
                    self.happened.append("to group 0: forget")
                case _:
                    raise AssertionError(f"no script asks for a cut: {effect}")


def _round(round_id: int) -> str:
    return f"round {round_id >> ROUND_BITS}.{round_id & ((1 << ROUND_BITS) - 1)}"


def _decision(packed: bytes) -> str:
    return " ".join(Status(int(status)).name for status in unpack_decision(packed))


def _request(ask: Ask) -> str:
    if isinstance(ask.request, EpochRequest):
        return f"epoch {ask.request.epoch}"
    assert isinstance(ask.request, RoundRequest)
    words = [f"DECIDE {_round(number)} {_decision(packed)}" for number, packed in ask.request.decisions.items()]
    words += [f"PRECOMMIT {_round(one.round_id)} {_decision(one.decision)}" for one in ask.request.precommits]
    words += [f"PREPARE {_round(ask.prepare.round_id)}"] if ask.prepare is not None else []
    return ", ".join(words) or "nothing"


def _answer(answer: Body) -> str:
    match answer:
        case ["votes", votes, _]:
            return "votes " + " ".join(Status(vote).name for vote in votes)
        case ["epoch", opened, finished]:
            open_rounds = [_round(row[0]) for row in opened]
            return f"open {', '.join(open_rounds) or 'nothing'}, carried out {', '.join(_round(row[0]) for row in finished) or 'nothing'}"
        case _:
            return str(answer[0])


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_scripts(path: Path) -> None:
    """Everything follows as the script says; REWRITE=1 writes what happened instead."""
    text = path.read_text()
    happened = Script().run(text)
    if os.environ.get("REWRITE"):
        path.write_text(happened)
    assert happened == text or os.environ.get("REWRITE")
