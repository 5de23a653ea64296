"""How many calls a client has under way: as many as the nodes bear, by what it hears from them.

A node that sheds load makes the client halve what it sends at once, and wait for as long as the node said; each answer lets it
send a little more (additive increase, multiplicative decrease, as TCP does). Only what waits its turn here counts: a node that has
room for reads may have none for payments. What has to wait here has not been sent: if its time
is over first, surely nothing has happened.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

CALLS_MAX: Final = 512  # at once: half of what a node takes on one connection, and eight times what keeps a shard busy
CALLS_MIN: Final = 4  # however often nodes are busy


class Pace:
    """A queue before the network, first come, first served."""

    def __init__(self) -> None:
        self.limit = float(CALLS_MAX)
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._holds_until = 0.0

    def begin_at_once(self) -> bool:
        """Takes a turn, which `end` gives back, if there is one for who comes now."""
        is_let_in = not self._waiting and self._has_room(asyncio.get_running_loop().time())
        self.under_way += is_let_in
        return is_let_in

    async def begin(self) -> None:
        """Waits for a turn, which `end` gives back."""
        if self.begin_at_once():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.end()  # it was let in at the same moment
            raise

    def _has_room(self, now: float) -> bool:
        return self.under_way < self.limit and now >= self._holds_until

    def end(self) -> None:
        """A call is over."""
        self.under_way -= 1
        self._let_in()

    def _let_in(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._has_room(loop.time()):
            turn = self._waiting.popleft()
            if not turn.done():
                self.under_way += 1
                turn.set_result(None)

    def served(self) -> None:
        """A node has carried out what it was asked."""
        self.limit = min(CALLS_MAX, self.limit + 1 / self.limit)

    def shed(self, seconds: float) -> None:
        """A node was busy, and said for how long. Many that were shed together count once."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._holds_until:
            return
        self.limit = max(CALLS_MIN, self.limit / 2)
        self._holds_until = loop.time() + seconds
        loop.call_at(self._holds_until, self._go_on)

    def _go_on(self) -> None:
        self._holds_until = 0.0
        self._let_in()
