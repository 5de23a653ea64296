"""The client's locks on a cluster in virtual time: queues, leases, fail-over, guards, and what is refused."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import ProtocolError, Refused, Unreachable
from tests.actors.quiet import World, play


async def take_turns(world: World, clients: int, turns: int) -> list[int]:
    """So many clients queue for one lock; the tokens in the order in which they were granted."""
    inside, tokens = 0, []

    async def work() -> None:
        nonlocal inside
        for _ in range(turns):
            async with world.client.lock("till", ttl=30) as lock:
                inside += 1
                assert inside == 1 and lock.is_held
                tokens.append(lock.token)
                await asyncio.sleep(0.001)
                inside -= 1

    await asyncio.gather(*(work() for _ in range(clients)))
    return tokens


def test_a_lock_is_held_by_one_at_a_time_and_tokens_rise() -> None:
    """Many clients; most are let in ahead of the log."""

    async def story(world: World) -> None:
        tokens = await take_turns(world, clients=20, turns=10)
        assert tokens == sorted(tokens) and len(dict.fromkeys(tokens)) == 200
        desk = world.node(world.leader(0))._desk.statistics()
        assert desk.told_ahead > 100 and desk.parked == 0

    play(story)


@pytest.mark.parametrize("wait", [0.01, 0.02, 0.05])
def test_a_queue_outlives_its_leader(wait: float) -> None:
    """The leader dies twice while everybody queues: still one at a time, still rising, nobody is left behind."""

    async def story(world: World) -> None:
        turns = asyncio.ensure_future(take_turns(world, clients=10, turns=30))
        for _ in range(2):
            await asyncio.sleep(wait)
            leader = world.leader(0)
            assert not turns.done()
            world.cluster.crash(leader)
            await world.until(lambda: world.cluster.leader_of(0) not in (None, leader), "another one leads")  # noqa: B023
            world.cluster.start(leader)
        tokens = await turns
        assert tokens == sorted(tokens) and len(dict.fromkeys(tokens)) == 300

    play(story)


def test_a_lease_is_renewed_until_nobody_renews_it() -> None:
    """The holder hears of its loss, and the next one is let in with a greater token."""

    async def story(world: World) -> None:
        async with world.client.lock("till", ttl=0.5) as lock:
            await asyncio.sleep(3)
            lock.check()
            await lock.renew()
            await lock.renew(ttl=1.0)
            await lock._stop_renewals()
            async with world.client.lock("till", ttl=0.5, wait=5) as other:
                assert other.token > lock.token
                assert not lock.is_held
                with pytest.raises(Refused, match="lock_not_held: expected the name and the token"):
                    lock.check()
                with pytest.raises(Refused, match="lock_not_held"):
                    await lock.renew()
        with pytest.raises(Refused, match="lock_not_held"):
            async with world.client.lock("till", ttl=0.2, must_hold=True) as lock:
                await lock._stop_renewals()
                await asyncio.sleep(1)
        async with world.client.lock("till", wait=0):
            pass

    play(story)


def test_who_does_not_want_to_wait_any_more_leaves_the_queue() -> None:
    """By its own limit, by being cancelled, and at once."""

    async def story(world: World) -> None:
        async with world.client.lock("till"):
            with pytest.raises(Refused, match=r"lock_is_held: expected a lock that is free within 0\.2 s"):
                await world.client.lock("till", wait=0.2).acquire()
            with pytest.raises(Refused, match="lock_is_held"):
                await world.client.lock("till", wait=0).acquire()
            waiting = asyncio.ensure_future(world.client.lock("till").acquire())
            await asyncio.sleep(5)  # longer than a request is parked
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            queue = world.node(world.leader(0))._desk._ports.locks().queues["till"]
            assert queue.waiting == []
        async with world.client.lock("till", wait=0) as lock:
            with pytest.raises(ProtocolError, match="expected to be acquired once"):
                await lock.acquire()

    play(story)


def test_a_wait_that_nobody_answers_ends_in_time_and_blames_nobody() -> None:
    """The lock is free, but most nodes are gone: no node has said that it is held. Waiting by its own limit, and by the client's."""

    async def story(world: World) -> None:
        for number in (1, 2):
            world.cluster.crash(number)
        for wait, seconds in ((0.5, 0.5), (3.0, 3.0), (0.0, 10.0)):
            began = world.loop.time()
            with pytest.raises(Unreachable, match="lock: "):
                await world.client.lock("till", wait=wait).acquire()
            assert world.loop.time() - began <= seconds + 0.01

    play(story)


def test_an_older_owner_goes_first() -> None:
    """Two locks, taken in opposite order by two owners: the younger one loses its lock, and nobody waits for ever."""

    async def story(world: World) -> None:
        old, young = world.client.lock_owner(), world.client.lock_owner()
        async with world.client.lock("a", owner=old) as first:
            async with world.client.lock("b", owner=young, ttl=0.3) as lost:
                waiting = asyncio.ensure_future(world.client.lock("a", owner=young).acquire())
                async with world.client.lock("b", owner=old, wait=1) as second:
                    assert second.token > lost.token
                    await world.until(lambda: not lost.is_held, "the younger one hears of it")
                    assert first.is_held and not waiting.done()
            waiting.cancel()
            with pytest.raises(Refused, match="lock_already_claimed: expected an owner that"):
                await world.client.lock("a", owner=old).acquire()
        async with world.client.lock("b", owner=young, wait=1) as again:
            assert again.token > lost.token

    play(story)


def test_a_transfer_happens_only_while_its_lock_is_held() -> None:
    """Guards within a shard and across shards."""

    async def story(world: World) -> None:
        near, far = world.name_in(1, "near"), world.name_in(2, "far")
        await world.open(near, far, funds=1_000)
        async with world.client.lock("till") as lock:
            await world.client.transfer(near, far, 100, lock=lock)
            async with world.client.lock("door") as door:
                statuses = await world.client.transfer_many([near, far], [far, near], [1, 2], lock=door)
                assert [status.name for status in statuses] == ["created", "created"]
        for stale in (lock, door):
            with pytest.raises(Refused, match="lock_not_held"):
                await world.client.transfer(near, far, 100, lock=stale)
        async with world.client.lock("till", wait=1):
            with pytest.raises(Refused, match="lock_not_held"):
                await world.client.transfer(near, far, 100, lock=lock)
        assert (await world.client.account(far)).posted == 1_000 + 100 - 1
        locks = world.node(world.leader(0))._desk._ports.locks()
        await world.until(lambda: not locks.queues, "no claim and no pin is left")

    play(story, shards=2)


@pytest.mark.parametrize(
    ("name", "ttl", "status"),
    [
        ("", 1, "lock_name_must_not_be_empty"),
        ("x" * 65, 1, "lock_name_too_long"),
        ("a\nb", 1, "lock_name_has_invalid_characters"),
        ("till", 0, "lock_ttl_out_of_range"),
        ("till", 3_601, "lock_ttl_out_of_range"),
        ("till", float("inf"), "lock_ttl_out_of_range"),
    ],
)
def test_what_is_wrong_is_named(name: str, ttl: float, status: str) -> None:
    """With what was expected."""

    async def story(world: World) -> None:
        with pytest.raises(Refused, match=f"{status}: expected ") as caught:
            await world.client.lock(name, ttl=ttl).acquire()
        assert caught.value.status == status

    play(story)


@pytest.mark.parametrize(
    "body",
    [
        [],
        ["acquire", "till", b"", b"", 1_000, 0, 0, 0],
        ["acquire", "till", b"c" * 15, b"o" * 16, 1_000, 0, 0, 0],
        ["acquire", "till", b"c" * 16, b"o" * 16, 1_000, 0, 0],
        ["acquire", b"till", b"c" * 16, b"o" * 16, 1_000, 0, 0, 0],
        ["acquire", "till", b"c" * 16, b"o" * 16, -1, 0, 0, 0],
        ["acquire", "till", b"c" * 16, b"o" * 16, 1.5, 0, 0, 0],
        ["steal", "till", b"c" * 16, b"o" * 16, 1_000, 0, 0, 0],
        [["acquire"], "till", b"c" * 16, b"o" * 16, 1_000, 0, 0, 0],
        ["renew", "till", b"c" * 100, b"", 0, 1, 0, 0],
        ["release", "till", b"", b"o" * 16, 0, 1, 0, 0],
    ],
)
def test_a_word_of_another_shape_is_a_bad_request(body: list[object]) -> None:
    """And nothing of it reaches the desk."""

    async def story(world: World) -> None:
        connection = await world.dial(world.leader(0))
        answer = await world.ask(connection, "lock", 0, body)
        assert getattr(answer, "code", "") == "bad_request", answer

    play(story)


def test_a_name_with_what_cannot_be_seen_is_told() -> None:
    """Of locks and of accounts, split or not: the character and its place; nothing is created."""

    async def story(world: World) -> None:
        client = world.client
        with pytest.raises(
            Refused, match=r"lock_name_has_invalid_characters: .*; got U[+]200B ZERO WIDTH SPACE as character 5"
        ):
            await client.lock("till\u200b", ttl=1).acquire()
        for split in (False, True):
            with pytest.raises(
                Refused, match=r"id_has_invalid_characters: .*; got U[+]200B ZERO WIDTH SPACE as character 5"
            ):
                await client.create_account("till\u200b", "EUR", split=split)
        assert await client.accounts(["till\u200b"]) == [None]

    play(story)
