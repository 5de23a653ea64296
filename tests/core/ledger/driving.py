"""Drives a ledger in a test as the replica would: resolves, loads what is needed, applies, keeps a store."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from node.core.ledger import Ledger
from node.core.machine import Alone, Answer, At, Body, Judged, Loaded, Need
from protocol.columns import Transfers
from protocol.status import REPEATED, Status
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import asking, carry_out, prepare

START_NS = 1_700_000_000 * 10**9


def id_bytes(id: int) -> bytes:
    """As on the wire."""
    return id.to_bytes(16, "big")


def columns(rows: Sequence[Transfer]) -> Transfers:
    """A request of these rows."""
    n = len(rows)
    return Transfers(
        b"".join(id_bytes(row.id) for row in rows), "\n".join(row.debit for row in rows),
        "\n".join(row.credit for row in rows), struct.pack(f"<{n}q", *(row.amount for row in rows)),
        _optional([row.flags for row in rows], "H"), _optional([row.code for row in rows], "I"),
        "\n".join(row.reference for row in rows) if any(row.reference for row in rows) else "",
        b"".join(id_bytes(row.hold_id) for row in rows) if any(row.hold_id for row in rows) else b"",
        _optional([row.ttl for row in rows], "I"), _optional([row.if_version for row in rows], "Q"),
        metadata="\n".join(row.metadata for row in rows) if any(row.metadata for row in rows) else "",
        currency=b"".join(row.currency.encode().ljust(3, b"\0") for row in rows) if any(row.currency for row in rows) else b"",
    )  # fmt: skip


def _optional(values: list[int], letter: str) -> bytes:
    return struct.pack(f"<{len(values)}{letter}", *values) if any(values) else b""


class Driver:
    """A ledger with its store and its log position."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.store: dict[str, dict[int, bytes]] = {table: {} for table in Ledger.tables}
        self.index = 0
        self.now_ns = START_NS
        self.log: list[Body] = []
        self.updates = 0
        self.needed: list[tuple[str, int]] = []

    def at(self, passed_ns: int = 1_000_000) -> At:
        """The next entry."""
        self.index += 1
        self.now_ns += passed_ns
        return At(self.index, self.now_ns, self.elapsed_ns)

    @property
    def elapsed_ns(self) -> int:
        """What the log has counted: another number than the wall's time, so that nobody takes one for the other."""
        return self.now_ns - START_NS

    def load(self, need: Need) -> Loaded:
        """Reads the store."""
        self.needed += need.keys
        return {(table, key): self.store[table].get(key) for table, key in need.keys}

    def resolve(self, body: Body) -> Alone | Judged:
        """As the leader."""
        loaded: Loaded = {}
        for _ in range(1000):
            resolved = self.ledger.resolve(body, asking(self.now_ns, loaded))
            if not isinstance(resolved, Need):
                return resolved
            loaded = {**loaded, **self.load(resolved)}
        raise AssertionError("the ledger never has enough")

    def query(self, *body: object) -> Body:
        """Asks until nothing more is needed."""
        loaded: Loaded = {}
        for _ in range(1000):
            answer = self.ledger.query(list(body), loaded)
            if isinstance(answer, Answer):
                return answer.body
            loaded = {**loaded, **self.load(answer)}
        raise AssertionError("the ledger never has enough")

    def command(self, *body: object, passed_ns: int = 1_000_000) -> Body:
        """Resolves and applies."""
        return carry_out(self.ledger, self.resolve(list(body)), self.at(passed_ns))

    def accounts(self, *rows: tuple[str, str, int | None, int | None]) -> list[int]:
        """Creates accounts (id, currency, minimum, maximum)."""
        return list(self.command("accounts", [[*row, "", b""] for row in rows])[1])

    def update(self, id: str, fields: dict[str, object], *, is_for_share: bool = False) -> list[int]:
        """Status and version of an update by somebody who has just read the account, or (`if_version`) has not."""
        (row,) = self.query("accounts", [id])[1]
        after = None if "if_version" in fields else b"" if row is None else row[13]
        self.updates += 1
        name = "update_share" if is_for_share else "update"
        return list(self.command(name, id, fields, id_bytes(self.updates), after)[1:])

    def transfers(self, rows: Sequence[Transfer]) -> list[int]:
        """A status a row."""
        return [int(answered) & ~REPEATED for answered in self.command("transfers", columns(rows).pack())[1]]

    def legs_body(self, rows: Sequence[Transfer]) -> Body:
        """A round's command as the coordinator sends it."""
        numbers = struct.pack(f"<{len(rows)}i", *(row.number for row in rows))
        has_chains = len({row.number for row in rows}) < len(rows)
        places = struct.pack(f"<{len(rows)}i", *range(len(rows))) if has_chains else b""
        return ["legs", columns(rows).pack(), numbers, bytes(row.side for row in rows), places]

    def prepare(self, round_id: int, rows: Sequence[Transfer], count: int) -> list[int]:
        """Votes."""
        body = self.resolve(self.legs_body(rows))
        votes, _ = prepare(self.ledger, round_id, body, count, self.at())
        return list(votes)

    def save(self) -> None:
        """Makes a checkpoint."""
        for change in self.ledger.changes():
            if change.value is None:
                self.store[change.table].pop(change.key, None)
            else:
                self.store[change.table][change.key] = change.value

    def restored(self) -> Driver:
        """A new process with this store."""
        other = Driver()
        other.store = {table: dict(rows) for table, rows in self.store.items()}
        other.index, other.now_ns, other.updates = self.index, self.now_ns, self.updates
        other.ledger.restore(lambda table: sorted(other.store[table].items()))
        return other

    def version(self, id: str) -> int:
        """As a read shows it."""
        (fields,) = self.query("accounts", [id])[1]
        return int(fields[10])

    def balances(self, id: str) -> tuple[int, int, int]:
        """Posted, held, incoming."""
        (fields,) = self.query("accounts", [id])[1]
        return fields[2], fields[3], fields[4]


def names(statuses: Sequence[int]) -> list[str]:
    """Readable statuses."""
    return [Status(status).name for status in statuses]
