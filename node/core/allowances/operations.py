"""What allowances serve."""

from __future__ import annotations

from node.core.machine import Body, Served, expect, is_id
from protocol.operations import Operation
from protocol.status import AllowanceStatus

NAME = "allowances"
ANSWER_BYTES = 256  # a zone's name and four numbers


def check_set(body: Body) -> None:
    """`[account id, minor units or null, time zone, id, id of the change that it follows]`."""
    expect(len(body) == 5 and type(body[0]) is str, "[account id, minor units or null, time zone, id, after]")
    amount, zone, id, after = body[1:]
    expect(amount is None or (type(amount) is int and -(2**63) <= amount < 2**63), "an integer of minor units, or null")
    expect(type(zone) is str, "the name of a time zone as text")
    expect(is_id(id) and any(id), "an id of 16 bytes that are not all 0, another one for each change")
    expect(after == b"" or is_id(after), "the id of the change that it follows, or none")


def check_question(body: Body) -> None:
    """`[account id]`."""
    expect(len(body) == 1 and type(body[0]) is str, "[account id]")


OPERATIONS: tuple[Served, ...] = (
    Served(
        Operation.set_allowance, NAME, True, check_set, lambda body: body[:1], lambda body: ["set", *body],
        lambda answer: answer[1:], is_work=True,
        is_conflict=lambda answer: bool(answer[0] == AllowanceStatus.version_conflict),
    ),
    Served(
        Operation.allowance, NAME, False, check_question, lambda body: body, lambda body: ["allowance", *body],
        lambda answer: answer[1:], answer_bytes=lambda _: ANSWER_BYTES,
    ),
)  # fmt: skip
