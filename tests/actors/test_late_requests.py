"""Requests that come late or twice, at whatever node: what changes something happens once or not at all, and no late question is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from node.actors import router
from node.actors.session import Session
from protocol.client.connection import Connection
from protocol.errors import OutcomeUnknown, Refused
from protocol.messages import Failure, Reply, Request
from protocol.status import AccountStatus, LockStatus
from tests.actors.quiet import ASK_SECONDS, WORLD, World, play
from tests.actors.split_world import LocalRouter
from tests.simulation import network

FIRST, SECOND, THIRD = (bytes(15) + bytes((number,)) for number in (1, 2, 3))


@pytest.fixture(autouse=True)
def _delivers_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection outlives the partition, as TCP's does for minutes."""
    monkeypatch.setattr(network, "BREAKS_AFTER_PARTITION", 0.0)


def cut(world: World, between: str, x: int) -> None:
    """From now on the network keeps back what goes from the client to node `x`, or from there to the other nodes."""
    if between == "client and node":
        world.network.block(world.owner.host, x)
    else:
        for other in world.cluster.hosts:
            if other != x:
                world.network.block(x, other)


def code_of(answer: Reply | Failure) -> str:
    """That of a failure."""
    assert isinstance(answer, Failure), answer
    return answer.code


@pytest.mark.parametrize("between", ["client and node", "node and leader"])
def test_what_comes_after_its_time_is_left_undone(between: str) -> None:
    """However young the copy looks to the node that reads it: the time is the receiver's, told when the request was made."""

    async def story(world: World) -> None:
        await world.open("a")
        x = world.followers(1)[0]
        to_x = await world.dial(x)
        cut(world, between, x)
        late = asyncio.ensure_future(world.ask(to_x, "accounts", -1, [["b", "EUR", 0, None, "", b""]]))
        await asyncio.sleep(ASK_SECONDS + 1.0)
        world.network.heal()
        if between == "client and node":
            answer = await late
            assert code_of(answer) == "overdue" and not answer.may_have_happened  # type: ignore[union-attr]  # a Failure
        await asyncio.sleep(1.0)
        late.cancel()
        assert await world.client.accounts(["b"]) == [None]

    play(story)


@pytest.mark.parametrize("operation", ["read", "history", "cluster"])
def test_a_question_that_comes_after_its_time_is_not_looked_at(operation: str) -> None:
    """Nobody waits for the answer."""

    async def story(world: World) -> None:
        await world.open("a")
        x = world.followers(1)[0]
        to_x = await world.dial(x)
        cut(world, "client and node", x)
        body: dict[str, list[Any]] = {"read": [["a"]], "history": ["a", 0, False, 10], "cluster": []}
        late = asyncio.ensure_future(world.ask(to_x, operation, -1, body[operation]))
        await asyncio.sleep(ASK_SECONDS + 1.0)
        world.network.heal()
        assert code_of(await late) == "overdue"

    play(story)


def test_a_machine_that_was_suspended_is_known_by_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """To clients and to its peers: else requests to it would be void as much too late as it stood still."""
    stood_ms = 0
    honest = Session._clock_ms
    monkeypatch.setattr(Session, "_clock_ms", lambda session: honest(session) - stood_ms)

    async def story(world: World) -> None:
        nonlocal stood_ms
        await world.open("a")
        connections = list(world.client._calls._connections.values())
        links = [link for node in world.cluster.nodes().values() for link in node._links.values()]
        clocks = [*(connection._clock for connection in connections), *(link._clock for link in links)]
        now = world.loop.time()
        before = [clock.at(now, now) for clock in clocks]
        stood_ms = 60_000
        for connection in connections:
            await world.ask(connection, "cluster", -1, [])
        await asyncio.sleep(1.0)  # pings
        after = [clock.at(now, world.loop.time()) for clock in clocks]
        assert connections and links
        assert all(-1_000 < later - earlier + stood_ms < 1_000 for earlier, later in zip(before, after, strict=True))

    play(story)


@pytest.mark.parametrize("between", ["client and node", "node and leader"])
def test_a_late_copy_of_an_update_does_not_undo_a_later_one(between: str) -> None:
    """It comes within its time, when it has been asked for again at another node and been followed."""

    async def story(world: World) -> None:
        await world.open("a")
        x, y = world.followers(1)
        to_x, to_y = await world.dial(x), await world.dial(y)
        cut(world, between, x)
        first = ["a", {"metadata": b"one", "status": 0}, FIRST, b""]
        late = asyncio.ensure_future(world.ask(to_x, "update", -1, first))
        await asyncio.sleep(1.0)
        again = await world.ask(to_y, "update", -1, first)
        assert isinstance(again, Reply) and again.body[0] == AccountStatus.updated
        repeated = await world.ask(to_y, "update", -1, first)
        assert isinstance(repeated, Reply) and repeated.body == again.body
        second = await world.ask(to_y, "update", -1, ["a", {"metadata": b"two", "status": 1}, SECOND, FIRST])
        assert isinstance(second, Reply) and second.body[0] == AccountStatus.updated
        world.network.heal()
        answer = await late
        is_conflict = isinstance(answer, Reply) and answer.body[0] == AccountStatus.version_conflict
        assert is_conflict or (isinstance(answer, Failure) and answer.may_have_happened)
        account = await world.client.account("a")
        assert (account.metadata, account.status, account.last_update) == (b"two", "frozen", 2)

    play(story)


def test_a_late_copy_of_a_refused_close_does_not_close() -> None:
    """A refusal is an answer for good; whoever wants to close the account then asks anew. A repeated close is answered as the first."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=5)
        connection = await world.dial(world.leader(1))
        close: list[Any] = ["a", {"status": 2}, FIRST, b""]

        async def status_of(body: list[Any]) -> int:
            answer = await world.ask(connection, "update", 1, body)
            assert isinstance(answer, Reply)
            return int(answer.body[0])

        assert await status_of(close) == AccountStatus.account_not_empty
        await world.client.transfer("a", "b", 5)
        assert await status_of(close) == AccountStatus.account_not_empty
        assert (await world.client.account("a")).status == "open"
        close[2:] = [SECOND, FIRST]
        assert [await status_of(close) for _ in range(2)] == [AccountStatus.updated] * 2
        close[2:] = [THIRD, SECOND]
        assert await status_of(close) == AccountStatus.account_already_closed

    play(story)


Lose = Callable[[World], Coroutine[Any, Any, None]]


def losing_the_first_answer(monkeypatch: pytest.MonkeyPatch, world: World, operation: str, meanwhile: Lose) -> None:
    """The client's first request of that operation is carried out; its answer is lost, and something happens before it asks again."""
    send, lost = Connection.send, list[Request]()

    def lossy(self: Connection, request: Request) -> asyncio.Future[Reply | Failure]:
        waiter = send(self, request)
        if request.operation != operation or lost:
            return waiter
        lost.append(request)

        async def lose() -> Reply | Failure:
            await waiter
            await meanwhile(world)
            raise ConnectionResetError

        return asyncio.ensure_future(lose())

    monkeypatch.setattr(Connection, "send", lossy)


async def nothing(world: World) -> None:
    """Nobody comes between."""


async def another_update(world: World) -> None:
    """Somebody else freezes the account."""
    account = await world.client.account("a")
    connection = await world.dial(world.leader(1))
    body = ["a", {"status": 1}, SECOND, account.last_update.to_bytes(16, "big")]
    answer = await world.ask(connection, "update", 1, body)
    assert isinstance(answer, Reply) and answer.body[0] == AccountStatus.updated


@pytest.mark.parametrize("by_version", [False, True])
def test_an_update_whose_answer_was_lost_is_answered_when_it_is_repeated(
    monkeypatch: pytest.MonkeyPatch, by_version: bool
) -> None:
    """The account knows its id."""

    async def story(world: World) -> None:
        await world.open("a")
        version = (await world.client.account("a")).version
        losing_the_first_answer(monkeypatch, world, "update", nothing)
        condition = version if by_version else None
        assert await world.client.update_account("a", owner="someone", if_version=condition) == AccountStatus.updated
        with pytest.raises(Refused, match="version_conflict"):
            await world.client.update_account("a", owner="other", if_version=version)

    play(story)


@pytest.mark.parametrize("by_version", [False, True])
def test_an_update_that_another_has_followed_is_in_doubt(monkeypatch: pytest.MonkeyPatch, by_version: bool) -> None:
    """Whether the conflict is with what came before or behind it, nobody can tell: neither done again nor called refused."""

    async def story(world: World) -> None:
        await world.open("a")
        version = (await world.client.account("a")).version
        losing_the_first_answer(monkeypatch, world, "update", another_update)
        condition = version if by_version else None
        with pytest.raises(OutcomeUnknown, match="perhaps by an earlier attempt") as raised:
            await world.client.update_account("a", owner="someone", if_version=condition)
        account = await world.client.account("a")
        assert (account.owner, account.status) == ("someone", "frozen")
        assert raised.value.ids == (raised.value.id,) and raised.value.id != account.last_update

    play(story)


def test_an_update_without_a_version_gives_way_to_others() -> None:
    """Many at once, on a busy account: each happens once, one after the other."""

    async def story(world: World) -> None:
        await world.open("a")
        owners = [f"owner{number}" for number in range(20)]
        payments = [world.client.transfer(WORLD % 0, "a", 1) for _ in range(20)]
        updates = [world.client.update_account("a", owner=owner) for owner in owners]
        answers = await asyncio.gather(*updates, *payments)
        assert answers[:20] == [AccountStatus.updated] * 20
        assert (await world.client.account("a")).owner in owners

    play(story)


@pytest.mark.parametrize(("operation", "body"), [("update", []), ("ledger", ["update"])])
def test_a_node_that_asks_again_does_not_call_a_conflict_a_refusal(operation: str, body: list[Any]) -> None:
    """Its own earlier attempt may be what the update conflicts with; also at the home share of a split account."""
    answers: list[Any] = []
    asked = LocalRouter(1)
    again = asked._again(router.Call(1, operation, [*body, "a", {}, FIRST, b""], 1.0, answers.append))
    assert asked._again(again) is again
    again.reply([int(AccountStatus.version_conflict), 7])
    again.reply([int(AccountStatus.updated), 7])
    assert answers[0].may_have_happened and answers[1] == [AccountStatus.updated, 7]


@pytest.mark.parametrize("operation", ["audit", "undecided", "mark", "ledger"])
def test_what_takes_no_argument_is_asked_again(operation: str) -> None:
    """Whoever coordinates by then answers it, perhaps this very node: no body is taken apart that has nothing in it."""
    answers: list[Any] = []
    again = LocalRouter(1)._again(router.Call(0, operation, [], 1.0, answers.append))
    again.reply([[], []])
    assert answers == [[[], []]]


@pytest.mark.parametrize("action", ["acquire", "try"])
def test_a_late_copy_does_not_take_a_released_lock(action: str) -> None:
    """Nobody would know that it holds it, and the next one would wait for its whole time to live."""

    async def story(world: World) -> None:
        await world.open("a")
        x, y = [n for n in world.cluster.hosts if n != world.leader(0)]
        to_x, to_y = await world.dial(x), await world.dial(y)
        claim, owner = b"c" * 16, b"o" * 16
        acquire = [action, "settlement", claim, owner, 600_000, 0, 0, 0]
        world.network.block(world.owner.host, x)
        late = asyncio.ensure_future(world.ask(to_x, "lock", -1, acquire))
        await asyncio.sleep(0.5)
        granted = await world.ask(to_y, "lock", -1, acquire)
        assert isinstance(granted, Reply) and granted.body[0] == LockStatus.granted
        release = ["release", "settlement", claim, owner, 0, granted.body[1], 0, 0]
        for _ in range(2):
            released = await world.ask(to_y, "lock", -1, release)
            assert isinstance(released, Reply) and released.body[:2] == [LockStatus.released, granted.body[1]]
        world.network.heal()
        answer = await late
        assert isinstance(answer, Reply) and answer.body[0] == LockStatus.claim_is_over
        async with world.client.lock("settlement", ttl=5, wait=1):
            pass

    play(story)


def test_a_withdrawal_overtakes_its_acquire() -> None:
    """The client has stopped waiting; what it asked for before is still on its way, and finds that it is over."""

    async def story(world: World) -> None:
        connection = await world.dial(world.leader(0))
        claim, owner = b"c" * 16, b"o" * 16
        withdrawn = await world.ask(connection, "lock", 0, ["release", "till", claim, owner, 0, 0, 0, 0])
        late = await world.ask(connection, "lock", 0, ["acquire", "till", claim, owner, 600_000, 0, 0, 0])
        assert isinstance(withdrawn, Reply) and withdrawn.body[0] == LockStatus.lock_not_held
        assert isinstance(late, Reply) and late.body[0] == LockStatus.claim_is_over
        async with world.client.lock("till", ttl=5, wait=1):
            pass

    play(story)
