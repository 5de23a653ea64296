"""The operations that a node serves: those of the parts of a shard, and those of the cluster as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.actors.admission import Demand
from node.actors.faults import check_fault
from node.core.ledger.operations import (
    SEARCH_BYTES,
    SHARDS_ASKED,
    TransferOf,
    bytes_of_accounts,
    check_accounts,
    check_ids,
)
from node.core.locks import LockAction, LockWord
from node.core.machine import Body, Served, check_apart, expect, is_id
from protocol.errors import ErrorCode, ProtocolError
from protocol.operations import Operation
from protocol.placement import NODES_MAX
from protocol.rows import NewAccount
from protocol.status import TRANSFERS_MAX

ROUNDS_BYTES = 1 << 20  # what is undecided, at its longest; an audit is counted for as much


@dataclass(frozen=True, slots=True)
class Replacement:
    """A node whose data folder is lost."""

    node: int
    data_id: int  # of the folder; 0 to ask only how far it is


def check_snapshot(body: Body) -> list[str]:
    """`[account id, ...]`, read at one cut."""
    return check_ids(body, TRANSFERS_MAX)


def check_split(body: Body) -> NewAccount:
    """`[id, currency, minimum, maximum, owner, metadata]`."""
    (row,) = check_accounts([body])
    return NewAccount(*row)


def decode_trace(body: Body) -> TransferOf:
    """`[id, debit account or ""]`."""
    match body:
        case [bytes(id), str(debit)] if is_id(id):
            return TransferOf(id, debit)
    raise ProtocolError('expected [id of 16 bytes, debit account or ""]')


def decode_replace(body: Body) -> Replacement:
    """`[node, data id of the lost folder, or 0]`."""
    expect(len(body) == 2 and all(type(number) is int for number in body), "[node, data id]")
    node, data_id = body
    expect(0 < node <= NODES_MAX and 0 <= data_id < 2**63, f"a node of 1 to {NODES_MAX}, and a data id from 0")
    return Replacement(node, data_id)


def check_nothing(body: Body) -> None:
    """An empty body."""
    expect(body == [], "an empty body")


def _bytes_of_survey(_: Body) -> int:
    return ROUNDS_BYTES


def _is_wish(body: Body) -> bool:
    match body:
        case [LockAction.acquire | LockAction.get_at_once, *_]:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Whole:
    """An operation of the cluster as a whole; its functions are those of `Served`."""

    decode: Callable[[Body], object]
    is_work: Callable[[Body], bool] = lambda _: False
    answer_bytes: Callable[[Body], int] = lambda _: 0


WHOLE: Mapping[str, Whole] = {
    Operation.split_account: Whole(check_split, lambda _: True),
    Operation.cluster: Whole(check_nothing),
    Operation.audit: Whole(check_nothing, answer_bytes=_bytes_of_survey),
    Operation.snapshot: Whole(check_snapshot, answer_bytes=bytes_of_accounts),
    Operation.trace: Whole(decode_trace, answer_bytes=lambda _: SHARDS_ASKED * SEARCH_BYTES),
    Operation.undecided: Whole(check_nothing, answer_bytes=_bytes_of_survey),
    Operation.lock: Whole(LockWord.decode, _is_wish),
    Operation.replace_node: Whole(decode_replace),
    Operation.fault: Whole(check_fault),
}


class Operations:
    """All operations that a node serves. Raises ValueError for two of one name."""

    def __init__(self, served: Sequence[Served[Any]]) -> None:
        check_apart("operations", [*WHOLE, *(operation.name for operation in served)])
        self._served = {operation.name: operation for operation in served}

    def __iter__(self) -> Iterator[str]:
        return iter((*self._served, *WHOLE))

    def served(self, name: str) -> Served[Any] | None:
        """An operation of a part; None: there is none of that name."""
        return self._served.get(name)

    def decode(self, name: str, body: Body) -> Any:
        """The request of a body. Raises ProtocolError for a wrong form, and for an operation that there is not."""
        known = self._served.get(name) or WHOLE.get(name)
        if known is None:
            raise ProtocolError(f"unknown operation {name[:40]}", ErrorCode.unknown_operation)
        return known.decode(body)

    def demand(self, name: str, body: Body, frame_bytes: int) -> Demand:
        """What a request takes, of which nothing has been checked yet."""
        if (served := self._served.get(name)) is not None:
            return Demand(frame_bytes, served.is_work, served.answer_bytes(body))
        if (whole := WHOLE.get(name)) is not None:
            return Demand(frame_bytes, whole.is_work(body), whole.answer_bytes(body))
        return Demand(frame_bytes, is_work=False)
