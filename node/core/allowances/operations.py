"""What allowances serve."""

from __future__ import annotations

from typing import Any

from node.core.allowances.commands import SetCommand
from node.core.machine.operation import Served, after_first
from protocol.operations import Operation
from protocol.requests import AllowanceRequest, SetAllowanceRequest

NAME = "allowances"
ANSWER_BYTES = 256  # a zone's name and four numbers


OPERATIONS: tuple[Served[Any], ...] = (
    Served(
        Operation.set_allowance, NAME, True, SetAllowanceRequest.unpack, lambda asked: [asked.account], SetCommand.ask,
        after_first, is_work=True,
    ),
    Served(
        Operation.allowance, NAME, False, AllowanceRequest.unpack, lambda asked: [asked.account],
        lambda asked: ["allowance", asked.account], after_first, answer_bytes=lambda _: ANSWER_BYTES,
    ),
)  # fmt: skip
