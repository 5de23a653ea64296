"""What the ledger is asked by this program's own parts, by name: packed and unpacked here alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from node.core.machine.operation import Body
from protocol.answers import accounts_of
from protocol.errors import ProtocolError
from protocol.rows import AccountRow
from protocol.status import TRANSFERS_MAX


@dataclass(frozen=True, slots=True)
class AccountsQuestion:
    """What accounts have, and how they are kept."""

    asked: ClassVar[str] = "ledger"
    accounts: list[str]

    def pack(self) -> Body:
        """See `Question`."""
        return ["accounts", self.accounts]

    @staticmethod
    def unpack(body: Body) -> AccountsQuestion:
        """Reads `pack`. Raises ProtocolError."""
        _, ids = body
        if not isinstance(ids, list) or len(ids) > TRANSFERS_MAX or not all(type(id) is str for id in ids):
            raise ProtocolError(f"accounts: expected up to {TRANSFERS_MAX} account ids")
        return AccountsQuestion(ids)

    def answer(self, rows: Sequence[AccountRow | None]) -> Body:
        """What `read` reads."""
        return ["accounts", [None if row is None else row.pack() for row in rows]]

    def read(self, body: Body) -> list[AccountRow | None]:
        """A row an account, None for one that is not here."""
        _, rows = body
        return accounts_of(rows)
