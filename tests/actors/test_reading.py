"""Reads that take their time: in turns of their connections, few at once, and none for somebody who does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from node.actors import reading
from node.actors.actor import Failed, Outcome
from node.actors.events import Query
from node.actors.reading import READERS, ReadingDesk
from node.core.machine import Need
from protocol.errors import ErrorCode
from protocol.messages import Failure, Reply
from protocol.status import BALANCES_MAX, Status
from tests.actors.clock import Clock
from tests.actors.quiet import World, play

STEPS = 3  # that a read of the test takes
FAR = 1_000.0  # a deadline that does not come
PAGES = 200


class Store:
    """Hands out rows when the test lets it."""

    def __init__(self) -> None:
        self.reads: list[tuple[tuple[tuple[str, int], ...], asyncio.Future[None]]] = []

    async def read(self, keys: tuple[tuple[str, int], ...]) -> dict[tuple[str, int], bytes | None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reads.append((keys, future))
        await future
        return dict.fromkeys(keys, b"")


class Shelf:
    """A replica whose questions need `STEPS` reads of the store, one after the other."""

    steps = STEPS

    def __init__(self) -> None:
        self.store: Any = Store()
        self.looks: list[str] = []  # the questions, each time that one was worked on

    def answer(self, query: Query) -> Need | None:
        self.looks.append(query.part)
        if len(query.loaded) < self.steps:
            return Need(tuple((query.part, number) for number in range(len(query.loaded) + 1)))
        query.reply([query.part])
        return None


class Room:
    """A desk with its readers, a shelf, and who is there."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.gone: list[int] = []
        self.desk = ReadingDesk(self.clock, lambda source: source not in self.gone)
        self.shelf = Shelf()
        self.outcomes: dict[str, Outcome] = {}

    def ask(self, name: str, source: int, deadline: float = FAR) -> None:
        """A read of that name."""
        self.desk.add(self.shelf, Query(name, [], lambda outcome: self._note(name, outcome), deadline, source=source))

    def _note(self, name: str, outcome: Outcome) -> None:
        assert name not in self.outcomes, "answered twice"
        self.outcomes[name] = outcome

    async def turn(self) -> None:
        """Whatever can go on does."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def hand_out(self) -> None:
        """All rows that are waited for arrive."""
        reads, self.shelf.store.reads = self.shelf.store.reads, []
        for _, future in reads:
            future.set_result(None)
        await self.turn()


async def in_a_room(story: Callable[[Room], Any]) -> None:
    """Runs the readers meanwhile."""
    room = Room()
    readers = [asyncio.ensure_future(room.desk.run()) for _ in range(READERS)]
    try:
        await story(room)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        for reader in readers:
            assert reader.cancelled(), reader.exception()


async def test_what_is_begun_is_ended_first() -> None:
    """However many wait, only so many hold what they have loaded."""

    async def story(room: Room) -> None:
        for number in range(10):
            room.ask(f"read {number}", 1)
        await room.turn()
        while len(room.outcomes) < 10:
            begun = {keys[0][0] for keys, _ in room.shelf.store.reads}
            assert 0 < len(begun) <= READERS
            await room.hand_out()
        assert list(room.outcomes) == [f"read {number}" for number in range(10)]
        assert room.desk.statistics().waiting == 0 and room.desk.statistics().begun == 10

    await in_a_room(story)


async def test_an_idle_desk_answers_at_once_what_needs_no_file() -> None:
    """One a turn of the loop: of a flood, the others wait as ever. And none that is overdue."""

    async def story(room: Room) -> None:
        room.shelf.steps = 0
        for _ in range(2):
            for number in range(10):
                room.ask(f"read {number}", 1)
            assert list(room.outcomes) == ["read 0"]
            await room.turn()
            assert list(room.outcomes) == [f"read {number}" for number in range(10)]
            room.outcomes.clear()
        room.ask("late", 1, deadline=-1.0)
        assert isinstance(room.outcomes["late"], Failed)

    await in_a_room(story)


async def test_connections_take_turns() -> None:
    """Who asks much waits behind itself."""

    async def story(room: Room) -> None:
        for number in range(20):
            room.ask(f"greedy {number}", 1)
        room.ask("polite", 2)
        await room.turn()
        while "polite" not in room.outcomes:
            await room.hand_out()
        assert len(room.outcomes) <= 2 * READERS

    await in_a_room(story)


async def test_the_loop_turns_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So payments wait for a step of a reader each, never for a whole read or several."""
    monkeypatch.setattr(Shelf, "steps", 0)

    async def story(room: Room) -> None:
        for number in range(20):
            room.ask(f"read {number}", number)
        looks = []
        while len(room.outcomes) < 20:
            before = len(room.shelf.looks)
            await asyncio.sleep(0)
            looks.append(len(room.shelf.looks) - before)
        assert max(looks) <= READERS

    await in_a_room(story)


async def test_nothing_is_begun_or_gone_on_with_for_nobody() -> None:
    """Reads that are overdue, or whose connection is gone, are answered `busy` and cost nothing more."""

    async def story(room: Room) -> None:
        for source in (1, 2):
            room.ask(f"begun {source}", source)
        await room.turn()
        for number in range(10):
            room.ask(f"waiting {number}", 1)
        room.ask("late", 3, deadline=5.0)
        room.ask("in time", 3)
        room.gone.append(1)
        room.clock.now += 6.0
        while "in time" not in room.outcomes:
            await room.hand_out()
        failed = [name for name, outcome in room.outcomes.items() if isinstance(outcome, Failed)]
        assert failed == ["begun 1", *failed[1:]] and sorted(failed[1:]) == sorted(
            ["late", *(f"waiting {number}" for number in range(10))]
        )
        outcomes = [room.outcomes[name] for name in failed]
        assert all(isinstance(o, Failed) and o.code is ErrorCode.busy and o.retry_after_ms > 0 for o in outcomes)
        assert set(room.shelf.looks) == {"begun 1", "begun 2", "in time"} and room.shelf.looks.count("begun 1") == 1
        assert room.desk.statistics().dropped == len(failed)

    await in_a_room(story)


async def test_a_full_desk_refuses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time to come again."""
    monkeypatch.setattr(reading, "READS_WAITING_MAX", 3)
    room = Room()
    for number in range(4):
        room.ask(f"read {number}", number)
    (outcome,) = room.outcomes.values()
    assert isinstance(outcome, Failed) and outcome.code is ErrorCode.busy and outcome.retry_after_ms > 0


# -- on nodes -----------------------------------------------------------------------------------------------------


def test_pages_that_are_asked_for_at_once() -> None:
    """Each is answered in full or refused, and a payment beside them is made."""

    async def story(world: World) -> None:
        await world.open("a", "b", "c", funds=PAGES)
        for _ in range(3):
            await world.client.transfer_many(["a"] * PAGES, ["b"] * PAGES, [1] * PAGES)
            await world.client.transfer_many(["b"] * PAGES, ["a"] * PAGES, [1] * PAGES)
        greedy = await world.dial(world.leader(1))
        order: list[str] = []

        async def read() -> Reply | Failure:
            answer = await world.ask(greedy, "history", 1, ["a", None, 1_000, True])
            order.append("page" if isinstance(answer, Reply) else answer.code)
            return answer

        async def pay() -> None:
            assert (await world.client.transfer("c", "a", 1)).status == Status.created
            order.append("payment")

        answers = await asyncio.gather(pay(), *(read() for _ in range(PAGES)))
        pages = [answer.body for answer in answers if isinstance(answer, Reply)]
        assert pages and len(pages) == order.count("page") and order.count("page") + order.count("busy") == PAGES
        assert all(len(rows) >= 1_000 for rows, _ in pages)
        assert not world.node(world.leader(1))._reading.statistics().waiting

    play(story)


def test_a_node_knows_who_is_there() -> None:
    """The node itself, and connections that stand: what others have asked for is dropped."""

    async def story(world: World) -> None:
        sessions = world.node(1)._sessions
        before = {session.number for session in sessions.sessions}
        connection = await world.dial(1)
        (number,) = {session.number for session in sessions.sessions} - before
        assert sessions.is_here(0) and sessions.is_here(number) and not sessions.is_here(number + 1)
        connection.close()
        await world.until(lambda: not sessions.is_here(number), "it is gone")

    play(story, nodes=1)


def test_many_accounts_are_read_in_pieces() -> None:
    """The client asks for more than one read may bring; a node refuses a longer one."""

    async def story(world: World) -> None:
        names = [f"n{number}" for number in range(2 * BALANCES_MAX + 10)]
        await world.client.create_accounts([[name, "EUR", None, None, name, b""] for name in names])
        accounts = await world.client.accounts([*names, "nobody"])
        assert [account.owner for account in accounts if account] == names and accounts[-1] is None
        other = await world.dial(1)
        answer = await world.ask(other, "balances", -1, names[: BALANCES_MAX + 1])
        assert isinstance(answer, Failure) and answer.code == "bad_request"

    play(story)
