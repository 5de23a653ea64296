"""The operations that a node serves: those of the parts of a shard, and those of the cluster as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.actors.admission import Demand
from node.core.ledger.operations import SEARCH_BYTES, SHARDS_ASKED, bytes_of_accounts
from node.core.machine import Body, Served, check_apart
from protocol.errors import ErrorCode, ProtocolError
from protocol.operations import Operation
from protocol.requests import (
    EmptyRequest,
    FaultRequest,
    LockWord,
    ReplaceRequest,
    SnapshotRequest,
    SplitRequest,
    TraceRequest,
)

ROUNDS_BYTES = 1 << 20  # what is undecided, at its longest; an audit is counted for as much


def _bytes_of_survey(_: Body) -> int:
    return ROUNDS_BYTES


@dataclass(frozen=True, slots=True)
class Whole:
    """An operation of the cluster as a whole; its functions are those of `Served`."""

    decode: Callable[[Body], object]
    is_work: Callable[[Body], bool] = lambda _: False
    answer_bytes: Callable[[Body], int] = lambda _: 0


WHOLE: Mapping[str, Whole] = {
    Operation.split_account: Whole(SplitRequest.unpack, lambda _: True),
    Operation.cluster: Whole(EmptyRequest.unpack),
    Operation.audit: Whole(EmptyRequest.unpack, answer_bytes=_bytes_of_survey),
    Operation.snapshot: Whole(SnapshotRequest.unpack, answer_bytes=bytes_of_accounts),
    Operation.trace: Whole(TraceRequest.unpack, answer_bytes=lambda _: SHARDS_ASKED * SEARCH_BYTES),
    Operation.undecided: Whole(EmptyRequest.unpack, answer_bytes=_bytes_of_survey),
    Operation.lock: Whole(LockWord.unpack, LockWord.is_wish_in),
    Operation.replace_node: Whole(ReplaceRequest.unpack),
    Operation.fault: Whole(FaultRequest.unpack),
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
