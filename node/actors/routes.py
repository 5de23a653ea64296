"""Ways to the other nodes: the link itself, or where that is silent, another node that hears the target.

A network can fail between two nodes alone. Each tells its peers, in its answers to their pings, how many links away every node is;
a call to a node whose own link is silent goes to the peer that is nearest to it, as `relay`. A call counts down the links that it
may still take, so none goes round in circles. It may arrive twice, over both ways: whoever makes calls repeats them anyway, and
what they ask for bears that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from node.actors.actor import Reply
from node.actors.peers import Link
from node.core.machine import Body
from node.notices import PeerReachedThrough
from node.ports import UNHEARD, Clock, OperatorLog
from protocol.errors import ProtocolError
from protocol.messages import ANY_GROUP
from protocol.operations import PeerOperation

if TYPE_CHECKING:
    from node.actors.router import Call

TOLD_TICKS = 10  # half a second: peers miss a dead node long before
LINKS_MAX = 3  # of one call's way: two nodes between its ends still find it with half of five nodes' links cut


class Routes:
    """One a node; it also keeps the time of the links."""

    def __init__(self, node: int, links: Mapping[int, Link], clock: Clock, operator: OperatorLog = UNHEARD) -> None:
        self._node = node
        self._operator = operator
        self._detours: dict[int, int] = {}  # for how many ticks each silent peer has been in another one's reach
        self._links = links
        self._clock = clock

    def __contains__(self, node: int) -> bool:
        return node in self._links

    def call(
        self, to: int, operation: str, group: int, left_ms: int, version: int, body: Body, reply: Reply,
        links_max: int = LINKS_MAX,
    ) -> None:  # fmt: skip
        """Asks a node, by whatever way there is now; `reply` is called once."""
        link = self._links[to]
        way = None if link.is_up else self._way(to, links_max)
        if way is None:
            link.call(operation, group, left_ms, version, body, reply)
        else:
            wrapped = [to, links_max - 1, operation, group, body]
            way.call(PeerOperation.relay, ANY_GROUP, left_ms, version, wrapped, reply)

    def relay(self, call: Call) -> None:
        """Passes a peer's call on. Raises ProtocolError where it names no other node."""
        match call.body:
            case [int(to), int(links_max), str(operation), int(group), list(body)] if (
                to in self._links and links_max > 0
            ):
                remaining_ms = max(1, int((call.deadline - self._clock.monotonic()) * 1000))
                self.call(to, operation, group, remaining_ms, 0, body, call.reply, links_max)
            case _:
                raise ProtocolError("relay: expected [another node, links above 0, operation, group, body]")

    def reach(self, call: Call) -> None:
        """Answers a ping: `[[node, links to it], ...]`, without the ways that lead over the node that asks."""
        match call.body:
            case [int(asker)]:
                call.reply([[node, links] for node, links in self._distances(asker).items()])
            case _:
                raise ProtocolError("reach: expected [node]")

    def tick(self) -> None:
        """Calls under way on a silent link, not its pings, are ended where they can go another way: their callers repeat them."""
        for to, link in self._links.items():
            link.tick()
            if link.is_up:
                self._detours.pop(to, None)
            elif (way := self._way(to, LINKS_MAX)) is not None:
                link.give_up_calls()
                self._note_detour(to, way)

    def _note_detour(self, to: int, way: Link) -> None:
        """People are told when it lasts: of a node that died, peers say for a moment that they reach it."""
        self._detours[to] = self._detours.get(to, 0) + 1
        if self._detours[to] == TOLD_TICKS:
            self._operator.tell(PeerReachedThrough(to, way.address.id))

    def _way(self, to: int, links_max: int) -> Link | None:
        """The link to the peer that is nearest to a node; None where no peer is near enough."""
        ways = [
            (link.reach[to], node)
            for node, link in self._links.items()
            if node != to and link.is_up and link.reach.get(to, LINKS_MAX) < links_max
        ]
        return self._links[min(ways)[1]] if ways else None

    def _distances(self, without: int) -> dict[int, int]:
        found: dict[int, int] = {}
        for node, link in self._links.items():
            if node == without or not link.is_up:
                continue
            found[node] = 1
            for other, links in link.reach.items():
                if other not in (self._node, without) and links + 1 < min(LINKS_MAX, found.get(other, LINKS_MAX)):
                    found[other] = links + 1
        return found
