"""Leaderships change hands while all is well: home to the nodes that the placement prefers, and away from a node that stops or
whose clock is far off.

They go home one at a time, and while no node has just come back or lags behind; never at once after they came here, since whoever
gave them away may be about to stop. A move costs whoever wants the group just
then a repetition; together, and the coordinator's among them, they stopped every payment between shards for half a second and
more under full load. Group 0's goes last, and its coordinator first ends the rounds in flight, so that its successor has none to
find out about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from node.actors.clocks import Clocks
from node.actors.events import Lead, Move
from node.actors.replica import Replica
from node.ports import Clock
from protocol.placement import COORDINATOR

TICKS_UP = 40  # two seconds of quiet links: a restarted node has begun to catch up by then
TICKS_BETWEEN = 10  # moves; within half a second a new leader has answered what waited for it
STOP_SECONDS = 1.0  # for leaders to hand over before a node that stops gracefully goes


class Handover:
    """One a node. `finish` lets the coordinator end its rounds before it calls back."""

    def __init__(
        self,
        node: int,
        peers: Sequence[int],
        replicas: Mapping[int, Replica],
        is_up: Callable[[int], bool],
        finish: Callable[[Callable[[], None]], None],
        clocks: Clocks,
    ) -> None:
        self._node = node
        self._peers = peers
        self._replicas = replicas
        self._is_up = is_up
        self._finish = finish
        self._clocks = clocks
        self._ticks_up: dict[int, int] = {}  # of the nodes that are connected
        self._ticks_led: dict[Replica, int] = {}  # of what is led here
        self._ticks_to_wait = 0
        self._sent: Replica | None = None  # whose leadership was sent home last

    def tick(self) -> None:
        """Sends one leadership home, if one may go and all is calm; or away, from a node that others should lead for."""
        self._ticks_up = {peer: self._ticks_up.get(peer, 0) + 1 for peer in self._peers if self._may_lead(peer)}
        self._ticks_to_wait = max(0, self._ticks_to_wait - 1)
        led = [replica for replica in self._replicas.values() if replica.is_serving]
        self._ticks_led = {replica: self._ticks_led.get(replica, 0) + 1 for replica in led}
        if self._clocks.is_far_off(self._node):
            self._give_away(led)
        else:
            self._send_home(led)

    def _may_lead(self, peer: int) -> bool:
        return self._is_up(peer) and not self._clocks.is_far_off(peer)

    def _give_away(self, led: list[Replica]) -> None:
        """To whoever has most of the log, if that is all of it."""
        successors = {replica: replica.best_peer(self._may_lead) for replica in led}
        ready = [replica for replica, peer in successors.items() if peer and replica.may_hand_over(peer)]
        if ready and not self._ticks_to_wait:
            replica = max(ready, key=lambda replica: replica.group)
            self._ticks_to_wait = TICKS_BETWEEN
            self._move(replica, successors[replica], Move.clock)

    def _send_home(self, led: list[Replica]) -> None:
        settled = [replica for replica in led if self._ticks_led[replica] >= TICKS_UP]
        away = [replica for replica in settled if replica.preferred_leader in self._ticks_up]
        if not away or self._ticks_to_wait or min(self._ticks_up.values()) < TICKS_UP:
            return
        ready = [replica for replica in away if replica.may_hand_over(replica.preferred_leader)]
        if not ready or any(replica.has_laggard() for replica in led):
            return
        others = [replica for replica in ready if replica is not self._sent]
        if not others:  # home has not taken it, and the group refuses work during each attempt
            self._ticks_to_wait, self._sent = TICKS_UP, None
            return
        replica = max(others, key=lambda replica: replica.group)
        self._ticks_to_wait, self._sent = TICKS_BETWEEN, replica
        self._move(replica, replica.preferred_leader, Move.home)

    def _move(self, replica: Replica, to: int, reason: Move) -> None:
        if replica.group == COORDINATOR:
            self._finish(lambda: self._send(replica, to, reason))
        else:
            self._send(replica, to, reason)

    def _send(self, replica: Replica, to: int, reason: Move) -> None:
        """The node may have gone while the coordinator ended its rounds."""
        if self._is_up(to):
            replica.inbox.push(Lead(to, reason))

    async def leave(self, clock: Clock, tick_seconds: float) -> None:
        """Gives everything away that is led here, so that clients hardly notice; returns when nothing is, or nobody takes it."""
        deadline = clock.monotonic() + STOP_SECONDS
        while clock.monotonic() < deadline:
            leading = [replica for replica in self._replicas.values() if replica.is_leader]
            successors = {replica: peer for replica in leading if (peer := replica.best_peer(self._is_up))}
            for replica, peer in successors.items():
                replica.inbox.push(Lead(peer, Move.stop))
            if not successors:
                break
            await asyncio.sleep(tick_seconds)
