"""Audits that are asked for at once share a cut."""

from __future__ import annotations

from protocol.messages import Reply
from protocol.placement import COORDINATOR
from tests.actors.quiet import World, play, together

MANY = 10


def test_who_asks_while_an_audit_is_at_work_shares_the_next() -> None:
    """All are answered, by two cuts; what was paid before an audit was asked for is in it."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        leader = world.leader(COORDINATOR)
        marks = world.replica(leader, COORDINATOR).machine._marks
        connections = [await world.dial(leader) for _ in range(MANY)]
        first = await together(*(world.ask(connection, "audit", 0, []) for connection in connections))
        assert len(marks) == 2 and all(isinstance(answer, Reply) for answer in first)
        await world.client.transfer("a", "b", 40)
        last = await together(*(world.ask(connection, "audit", 0, []) for connection in connections))
        assert len(marks) == 4
        debits = {int(row[4]) for answer in last if isinstance(answer, Reply) for row in answer.body[0]}
        assert debits == {240}

    play(story, shards=2)
