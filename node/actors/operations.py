"""The operations that a node serves: those of the parts of a shard, and those of the cluster as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.actors.admission import Demand
from node.actors.faults import check_fault
from node.core.ledger.operations import check_split
from node.core.locks import LockAction
from node.core.machine import Served, check_apart, expect, is_id
from protocol.operations import Operation
from protocol.placement import NODES_MAX
from protocol.status import TRANSFERS_MAX

ACCOUNT_BYTES = 1_280  # a row of an account at its longest: id, owner, metadata and a dozen numbers
SEARCH_BYTES = 256 << 10  # for which a look into the records of all shards counts: most look into memory only
ROUNDS_BYTES = 1 << 20  # what is undecided, at its longest; an audit is counted for as much


def check_snapshot(body: list[Any]) -> None:
    """`[account id, ...]`, read at one cut."""
    expect(1 <= len(body) <= TRANSFERS_MAX, f"1 to {TRANSFERS_MAX} account ids")
    expect(all(type(identifier) is str for identifier in body), "account ids as text")


def check_trace(body: list[Any]) -> None:
    """`[id, debit account or ""]`."""
    expect(len(body) == 2 and is_id(body[0]) and type(body[1]) is str, '[id of 16 bytes, debit account or ""]')


def check_lock(body: list[Any]) -> None:
    """`[action, name, claim, owner, ttl_ms, token, age_ns, ticket]`."""
    expect(len(body) == 8, "[action, name, claim, owner, ttl_ms, token, age_ns, ticket]")
    action, name, claim, owner, *numbers = body
    expect(action in tuple(LockAction), f"an action of {', '.join(LockAction)}")
    expect(type(name) is str, "the name of the lock as text")
    expect(
        all(type(number) is int and 0 <= number < 2**63 for number in numbers),
        "ttl_ms, token, age_ns and ticket from 0",
    )
    is_named = is_id(claim) and is_id(owner)
    is_by_token = action == LockAction.renew and claim == b"" and owner == b""
    expect(is_named or is_by_token, "a claim and an owner of 16 bytes each")


def check_replace(body: list[Any]) -> None:
    """`[node, data id of the lost folder, or 0]`."""
    expect(len(body) == 2 and all(type(number) is int for number in body), "[node, data id]")
    expect(0 < body[0] <= NODES_MAX and 0 <= body[1] < 2**63, f"a node of 1 to {NODES_MAX}, and a data id from 0")


def check_nothing(body: list[Any]) -> None:
    """An empty body."""
    expect(body == [], "an empty body")


def _is_never(_: list[Any]) -> bool:
    return False


def _nothing(_: list[Any]) -> int:
    return 0


def _bytes_of_survey(_: list[Any]) -> int:
    return ROUNDS_BYTES


def _is_wish(body: list[Any]) -> bool:
    return bool(body) and body[0] in (LockAction.acquire, LockAction.get_at_once)


@dataclass(frozen=True, slots=True)
class Whole:
    """An operation of the cluster as a whole. `is_work` and `answer_bytes` are asked of an unchecked body."""

    check: Callable[[list[Any]], None]
    is_work: Callable[[list[Any]], bool] = _is_never
    answer_bytes: Callable[[list[Any]], int] = _nothing


WHOLE: Mapping[str, Whole] = {
    Operation.split_account: Whole(check_split, lambda _: True),
    Operation.cluster: Whole(check_nothing),
    Operation.audit: Whole(check_nothing, answer_bytes=_bytes_of_survey),
    Operation.snapshot: Whole(check_snapshot, answer_bytes=lambda body: ACCOUNT_BYTES * len(body)),
    Operation.trace: Whole(check_trace, answer_bytes=lambda _: SEARCH_BYTES),
    Operation.undecided: Whole(check_nothing, answer_bytes=_bytes_of_survey),
    Operation.lock: Whole(check_lock, _is_wish),
    Operation.replace_node: Whole(check_replace),
    Operation.fault: Whole(check_fault),
}


class Operations:
    """All of a node's. Raises ValueError for two of one name."""

    def __init__(self, served: Sequence[Served]) -> None:
        check_apart("operations", [*WHOLE, *(operation.name for operation in served)])
        self._served = {operation.name: operation for operation in served}

    def __iter__(self) -> Iterator[str]:
        return iter((*self._served, *WHOLE))

    def served(self, name: str) -> Served | None:
        """An operation of a part; None: there is none of that name."""
        return self._served.get(name)

    def checker(self, name: str) -> Callable[[list[Any]], None] | None:
        """What raises ProtocolError for a body of the wrong form; None: there is no such operation."""
        known = self._served.get(name) or WHOLE.get(name)
        return None if known is None else known.check

    def demand(self, name: str, body: list[Any], frame_bytes: int) -> Demand:
        """What a request takes, of which nothing has been checked yet."""
        if (served := self._served.get(name)) is not None:
            return Demand(frame_bytes, served.is_work, served.answer_bytes(body))
        if (whole := WHOLE.get(name)) is not None:
            return Demand(frame_bytes, whole.is_work(body), whole.answer_bytes(body))
        return Demand(frame_bytes, is_work=False)
