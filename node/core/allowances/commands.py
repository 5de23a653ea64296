"""The commands of allowances, by name: each is packed and unpacked here alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from node.core.machine.operation import Body
from protocol.requests import SetAllowanceRequest
from protocol.status import AllowanceStatus


@dataclass(frozen=True, slots=True)
class SetCommand:
    """Gives an account another allowance, as it is logged: with what only the leader may find out."""

    asked: SetAllowanceRequest
    row: int | None  # of the account in the ledger; None where there is none
    until_ns: int  # when its day ends, 0 where the time zone is not known
    status: AllowanceStatus  # `set`, or why it is refused whatever the state

    @staticmethod
    def ask(asked: SetAllowanceRequest) -> Body:
        """As it is asked."""
        return ["set", *asked.pack()]

    @staticmethod
    def asked_in(body: Body) -> SetAllowanceRequest:
        """Reads `ask`. Raises ProtocolError."""
        _, *asked = body
        return SetAllowanceRequest.unpack(asked)

    def pack(self) -> Body:
        """As it is logged."""
        return ["set", self.asked.pack(), self.row, self.until_ns, int(self.status)]

    @staticmethod
    def unpack(body: Body) -> SetCommand:
        """Reads `pack`."""
        _, asked, row, until_ns, status = body
        return SetCommand(SetAllowanceRequest.unpack(asked), row, until_ns, AllowanceStatus(status))


class DayEnd(NamedTuple):
    """A day that begins. As many as a batch has accounts, so no dataclass."""

    allowance: int
    until_ns: int  # when it ends


def pack_days(days: Sequence[DayEnd]) -> Body:
    """As they are logged."""
    return [list(day) for day in days]


def unpack_days(body: Body) -> list[DayEnd]:
    """Reads `pack_days`."""
    return [DayEnd(*row) for row in body]


@dataclass(frozen=True, slots=True)
class RenewCommand:
    """Begins days, as it is logged."""

    days: Sequence[DayEnd]

    def pack(self) -> Body:
        """As it is logged."""
        return ["renew", pack_days(self.days)]

    @staticmethod
    def unpack(body: Body) -> RenewCommand:
        """Reads `pack`."""
        _, days = body
        return RenewCommand(unpack_days(days))
