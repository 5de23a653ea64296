"""The requests that wait for their entry at a leader, in turns: who asks much waits behind itself and not before the others.

Each connection has a lane, in order of arrival; the rounds of the coordinator and what the time asks for have one together. The
lanes take turns of `TURN_TRANSFERS`, or of one request where that is larger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from node.actors.events import Command, Propose
from protocol.status import TRANSFERS_MAX

ROUND_TRANSFERS = TRANSFERS_MAX // 8  # what a round's legs count for: about the share of one shard in a full round
TURN_TRANSFERS = TRANSFERS_MAX // 8  # eight connections share a full entry; smaller turns would only mix it more

Event = Command | Propose


def size_of(event: Event) -> int:
    """What it adds to an entry, in transfers."""
    return event.size if isinstance(event, Command) else ROUND_TRANSFERS


class Waiting:
    """The queue of one replica. Its user bounds its length."""

    def __init__(self) -> None:
        self._first: deque[Event] = deque()
        self._lanes: dict[int, deque[Event]] = {}  # the one whose turn it is stands first
        self._left = TURN_TRANSFERS  # of the turn
        self._count = 0
        self.size = 0  # of all that waits, in transfers

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Event]:
        yield from self._first
        for lane in self._lanes.values():
            yield from lane

    @property
    def put_back(self) -> int:
        """How many stand before all others."""
        return len(self._first)

    def append(self, event: Event) -> None:
        """Queues an event behind the others of its lane."""
        source = event.source if isinstance(event, Command) else 0
        lane = self._lanes.get(source)
        if lane is None:
            self._lanes[source] = deque((event,))
        else:
            lane.append(event)
        self._count += 1
        self.size += size_of(event)

    def put_first(self, event: Event) -> None:
        """Puts an event before all others: it has had its turn."""
        self._first.appendleft(event)
        self._count += 1
        self.size += size_of(event)

    def peek(self) -> Event:
        """What `take` will give."""
        return self._first[0] if self._first else next(iter(self._lanes.values()))[0]

    def take(self) -> Event:
        """The next event, whoever's turn it is."""
        event = self._first.popleft() if self._first else self._take_in_turn()
        self._count -= 1
        self.size -= size_of(event)
        return event

    def _take_in_turn(self) -> Event:
        source, lane = next(iter(self._lanes.items()))
        event = lane.popleft()
        self._left -= size_of(event)
        if self._left <= 0 or not lane:
            self._left = TURN_TRANSFERS
            del self._lanes[source]
            if lane:
                self._lanes[source] = lane
        return event

    def clear(self) -> None:
        """Forgets everything."""
        self._first.clear()
        self._lanes.clear()
        self._left = TURN_TRANSFERS
        self._count = self.size = 0
