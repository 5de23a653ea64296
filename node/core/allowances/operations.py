"""What allowances serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from node.core.machine.operation import Body, Served, after_first, expect, is_id
from protocol.answers import status_of
from protocol.errors import ProtocolError
from protocol.operations import Operation
from protocol.status import AllowanceStatus

NAME = "allowances"
ANSWER_BYTES = 256  # a zone's name and four numbers


@dataclass(frozen=True, slots=True)
class Setting:
    """Another allowance of an account."""

    account: str
    amount: int | None  # minor units; None: none any more
    zone: str  # whose midnight ends the day
    id: bytes
    after: bytes  # id of the change that it follows, empty for none

    def command(self) -> Body:
        """As the part takes it."""
        return ["set", self.account, self.amount, self.zone, self.id, self.after]


def decode_set(body: Body) -> Setting:
    """`[account id, minor units or null, time zone, id, id of the change that it follows]`."""
    expect(len(body) == 5, "[account id, minor units or null, time zone, id, after]")
    account, amount, zone, id, after = body
    expect(type(account) is str, "[account id, minor units or null, time zone, id, after]")
    expect(amount is None or (type(amount) is int and -(2**63) <= amount < 2**63), "an integer of minor units, or null")
    expect(type(zone) is str, "the name of a time zone as text")
    expect(is_id(id) and any(id), "an id of 16 bytes that are not all 0, another one for each change")
    expect(after == b"" or is_id(after), "the id of the change that it follows, or none")
    return Setting(account, amount, zone, id, after)


def decode_question(body: Body) -> str:
    """`[account id]`."""
    match body:
        case [str(account)]:
            return account
    raise ProtocolError("expected [account id]")


OPERATIONS: tuple[Served[Any], ...] = (
    Served(
        Operation.set_allowance, NAME, True, decode_set, lambda asked: [asked.account], Setting.command,
        after_first, is_work=True, is_conflict=lambda answer: status_of(answer) == AllowanceStatus.version_conflict,
    ),
    Served(
        Operation.allowance, NAME, False, decode_question, lambda account: [account], lambda account: ["allowance", account],
        after_first, answer_bytes=lambda _: ANSWER_BYTES,
    ),
)  # fmt: skip
