"""How many calls a client has under way, and what becomes of those that never had their turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protocol.client.calls import Calls, Deed
from protocol.client.pace import CALLS_MAX, CALLS_MIN, Pace
from protocol.errors import Busy, ErrorCode, OutcomeUnknown
from protocol.messages import PROTOCOL_VERSION, Failure, Hello, Reply, Request, Role
from protocol.operations import Operation
from tests.simulation.loop import SimLoop, run

MANY = CALLS_MAX + 200


class Silent:
    """A connection to a node that has the request and says nothing."""

    address = ("127.0.0.1", 1)

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Failure | Reply]] = []

    def expires_ms(self, when: float) -> int:
        """Any time will do."""
        return 1

    def forget(self, number: int) -> None:
        """Nothing is kept."""

    def send(self, request: Request) -> asyncio.Future[Failure | Reply]:
        """Never done."""
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]


def calls_to(node: Silent, timeout: float) -> Calls:
    """Calls that all go to that node."""
    calls = Calls("127.0.0.1:1", Hello(PROTOCOL_VERSION, "", Role.client, 0, "", 0), timeout)

    async def connection_for(group: int, _: object) -> tuple[Silent, bool]:
        return node, True

    calls._connection_for = connection_for  # type: ignore[assignment, method-assign]  # no node listens here
    return calls


@pytest.mark.parametrize(
    ("seconds", "sent"),
    [(1.0, CALLS_MAX), (1.05, CALLS_MAX), (2.0, MANY)],
    ids=["none of their time is left", "hardly any is left", "half of it is left"],
)
def test_what_was_not_begun_is_busy_and_never_unknown(seconds: float, sent: int) -> None:
    """Many payments at once to nodes that stand still: those that were sent are in doubt, the others have not happened.

    All turns are taken for a second of virtual time; by then those that wait for one have little time left, or enough to be sent.
    """
    node = Silent()

    async def pay() -> list[list[Any] | BaseException]:
        calls = calls_to(node, 1.0)
        limits = [1.0] * CALLS_MAX + [seconds] * (MANY - CALLS_MAX)
        deed = Deed("transfer", bytes(16))
        payments = [calls.call(Operation.transfers, 1, [], limit, deed) for limit in limits]
        return await asyncio.gather(*payments, return_exceptions=True)

    answers = run(SimLoop(), pay())
    assert len(node.asked) == sent
    assert [type(answer) for answer in answers] == [OutcomeUnknown] * sent + [Busy] * (MANY - sent)


async def test_questions_wait_for_no_turn() -> None:
    """However many payments are under way."""
    node = Silent()
    calls = calls_to(node, 10.0)
    deed = Deed("transfer", bytes(16))
    payments = [asyncio.ensure_future(calls.call(Operation.transfers, 1, [], None, deed)) for _ in range(CALLS_MAX)]
    question = asyncio.ensure_future(calls.call(Operation.balances, 1, [], None))
    while len(node.asked) <= CALLS_MAX:
        await asyncio.sleep(0)
    node.asked[-1].set_result(Reply(1, ["row"]))
    assert await question == ["row"]
    for payment in payments:
        payment.cancel()
    await asyncio.wait(payments)


@pytest.mark.parametrize(
    "answer",
    [Reply(1, ["row"]), Failure(1, ErrorCode.busy.value, "no", 20, 0)],
    ids=["answered", "refused"],
)
async def test_questions_say_nothing_of_the_room_for_payments(answer: Reply | Failure) -> None:
    """A node has room of its own for each: a flood of reads neither slows payments down nor opens the gate for them."""
    node = Silent()
    calls = calls_to(node, 10.0)
    calls._pace.limit = CALLS_MIN
    question = asyncio.ensure_future(calls.call(Operation.balances, 1, [], None))
    while not node.asked:
        await asyncio.sleep(0)
    node.asked[0].set_result(answer)
    await asyncio.wait([question])
    assert isinstance(question.exception(), Busy if isinstance(answer, Failure) else type(None))
    assert calls._pace.limit == CALLS_MIN and calls._pace.begin_at_once()


def test_a_client_has_less_under_way_when_nodes_are_busy_and_more_again_when_they_answer() -> None:
    """Many that are shed together count once; it never comes to a stop. In virtual time, so that together is together."""
    pace = Pace()

    async def work() -> None:
        for _ in range(100):
            pace.shed(0.001)
        assert pace.limit == CALLS_MAX / 2
        for _ in range(20):
            await pace.begin()
            pace.end()
            pace.shed(0.001)
        assert pace.limit == CALLS_MIN
        for _ in range(100):
            pace.served()
        assert CALLS_MIN < pace.limit < CALLS_MAX

    run(SimLoop(), work())


async def test_turns_come_in_order() -> None:
    """First come, first served; who gives up gives its turn back."""
    pace = Pace()
    pace.limit = 1
    await pace.begin()
    served: list[int] = []

    async def wait(number: int) -> None:
        await pace.begin()
        served.append(number)

    waiting = [asyncio.ensure_future(wait(number)) for number in range(4)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    for expected in ([0], [0, 2], [0, 2, 3]):
        pace.end()
        while served != expected:
            await asyncio.sleep(0)
    pace.end()
    assert pace.under_way == 0
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
