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
        marks = world.replica(leader, COORDINATOR).machine._markers
        connections = [await world.dial(leader) for _ in range(MANY)]
        first = await together(*(world.ask(connection, "audit", 0, []) for connection in connections))
        assert len(marks) == 2 and all(isinstance(answer, Reply) for answer in first)
        await world.client.transfer("a", "b", 40)
        last = await together(*(world.ask(connection, "audit", 0, []) for connection in connections))
        assert len(marks) == 4
        debits = {int(row[4]) for answer in last if isinstance(answer, Reply) for row in answer.body[0]}
        assert debits == {240}

    play(story, shards=2)


def test_an_audit_names_who_is_recovering() -> None:
    """A node whose folder was copied, while it waits for the word of one that is away; and nobody any more behind that."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=100)
        old, away = world.followers(1)[:2]
        drive = world.cluster.hosts[old].drive
        for number in (old, away):
            world.cluster.crash(number)
        drive.copy()
        drive.put_back(as_files=True)
        world.cluster.start(old)
        await world.until(lambda: world.is_serving(old), "it runs")
        report = await world.client.audit()
        assert report.balanced and [shard.recovering for shard in report.shards] == [(old,), (old,)]
        world.cluster.start(away)
        await world.until(lambda: world.is_serving(away) and world.node(old).doubts.is_clear, "it is sound")
        assert [shard.recovering for shard in (await world.client.audit()).shards] == [(), ()]

    play(story, nodes=5)
