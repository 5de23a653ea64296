"""What a caller is told when an answer is no answer: an error says that nothing has happened only if that is known.

All codes of failures, with and without an attempt before them that may have happened, for each kind of call.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

import pytest

from protocol.client import calls as calls_module
from protocol.client.batches import send
from protocol.client.calls import Calls, Deed
from protocol.columns import Transfers
from protocol.errors import Busy, ErrorCode, OutcomeUnknown, ProtocolError, RingpayError, Unreachable
from protocol.messages import PROTOCOL_VERSION, Failure, Hello, Reply, Request, Role
from protocol.operations import Operation
from protocol.placement import Placement, group_of
from protocol.status import AccountStatus, Status

IDS = [7, 8, 9]
PACKED = b"".join(id.to_bytes(16, "big") for id in IDS)
KINDS: dict[str, tuple[Operation, Deed | None, list[int]]] = {
    "a batch": (Operation.transfers, Deed("transfer", PACKED), IDS),
    "a payment": (Operation.transfers, Deed("transfer", PACKED[:16]), IDS[:1]),
    "an update": (Operation.update, Deed("update", PACKED[:16]), IDS[:1]),
    "opening accounts": (Operation.accounts, Deed("opening accounts"), []),
    "an outcome": (Operation.outcome, Deed("transfer", PACKED[:16]), IDS[:1]),
    "a read": (Operation.balances, None, []),
    "an audit": (Operation.audit, None, []),
}
FIRST = ("nothing before", "a refusal before", "a broken connection before", "a failure that may have happened before")
SECONDS = 0.05  # hundreds of attempts, as they are made without a pause here


@pytest.fixture(autouse=True)
def _without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "RETRY_SECONDS", 0.0)


@dataclass
class Node:
    """A connection to a node that always says the same, or breaks when it has the request."""

    answer: Failure | Reply | None
    address = ("127.0.0.1", 1)

    def expires_ms(self, when: float) -> int:
        """Any time will do."""
        return 1

    def forget(self, number: int) -> None:
        """Nothing is kept."""

    def send(self, request: Request) -> asyncio.Future[Failure | Reply]:
        """The answer."""
        future: asyncio.Future[Failure | Reply] = asyncio.get_running_loop().create_future()
        if self.answer is None:
            future.set_exception(ConnectionResetError("reset"))
        else:
            future.set_result(self.answer)
        return future


def failure(code: ErrorCode, may_have_happened: bool) -> Failure:
    """A node's."""
    return Failure(1, code.value, "no", 1, 0, may_have_happened)


def before(first: str) -> list[Node]:
    """The attempts before the one that is looked at."""
    match first:
        case "nothing before":
            return []
        case "a refusal before":
            return [Node(failure(ErrorCode.not_leader, False)), Node(failure(ErrorCode.overdue, False))]
        case "a broken connection before":
            return [Node(None)]
        case _:
            return [Node(failure(ErrorCode.not_leader, True)), Node(failure(ErrorCode.not_leader, False))]


def calls_of(*nodes: Node | RingpayError) -> Calls:
    """Calls that meet these nodes, one an attempt, and the last one for ever; an error is what the welcome of one comes to."""
    calls = Calls("127.0.0.1:1", Hello(PROTOCOL_VERSION, "", Role.client, 0, "", 0), 5.0)
    turns = itertools.chain(nodes, itertools.repeat(nodes[-1]))

    async def connection_for(group: int, _: object) -> tuple[Node, bool]:
        found = next(turns)
        if isinstance(found, RingpayError):
            raise found
        return found, True

    calls._connection_for = connection_for  # type: ignore[assignment, method-assign]  # no node listens here
    return calls


async def told(calls: Calls, kind: str) -> RingpayError:
    """The error that the call ends with."""
    operation, deed, _ = KINDS[kind]
    with pytest.raises(RingpayError) as raised:
        await calls.call(operation, 1, [], SECONDS, deed)
    return raised.value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("may_have_happened", [False, True])
@pytest.mark.parametrize("code", ErrorCode)
async def test_every_code(code: ErrorCode, may_have_happened: bool, first: str, kind: str) -> None:
    """In doubt: OutcomeUnknown, with all ids, whatever the last word was. Without: Busy, Unreachable or ProtocolError by the code."""
    error = await told(calls_of(*before(first), Node(failure(code, may_have_happened))), kind)
    _, deed, ids = KINDS[kind]
    in_doubt = may_have_happened or first in FIRST[2:]
    if deed is not None and in_doubt:
        assert isinstance(error, OutcomeUnknown) and error.ids == tuple(ids)
    elif not code.is_transient:
        assert isinstance(error, ProtocolError) and error.code is code
    elif code is ErrorCode.busy and not in_doubt:
        assert isinstance(error, Busy) and error.retry_after > 0
    else:
        assert isinstance(error, Unreachable)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", FIRST)
async def test_a_node_that_does_not_let_the_client_in(first: str, kind: str) -> None:
    """For example in a rolling upgrade, or at a stale address: it knows nothing of what the first one did."""
    error = await told(calls_of(*before(first), ProtocolError("no", ErrorCode.wrong_version)), kind)
    in_doubt = KINDS[kind][1] is not None and first in FIRST[2:]
    assert isinstance(error, OutcomeUnknown if in_doubt else ProtocolError)


@pytest.mark.parametrize("first", FIRST)
async def test_a_conflict_of_an_update(first: str) -> None:
    """It may be with what has followed an earlier attempt of the same update; without such an attempt it is an answer."""
    calls = calls_of(*before(first), Node(Reply(1, [int(AccountStatus.version_conflict), 5])))
    operation, deed, _ = KINDS["an update"]
    if first in FIRST[2:]:
        assert isinstance(await told(calls, "an update"), OutcomeUnknown)
    else:
        assert (await calls.call(operation, 1, [], SECONDS, deed))[0] == AccountStatus.version_conflict


# -- batches over several shards ----------------------------------------------------------------------------------


PAID = Node(Reply(1, [bytes([Status.created])]))
PARTS: dict[str, Node | RingpayError] = {
    "paid": PAID,
    "busy": Node(failure(ErrorCode.busy, False)),
    "away": Node(failure(ErrorCode.not_leader, False)),
    "in doubt": Node(failure(ErrorCode.not_leader, True)),
    "refused": Node(failure(ErrorCode.bad_request, False)),
    "strange": ProtocolError("no", ErrorCode.wrong_version),
}


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations_with_replacement(PARTS, 2)])
async def test_the_worst_of_several_parts(one: str, other: str) -> None:
    """Unless all is paid, or none can be, the whole batch is in doubt, and names all its ids."""
    shards = 2
    names = [next(f"{{a{n}}}" for n in range(100) if group_of(f"{{a{n}}}", shards) == group) for group in (1, 2)]
    calls = Calls("127.0.0.1:1", Hello(PROTOCOL_VERSION, "", Role.client, 0, "", 0), 5.0)
    calls.placement = Placement(1, shards, ((1,), (1,), (1,)), ())
    nodes = {1: PARTS[one], 2: PARTS[other]}
    groups: list[int] = []

    async def connection_for(group: int, _: object) -> tuple[Node, bool]:
        groups.append(group)
        found = nodes[group if group > 0 else groups[0]]
        if isinstance(found, RingpayError):
            raise found
        return found, True

    calls._connection_for = connection_for  # type: ignore[assignment, method-assign]  # no node listens here
    accounts = "\n".join(names)
    batch = Transfers(PACKED[:32], accounts, "\n".join(f"{name}b" for name in names), (5).to_bytes(8, "little") * 2)
    if one == other == "paid":
        assert await send(calls, batch, calls.deadline(SECONDS)) == bytes(2)
        return
    with pytest.raises(RingpayError) as raised:
        await send(calls, batch, calls.deadline(SECONDS))
    if "paid" in (one, other) or "in doubt" in (one, other):
        assert isinstance(raised.value, OutcomeUnknown) and raised.value.ids == tuple(IDS[:2])
    else:
        assert not isinstance(raised.value, OutcomeUnknown)
