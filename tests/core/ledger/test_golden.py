"""Ledger rules as text tables: operation, `->`, expected outcome. Each table runs on both apply paths."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from node.core.ledger import legs, rounds, transfers
from node.core.ledger.limits import NANOSECONDS
from node.core.machine import SETTLED
from protocol.columns import Flag
from protocol.status import AccountStatus, Status
from tests.core.ledger.driving import Driver, id_bytes, names
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import prepare

TABLES = sorted((Path(__file__).parents[2] / "golden" / "ledger").glob("*.txt"))
IN_ROUNDS = [path for path in TABLES if not path.stem.startswith("local_")]
STATES = {"open": 0, "frozen": 1, "closed": 2}


class Script:
    """Runs a table; gives it back with what really happened."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.lines: list[str] = []
        self.batch: list[tuple[str, Transfer]] = []

    def run(self, text: str) -> str:
        """The table with outcomes as they are."""
        for line in [*text.splitlines(), ""]:
            operation = line.split("->")[0].strip()
            if not operation.startswith("and "):
                self._flush()
            if operation.startswith(("transfer ", "and ")):
                self.batch.append((operation, _transfer(operation.split()[1:])))
            elif operation and not operation.startswith("#"):
                self.lines.append(self._run_one(operation, operation.split()))
            else:
                self.lines.append(line)
        return "\n".join(self.lines).rstrip("\n") + "\n"

    def _transfers(self, rows: list[Transfer]) -> list[int]:
        return self.driver.transfers(rows)

    def _flush(self) -> None:
        if self.batch:
            statuses = names(self._transfers([row for _, row in self.batch]))
            self.lines += [f"{line} -> {status}" for (line, _), status in zip(self.batch, statuses, strict=True)]
            self.batch = []

    def _run_one(self, line: str, words: list[str]) -> str:
        match words:
            case ["account", id, currency, minimum, maximum]:
                limits = [None if limit == "none" else int(limit) for limit in (minimum, maximum)]
                assert self.driver.accounts((id, currency, limits[0], limits[1])) == [0]
                return line
            case ["update", id, state, *options]:
                versions = {name: int(version) for name, _, version in (option.partition("=") for option in options)}
                status, version = self.driver.update(id, {"status": STATES[state], **versions})
                return f"{line} -> {AccountStatus(status).name}{f' at {version}' if versions else ''}"
            case ["version", id, *_]:
                return f"version {id} {self.driver.version(id)}"
            case ["cancel", id, debit]:
                return f"{line} -> {Status(self.driver.command('cancel', id_bytes(int(id)), debit)[1]).name}"
            case ["balance", id, *_]:
                posted, held, _ = self.driver.balances(id)
                return f"balance {id} {posted} held {held}"
            case ["pass", seconds]:
                self.driver.now_ns += int(seconds) * NANOSECONDS
                return line
            case ["expire"]:
                return f"{line} -> {self.driver.command('expire')[1]}"
            case _:
                raise AssertionError(f"unknown operation: {line}")


class RoundScript(Script):
    """The same where each transaction is a round of its own, prepared and decided here alone."""

    def _transfers(self, rows: list[Transfer]) -> list[int]:
        statuses: list[int] = []
        while len(statuses) < len(rows):
            last = len(statuses)
            while last < len(rows) and rows[last].flags & Flag.linked:
                last += 1
            if last == len(rows):  # refused where rounds are gathered
                failed = [int(Status.linked_event_failed)] * (last - len(statuses) - 1)
                return [*statuses, *failed, int(Status.linked_event_chain_open)]
            statuses += self._round(rows[len(statuses) : last + 1])
        return statuses

    def _round(self, rows: list[Transfer]) -> list[int]:
        driver, at = self.driver, self.driver.at()
        body = driver.resolve(driver.legs_body(rows))
        votes, told = prepare(driver.ledger, at.index, body, 1, at)
        reasons = [reason & ~SETTLED for reason in told[2 * len(rows) :]]
        failed = next((place for place, reason in enumerate(reasons) if reason), -1)
        statuses = np.frombuffer(votes, np.uint8)
        driver.ledger.decide(at.index, statuses, at, np.array([failed], np.int32))
        if not votes[0] or all(reason == Status.exists for reason in reasons):
            return [votes[0]] * len(rows)
        return [votes[0] if place == failed else int(Status.linked_event_failed) for place in range(len(rows))]


def _transfer(words: list[str]) -> Transfer:
    id, debit, credit, amount, *options = words
    row = Transfer(int(id), debit, credit, int(amount))
    for option in options:
        name, _, value = option.partition("=")
        if not value:
            row.flags |= Flag[name]
        else:
            setattr(row, name, value if name in ("reference", "currency", "metadata") else int(value))
    return row


@pytest.mark.parametrize("small_batch", [0, 1000], ids=["columns", "small"])
@pytest.mark.parametrize("path", IN_ROUNDS, ids=[path.stem for path in IN_ROUNDS])
def test_rules_in_rounds(path: Path, small_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables say the same where each transaction goes through PREPARE and DECIDE."""
    monkeypatch.setattr(legs, "SMALL_BATCH", small_batch)
    monkeypatch.setattr(rounds, "SMALL_BATCH", small_batch)
    text = path.read_text()
    assert RoundScript().run(text) == text


@pytest.mark.parametrize("small_batch", [0, 1000], ids=["columns", "small"])
@pytest.mark.parametrize("path", TABLES, ids=[path.stem for path in TABLES])
def test_rules(path: Path, small_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the table has the outcome that it names; REWRITE=1 writes what happened instead."""
    monkeypatch.setattr(transfers, "SMALL_BATCH", small_batch)
    text = path.read_text()
    happened = Script().run(text)
    if os.environ.get("REWRITE"):
        path.write_text(happened)
    assert happened == text or os.environ.get("REWRITE")
