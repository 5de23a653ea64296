"""The accounts of holds, which a capture or void is sent with: those that this client opened are remembered, others are looked up."""

from __future__ import annotations

from protocol.answers import transfer_of
from protocol.client.arguments import check_text, id_bytes
from protocol.client.calls import Calls
from protocol.client.refusals import refused
from protocol.operations import Operation
from protocol.requests import FindRequest, TransferRequest
from protocol.status import TRANSFERS_MAX, Status
from protocol.views import Entry

Accounts = tuple[str, str]
"""Debit and credit."""


class OpenedHolds:
    """Of one client."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[int, Accounts] = {}

    def remember(self, hold: int, debit: str, credit: str) -> None:
        """For as long as there is room."""
        self._known[hold] = debit, credit
        if len(self._known) > TRANSFERS_MAX:
            del self._known[next(iter(self._known))]

    async def find(self, id: int, timeout: float | None, debit: str | None = None) -> Entry | None:
        """What happened under an id. Every shard is asked, and must answer; with `debit` that of this account alone."""
        if debit is None:
            answer = await self._calls.ask(Operation.find_by_id, [], FindRequest(id_bytes(id)).pack(), timeout)
        else:
            name = check_text(debit, "debit account")
            answer = await self._calls.ask(
                Operation.transfer, [name], TransferRequest(id_bytes(id), name).pack(), timeout
            )
        row = transfer_of(answer)
        if row is None or row.status != Status.created or row.debit != (debit or row.debit):
            return None
        entry = Entry.found(row)
        self.remember(id, entry.debit, entry.credit)
        return entry

    async def accounts(
        self, hold: int, debit: str | None = None, credit: str | None = None, timeout: float | None = None
    ) -> Accounts:
        """The hold's accounts. Raises Refused where there is none, or it has others than those that are named; nothing has been sent then.

        Which shard judges a capture or void depends on its debit account. Who names both accounts of a hold that is not known here is
        taken at its word, so that no other shard need answer: the shard that judges compares them.
        """
        if hold not in self._known and debit is not None and credit is not None:
            return check_text(debit, "debit account"), check_text(credit, "credit account")
        if hold not in self._known and await self.find(hold, timeout) is None:
            raise refused(Status.hold_not_found)
        found = self._known[hold]
        if debit is not None and check_text(debit, "debit account") != found[0]:
            raise refused(Status.hold_has_different_debit_account)
        if credit is not None and check_text(credit, "credit account") != found[1]:
            raise refused(Status.hold_has_different_credit_account)
        return found
