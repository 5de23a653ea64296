"""The operation `fault`: a client breaks something on purpose, in a cluster under test."""

from __future__ import annotations

from node.ports import Faults
from protocol.errors import ErrorCode, ProtocolError
from protocol.operations import Body
from protocol.requests import FaultKind, FaultRequest


def apply_fault(faults: Faults | None, asked: FaultRequest) -> Body:
    """The answer, once it is done. Raises ProtocolError in a cluster that is not under test."""
    if faults is None:
        raise ProtocolError("expected fault_switch = true in cluster.toml", ErrorCode.bad_request)
    match asked.kind:
        case FaultKind.cut:
            faults.cut(asked.nodes)
        case FaultKind.mute:
            faults.mute(asked.nodes)
        case FaultKind.slow_disk:
            faults.slow_disk(asked.ms / 1000)
        case FaultKind.heal:
            faults.heal()
    return []
