"""From requests to entries at a group's leader: merging, refusing, waiting for what is undecided."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node.actors import pipeline, replica, session
from node.actors.events import Lead
from node.core.commit import Ask
from node.core.machine import RoundRequest, unpack_entry
from protocol.columns import Flag
from protocol.errors import Busy, Refused
from protocol.messages import Failure, Reply
from protocol.status import AccountStatus, Status
from tests.actors.quiet import World, play, together
from tests.core.ledger.driving import columns
from tests.core.ledger.model import Transfer

MANY = 300


def test_small_requests_share_entries() -> None:
    """While one entry is in flight, all that comes is gathered for the next."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=MANY)
        leader = world.replica(world.leader(1), 1)
        before = leader.statistics().last_index
        receipts = await asyncio.gather(*(world.client.transfer("a", "b", 1) for _ in range(MANY)))
        assert [receipt.status for receipt in receipts] == [Status.created] * MANY
        assert leader.statistics().last_index - before < MANY // 20
        assert (await world.client.account("b")).posted == 2 * MANY

    play(story)


def test_an_open_chain_is_not_merged_with_what_follows() -> None:
    """Or the neighbour's transfer would become its last link."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        stored = world.cluster.hosts[1].drive.disk.groups[1].entries
        before = stored[-1].index
        pay = world.client.transfer_many
        answers = await together(
            pay(["a"], ["b"], [1]),
            pay(["a"], ["b"], [2]),
            pay(["a", "b"], ["b", "a"], [4, 5], flags=[Flag.none, Flag.linked]),
            pay(["a"], ["b"], [8]),
        )
        assert answers == [
            [Status.created], [Status.created], [Status.created, Status.linked_event_chain_open], [Status.created],
        ]  # fmt: skip
        new = [entry for entry in world.cluster.hosts[1].drive.disk.groups[1].entries if entry.index > before]
        assert sum(len(unpack_entry(entry.data)[2]) for entry in new) == 3, (
            "two were merged, not the last with the chain"
        )

    play(story, nodes=1)


@pytest.mark.parametrize(
    ("module", "limit"),
    [(session, "CLIENT_REQUESTS_MAX"), (replica, "EVENTS_MAX"), (pipeline, "WAITING_MAX")],
    ids=["session", "inbox", "pipeline"],
)
def test_a_full_queue_says_busy(module: Any, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With advice when to come again; what was refused has not happened, all else has."""
    monkeypatch.setattr(module, limit, 8)

    async def story(world: World) -> None:
        await world.open("a", "b", funds=MANY)
        answers = await together(*(world.client.transfer("a", "b", 1) for _ in range(MANY)))
        busy = [answer for answer in answers if isinstance(answer, Busy)]
        created = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert busy and created and len(busy) + len(created) == MANY, answers
        assert all(answer.retry_after > 0 for answer in busy)
        assert (await world.client.account("b")).posted == MANY + len(created)
        assert (await world.client.transfer("a", "b", 1)).status == Status.created

    play(story, nodes=1)


def test_a_follower_names_the_leader() -> None:
    """A request that names its group is not forwarded."""

    async def story(world: World) -> None:
        await world.open("a")
        connection = await world.dial(world.followers(1)[0])
        answer = await world.ask(connection, "balances", 1, ["a"])
        assert isinstance(answer, Failure)
        assert (answer.code, answer.hint) == ("not_leader", world.leader(1))
        answer = await world.ask(connection, "balances", -1, ["a"])
        assert isinstance(answer, Reply) and answer.body[0][0] == "a", "without a group it is forwarded"

    play(story)


class HeldPrecommits:
    """Keeps the coordinator's PRECOMMITs back, so that its rounds stay open."""

    def __init__(self, world: World) -> None:
        self._actor = world.node(world.leader(0))._coordinator
        self._ask = self._actor._ask
        self.held: list[Ask] = []
        self._actor._ask = self._hold  # type: ignore[method-assign]  # the network takes its time

    def _hold(self, ask: Ask) -> None:
        if isinstance(ask.request, RoundRequest) and ask.request.precommits:
            self.held.append(ask)
        else:
            self._ask(ask)

    def release(self) -> None:
        """Sends what was held, and everything later at once."""
        self._actor._ask = self._ask  # type: ignore[method-assign]  # as it was
        for ask in self.held:
            self._ask(ask)


async def open_a_round(world: World) -> tuple[HeldPrecommits, asyncio.Task[Any], str]:
    """A payment to another shard that is voted for and not decided, and the account it will be credited to."""
    rich, poor = world.name_in(1, "rich"), world.name_in(2, "poor")
    await world.open(rich, funds=100)
    await world.open(poor)
    held = HeldPrecommits(world)
    paying = asyncio.ensure_future(world.client.transfer(rich, poor, 80, commit="3pc"))
    await world.until(lambda: held.held, "the shards have voted")
    return held, paying, poor


def test_a_payment_out_of_undecided_money_waits_for_the_round() -> None:
    """It is tried again, alone or with rows that were created already, and then succeeds."""

    async def story(world: World) -> None:
        held, paying, poor = await open_a_round(world)
        (other, third) = world.name_in(2, "other"), world.name_in(2, "third")
        await world.open(other, funds=10)
        await world.open(third)
        alone = asyncio.ensure_future(world.client.transfer(poor, third, 30))
        mixed = asyncio.ensure_future(world.client.transfer_many([other, poor], [third, third], [10, 50]))
        await asyncio.sleep(1.0)
        assert not paying.done() and not alone.done() and not mixed.done()
        assert (await world.client.account(other)).posted == 0, "a row that needs nothing undecided has happened"
        held.release()
        assert (await alone).status == Status.created
        first, second = await mixed
        assert first in (Status.created, Status.exists) and second == Status.created
        assert (await paying).status == Status.created
        assert (await world.client.account(third)).posted == 90
        assert (await world.client.audit()).balanced

    play(story, shards=2)


def test_who_waits_and_has_happened_in_part_is_not_told_that_nothing_has() -> None:
    """Leadership moves while a batch waits for a round, and one of its rows has been created."""

    async def story(world: World) -> None:
        held, paying, poor = await open_a_round(world)
        (other, third) = world.name_in(2, "other"), world.name_in(2, "third")
        await world.open(other, funds=10)
        await world.open(third)
        connection = await world.dial(world.leader(2))
        batch = columns([Transfer(1001, other, third, 10), Transfer(1002, poor, third, 50)])
        asked = asyncio.ensure_future(world.ask(connection, "transfers", 2, batch.pack()))
        while (await world.client.account(other)).posted:
            pass
        assert not asked.done()
        world.replica(world.leader(2), 2).inbox.push(Lead(world.followers(2)[0]))
        answer = await asked
        assert isinstance(answer, Failure) and answer.may_have_happened, answer
        held.release()
        await asyncio.wait([paying])

    play(story, shards=2)


def test_who_wants_a_version_waits_for_the_round() -> None:
    """Whether the account is still at it, the decision tells: only then are a payment and an update refused."""

    async def story(world: World) -> None:
        poor, third = world.name_in(2, "poor"), world.name_in(2, "third")
        await world.open(third)
        await world.open(poor)
        version = (await world.client.account(poor)).version
        held, paying, _ = await open_a_round(world)
        tries = (
            world.client.transfer(poor, third, 1, if_version=version),
            world.client.update_account(poor, owner="someone", if_version=version),
        )
        waiting = [asyncio.ensure_future(one) for one in tries]
        await asyncio.sleep(1.0)
        assert not any(one.done() for one in waiting)
        held.release()
        await paying
        now = (await world.client.account(poor)).version
        for one in waiting:
            with pytest.raises(Refused) as refused:
                await one
            assert (refused.value.status, refused.value.version) == ("version_conflict", now)

    play(story, shards=2)


def test_a_read_waits_for_an_open_round() -> None:
    """A balance that may still fall or rise is not shown as the truth."""

    async def story(world: World) -> None:
        held, paying, poor = await open_a_round(world)
        reading = asyncio.ensure_future(world.client.account(poor))
        await asyncio.sleep(1.0)
        assert not reading.done()
        held.release()
        assert (await reading).posted == 80
        assert (await paying).status == Status.created

    play(story, shards=2)


def test_a_read_that_waits_too_long_is_told() -> None:
    """The round outlasts the reader's patience."""

    async def story(world: World) -> None:
        held, paying, poor = await open_a_round(world)
        connection = await world.dial(world.leader(2))
        answer = await world.ask(connection, "balances", 2, [poor])
        assert isinstance(answer, Failure) and answer.code == "busy" and answer.retry_after_ms > 0
        held.release()
        await paying

    play(story, shards=2)


def test_bulky_requests_do_not_share_an_entry_that_fits_no_frame() -> None:
    """A bulk load over many connections: what gathers behind an entry is cut to what can be sent to the other replicas."""

    async def story(world: World) -> None:
        connections = [await world.dial(world.leader(1)) for _ in range(5)]
        requests = []
        for number in range(12):
            body = [[f"account:{number}:{place}", "EUR", 0, None, "", bytes(1_024)] for place in range(1_800)]
            requests.append(world.ask(connections[number % 5], "accounts", 1, body))
        for answer in await asyncio.gather(*requests):
            assert isinstance(answer, Reply) and set(answer.body) == {AccountStatus.created}, answer

    play(story)


def test_bulky_transfers_are_not_merged_beyond_a_frame() -> None:
    """A reference is judged after it was logged: many long ones must not share a command, nor a round."""

    async def story(world: World) -> None:
        near, far, other = world.name_in(1, "near"), world.name_in(1, "far"), world.name_in(2, "other")
        await world.open(near, far, other, funds=100)
        for group, payee in ((1, far), (0, other)):
            connections = [await world.dial(world.leader(group)) for _ in range(5)]
            requests = []
            for number in range(12):
                batch = columns([Transfer(100 * group + number + 1, near, payee, 1, reference="r" * 1_900_000)])
                requests.append(world.ask(connections[number % 5], "transfers", group, batch.pack()))
            for answer in await asyncio.gather(*requests):
                assert isinstance(answer, Reply) and answer.body == [bytes([Status.reference_too_long])], answer

    play(story, shards=2)
