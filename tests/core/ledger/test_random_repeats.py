"""Random batches full of repeats: columns say what the exact path says, a follower and a restored one say the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import pytest

from node.core.ledger import Ledger, history, ids, legs, repeats, resolve, rounds, sheet, transfers
from node.core.machine import At
from tests.core.ledger.driving import Driver, columns
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import carry_out, prepare

ACCOUNTS = ("a", 0, None), ("b", 0, 120), ("c", -50, None), ("world", None, None), ("full", None, 60)
HERE = [*(name for name, _, _ in ACCOUNTS), "world", "shop", "split", "missing"]
FAR = ["far", "away", "shop", "split", ""]
FLAGS = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 4, 8, 3, 5, 9, 6, 16, 0x8000]
CHANGES: dict[str, list[Any]] = {
    "amount": [1, 11], "code": [0, 7], "reference": ["", "rent", "x" * 300], "debit": HERE, "credit": HERE,
    "flags": FLAGS, "ttl": [0, 1, 9], "if_version": [0, 99], "side": [1, 2, 3],
}  # fmt: skip
EXACT_ONLY = 10**6


class Player:
    """One log for a leader and a follower; what they answer."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.ids = self.random.choice([30, 80, 200])
        self.seen: list[Transfer] = []
        self.votes: dict[int, list[int]] = {}  # of open rounds
        self.told: list[object] = []
        self.leader = Driver()
        self.leader.accounts(*((name, "EUR", *limits) for name, *limits in ACCOUNTS))
        for name in ("shop", "split"):
            self.leader.command("share", [name, "EUR", 0, None, "", b""], 2, 4)
        self.leader.transfers([Transfer(1 << 127 | n, "world", name, 100) for n, name in enumerate("abc")])
        self.leader.save()
        self.follower = self.leader.restored()

    def id(self) -> int:
        """One of few; the upper half of several is the same."""
        number = self.random.randrange(1, self.ids)
        return (number % 5 + 1) << 80 | number

    def row(self, is_leg: bool) -> Transfer:
        """A new one, or an old one that may be changed."""
        choice = self.random.choice
        if self.seen and self.random.random() < 0.6:
            row = replace(choice(self.seen))
            if self.random.random() < 0.3:
                name = choice(list(CHANGES))
                setattr(row, name, choice(CHANGES[name]))
        else:
            row = Transfer(self.id(), choice(HERE), choice(HERE), choice([1, 1, 2, 3, 10, 50, 0, -5]), choice(FLAGS))
            row.hold_id, row.ttl = self.id() if row.flags & 12 else 0, 5 if row.flags & 2 else 0
            row.reference = choice(["", "", "", "rent"])
        row.side = choice([1, 1, 2, 3]) if is_leg else 3
        if row.side == 1 and row.credit in HERE and self.random.random() < 0.8:
            row.credit = choice(FAR)
        if row.side == 2 and row.debit in HERE and self.random.random() < 0.8:
            row.debit = choice(FAR)
        self.seen.append(row)
        return row

    def rows(self, is_leg: bool) -> list[Transfer]:
        """A batch; legs make transactions of a row or more."""
        chance, number, rows = self.random.choice([0.05, 0.5]), 0, []
        for _ in range(self.random.choice([1, 9, 16, 30])):
            rows.append(replace(self.row(is_leg), number=number))
            number += self.random.random() > chance
        return rows

    def both(self, command: Callable[[Ledger, At], object]) -> None:
        """Leader and follower apply the same entry."""
        at = self.leader.at()
        self.told += [command(one.ledger, at) for one in (self.leader, self.follower)]
        digests = [one.ledger.digest(0) for one in (self.leader, self.follower)]
        assert self.told[-1] == self.told[-2] and digests[0] == digests[1]

    def apply(self, *request: object) -> None:
        """A command."""
        resolved = self.leader.resolve(list(request))
        self.both(lambda ledger, at: carry_out(ledger, resolved, at))

    def prepare(self, round_id: int) -> None:
        """A round's legs."""
        rows = self.rows(True)
        count = rows[-1].number + 1
        resolved = self.leader.resolve(self.leader.legs_body(rows))

        def command(ledger: Ledger, at: At) -> object:
            votes, extra = prepare(ledger, round_id, resolved, count, at)
            self.votes[round_id] = list(votes)
            return votes, extra

        self.both(command)

    def decide(self) -> None:
        """Any open round; some of what was agreed on here is refused elsewhere."""
        if self.votes:
            round_id = self.random.choice(list(self.votes))
            votes = [vote or self.random.choice([0, 0, 0, 56]) for vote in self.votes.pop(round_id)]
            self.both(lambda ledger, at: ledger.decide(round_id, np.array(votes, np.uint8), at))

    def play(self, steps: int) -> list[object]:
        """All that was told."""
        for number in range(steps):
            match self.random.choice("tttttpppddcfs"):
                case "t":
                    self.apply("transfers", columns(self.rows(False)).pack())
                case "p":
                    self.prepare(number)
                case "d":
                    self.decide()
                case "c":
                    self.apply("cancel", self.id().to_bytes(16, "big"), self.random.choice(HERE))
                case "f":
                    id, fields = self.random.choice("ac"), {"status": self.random.choice([0, 1])}
                    (row,) = self.leader.query("accounts", [id])[1]
                    self.apply("update", id, fields, number.to_bytes(16, "big"), row[13])
                case _:
                    self.leader.save()
                    self.leader.ledger.saved()
                    self.leader, self.follower = self.leader.restored(), self.leader
            self.leader.save()
        return self.told


@pytest.mark.parametrize("seed", range(24))
def test_columns_say_what_the_exact_path_says(seed: int) -> None:
    """In the tail, the window and behind it, which the exact path never reads here; with ids that have one key."""
    told = []
    for small_batch in ((0, 8)[seed % 2], EXACT_ONLY):
        with ExitStack() as patches:
            for module in (transfers, legs, resolve, rounds, sheet, repeats):
                patches.enter_context(mock.patch.object(module, "SMALL_BATCH", small_batch))
            patches.enter_context(mock.patch.object(history, "SEGMENT_TRANSFERS", (3, 12, 10_000)[seed % 3]))
            window = EXACT_ONLY if small_batch == EXACT_ONLY else 1
            patches.enter_context(mock.patch.object(history, "WINDOW_SEGMENTS", window))
            if seed % 4 < 2:
                patches.enter_context(mock.patch.multiple(ids, MIX_LOW=0, MIX_HIGH=0))
                ids.key_of.cache_clear()
                patches.callback(ids.key_of.cache_clear)
            told.append(Player(seed).play(30))
    assert told[0] == told[1]
