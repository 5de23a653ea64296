"""What a router refuses, and what it says of calls that it has tried more than once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from node.actors.actor import Failed, Outcome, Reply, not_done
from node.actors.router import Router
from node.actors.routes import Routes
from node.core.ledger.operations import decode_transfers
from node.daemon import make_operations
from protocol.columns import FINAL_VERSION
from protocol.errors import ErrorCode, ProtocolError
from protocol.messages import NEVER_MS, Request
from protocol.operations import Operation
from protocol.placement import NodeAddress, Placement
from tests.actors.desk_world import Time
from tests.core.ledger.driving import columns
from tests.core.ledger.model import Transfer


class Scripted(Routes):
    """A way to node 2, which answers as it was told to."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)

    def __contains__(self, node: int) -> bool:
        return node == 2

    def call(
        self, to: int, operation: str, group: int, left_ms: int, version: int, body: list[Any], reply: Reply,
        links_max: int = 1,
    ) -> None:  # fmt: skip
        reply(self.outcomes.pop(0))


def asked(group: int, body: list[Any], expires_ms: int = NEVER_MS) -> Request:
    """Transfers that a client asks for."""
    return Request(1, Operation.transfers, group, expires_ms, 0, body)


async def answer_after(*outcomes: Outcome) -> Outcome:
    """What a client hears whose transfer meets these answers, one an attempt."""
    nodes = (NodeAddress(1, "localhost", 7101), NodeAddress(2, "localhost", 7102))
    router = Router(1, Placement(1, 1, ((1, 2), (2, 1)), nodes), Time(), make_operations())
    router.leaders, router.routes = [1, 2], Scripted(*outcomes)
    heard: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    body = columns([Transfer(1, "a", "b", 5)]).pack()
    router.request(asked(-1, body), heard.set_result, peer=False, source=1)
    return await asyncio.wait_for(heard, 5)


async def test_busy_behind_an_attempt_that_may_have_happened() -> None:
    """`busy` says that nothing has happened; behind a leader that fell with the entry on its way, nobody can say so."""
    busy = not_done(ErrorCode.busy, "the shard's queue is full", 20)
    fallen = Failed(ErrorCode.not_leader, "shard 1")
    assert await answer_after(busy) == busy
    assert await answer_after(not_done(ErrorCode.not_leader), busy) == busy
    for attempts in ((fallen, busy), (fallen, fallen, busy)):
        outcome = await answer_after(*attempts)
        assert outcome == replace(busy, may_have_happened=True)
    assert await answer_after(fallen, [b"\1"]) == [b"\1"]


@pytest.mark.parametrize("names", [("a" * 65, "b"), ("a", "b" * 2_000_000)])
def test_names_that_no_account_can_have(names: tuple[str, str]) -> None:
    """The record would keep them, as the credit account that was not found; so they are refused before the log."""
    with pytest.raises(ProtocolError, match="at most 64 bytes"):
        decode_transfers(columns([Transfer(1, *names, 5)]).pack())
    longest = "x" * 64
    decode_transfers(columns([Transfer(1, longest, longest, 5), Transfer(2, longest, longest, 5)]).pack())


def test_a_version_that_only_nodes_may_name() -> None:
    """It lets one share of a split account refuse for all; from a client it would record a wrong refusal for good."""
    router = Router(1, Placement(1, 1, ((1, 2), (2, 1)), ()), Time(), make_operations())
    body = columns([Transfer(1, "a", "b", 5), Transfer(2, "a", "b", 5, if_version=FINAL_VERSION)]).pack()
    for group in (-1, 1):
        with pytest.raises(ProtocolError, match=f"if_version: expected 0 to {FINAL_VERSION - 1}"):
            router.request(asked(group, body), lambda _: None, peer=False, source=1)
    heard: list[Outcome] = []
    router.request(asked(1, body), heard.append, peer=True, source=1)
    assert isinstance(heard[0], Failed) and heard[0].code is ErrorCode.not_leader
