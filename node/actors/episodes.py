"""What happens often is told when it begins and when it has ended; what outsiders bring about, at most some times a second."""

from __future__ import annotations

from dataclasses import dataclass

from node.notices import (
    ClientCutOff,
    ClientRefused,
    ClientsLeftOut,
    RoomForClients,
    Shed,
    ShedBegun,
    ShedEnded,
    TooManyClients,
)
from node.ports import Clock, OperatorLog

QUIET_SECONDS = 2.0  # after which it has ended: whoever was refused has come again by then
TOLD_PER_SECOND = 5  # of what outsiders do: enough to see who they are, and a day of it is no gigabyte


@dataclass(slots=True)
class Episode:
    """Something that happens again and again for a while."""

    first_at: float
    last_at: float
    count: int = 0

    @property
    def seconds(self) -> float:
        """From the first time to the last."""
        return self.last_at - self.first_at

    def again(self, now: float, times: int = 1) -> None:
        """Counts `times` more occurrences (0: it only goes on) and moves its end to `now`."""
        self.count += times
        self.last_at = now

    def is_over(self, now: float) -> bool:
        """Whether it has not happened for a while."""
        return now - self.last_at > QUIET_SECONDS


class Shedding:
    """What a node refuses because something is full or slow. One a node; has no task."""

    def __init__(self, clock: Clock, operator: OperatorLog) -> None:
        self._clock = clock
        self._operator = operator
        self._under_way: dict[Shed, Episode] = {}

    def refused(self, what: Shed, reason: str) -> None:
        """Notes a refused request; tells of the first one of an episode."""
        now = self._clock.monotonic()
        if what not in self._under_way:
            self._under_way[what] = Episode(now, now)
            self._operator.tell(ShedBegun(what, reason))
        self._under_way[what].again(now)

    def tick(self) -> None:
        """Call it every tick."""
        now = self._clock.monotonic()
        for what, episode in list(self._under_way.items()):
            if episode.is_over(now):
                del self._under_way[what]
                self._operator.tell(ShedEnded(what, episode.count, episode.seconds))


class Door:
    """Whom a node does not let in, or cuts off. One a node; has no task."""

    def __init__(self, clock: Clock, operator: OperatorLog) -> None:
        self._clock = clock
        self._operator = operator
        self._crowd: Episode | None = None
        self._second = 0.0  # when the one began that is counted
        self._told = 0  # in it
        self._left_out = 0

    def refused(self, address: str, code: str, reason: str) -> None:
        """Tells that somebody who connected was refused, or counts it where much has been told in this second."""
        if self._may_tell():
            self._operator.tell(ClientRefused(address, code, reason))

    def cut_off(self, address: str, reason: str, unsent_bytes: int) -> None:
        """Tells that a client was cut off, or counts it likewise."""
        if self._may_tell():
            self._operator.tell(ClientCutOff(address, reason, unsent_bytes))

    def crowded(self, limit: int) -> None:
        """Notes a client that was refused because as many are connected as may be; tells of the first one of an episode."""
        now = self._clock.monotonic()
        if self._crowd is None:
            self._crowd = Episode(now, now)
            self._operator.tell(TooManyClients(limit))
        self._crowd.again(now)

    def _may_tell(self) -> bool:
        self._look()
        is_told = self._told < TOLD_PER_SECOND
        self._told += is_told
        self._left_out += not is_told
        return is_told

    def _look(self) -> None:
        """Settles a second that is over."""
        now = self._clock.monotonic()
        if now - self._second < 1.0:
            return
        left_out, self._left_out = self._left_out, 0
        self._second, self._told = now, 0
        if left_out:
            self._operator.tell(ClientsLeftOut(left_out))

    def tick(self) -> None:
        """Call it every tick."""
        self._look()
        if self._crowd is not None and self._crowd.is_over(self._clock.monotonic()):
            crowd, self._crowd = self._crowd, None
            self._operator.tell(RoomForClients(crowd.count, crowd.seconds))
