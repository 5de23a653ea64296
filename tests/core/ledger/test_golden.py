"""Ledger rules as text tables: operation, `->`, expected outcome. Each table runs on both apply paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.core.ledger import transfers
from node.core.ledger.limits import NANOSECONDS
from protocol.columns import Flag
from protocol.status import AccountStatus, Status
from tests.core.ledger.driving import Driver, id_bytes, names
from tests.core.ledger.model import Transfer

TABLES = sorted((Path(__file__).parents[2] / "golden" / "ledger").glob("*.txt"))
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

    def _flush(self) -> None:
        if self.batch:
            statuses = names(self.driver.transfers([row for _, row in self.batch]))
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


def _transfer(words: list[str]) -> Transfer:
    id, debit, credit, amount, *options = words
    row = Transfer(int(id), debit, credit, int(amount))
    for option in options:
        name, _, value = option.partition("=")
        if not value:
            row.flags |= Flag[name]
        else:
            setattr(row, name, value if name == "reference" else int(value))
    return row


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
