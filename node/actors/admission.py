"""What a node takes on. Requests under way are counted, by number and by bytes, and what would only delay the others is refused
at once with `busy`: nothing has happened then, and the client is told when to come again.

Counted are the requests of clients and of peers that act for theirs, from their frame to their answer, on the connection and on
the node. What nodes ask each other for the sake of a request that was taken (votes, records, marks) is never refused here:
a node that is full finishes what it has begun.

*Work* (accounts, transfers, locks: whatever takes a place in a log or a queue) is refused earlier than reads: it may fill all but
a quarter of the node, and none of it while the node is slow. So an overloaded node can still be looked at. A node is slow while a
write of its log stands still or its loop runs late; it takes work again as soon as both are over.

Not here: the queues behind it, each with its own limit (a replica's inbox and pipeline, the coordinator's transfers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node.actors.actor import Failed
from node.ports import Clock
from protocol.errors import ErrorCode

REQUESTS_MAX = 16_384  # under way on a node: twice a full shard's queue; single transfers in it take about two seconds
BYTES_MAX = 32 << 20  # of their frames: some 70 full batches, a second of work, and little beside a node's memory
RESERVED = 4  # one part in so many of both is for reads, which are short and show what is wrong
LAG_SECONDS = 0.5  # hardly less than an election: what waits in a loop that is this late is late already; full load makes it 0.1 s
FULL_RETRY_MS = 50  # in which a node at its limit answers some full batches
SLOW_RETRY_MS = 200  # a disk or a machine that stood still for half a second seldom recovers in less


@dataclass(slots=True)
class Load:
    """What is under way, and how much may be."""

    requests_max: int
    bytes_max: int
    requests: int = 0
    bytes: int = 0

    def excess(self, size: int, reserved: int = 0) -> str | None:
        """What one more request of that size would exceed, leaving one part in `reserved` free; None if it fits."""
        requests_max = self.requests_max - (self.requests_max // reserved if reserved else 0)
        bytes_max = self.bytes_max - (self.bytes_max // reserved if reserved else 0)
        if self.requests >= requests_max:
            return f"{self.requests} requests under way: expected at most {requests_max} with the new one"
        if self.bytes + size > bytes_max:
            return f"{self.bytes} bytes of requests under way: expected at most {bytes_max} with {size} more"
        return None

    def add(self, size: int) -> None:
        """A request has been taken."""
        self.requests += 1
        self.bytes += size

    def remove(self, size: int) -> None:
        """A request has been answered."""
        self.requests -= 1
        self.bytes -= size


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """How full the node is, and what it has refused since its start."""

    requests: int  # under way
    bytes: int  # of their frames
    is_slow: bool
    shed_full: int  # refused for a limit of a connection or of the node
    shed_slow: int  # refused because the node was slow

    @property
    def shed(self) -> int:
        """All that was refused."""
        return self.shed_full + self.shed_slow


class Admission:
    """One a node."""

    def __init__(self, node: int, clock: Clock, tick_seconds: float, is_disk_slow: Callable[[], bool]) -> None:
        self._node = node
        self._clock = clock
        self._late_seconds = tick_seconds + LAG_SECONDS
        self._is_disk_slow = is_disk_slow
        self._load = Load(REQUESTS_MAX, BYTES_MAX)
        self._ticked: float | None = None
        self._was_late = False
        self._shed_full = 0
        self._shed_slow = 0

    def tick(self) -> None:
        """To be called every `tick_seconds`; how late that happens tells how late everything is."""
        self._was_late = self._is_late()
        self._ticked = self._clock.monotonic()

    def _is_late(self) -> bool:
        return self._ticked is not None and self._clock.monotonic() - self._ticked > self._late_seconds

    @property
    def is_slow(self) -> bool:
        """Whether work that is taken now would wait for a disk or a loop that stands still."""
        return self._was_late or self._is_late() or self._is_disk_slow()

    def admit(self, connection: Load, size: int, *, is_work: bool) -> Failed | None:
        """Counts a request whose frame has `size` bytes, on its connection and on the node; or why it is refused."""
        if (excess := connection.excess(size)) is not None:
            return self._full("this connection", excess)
        if (excess := self._load.excess(size, RESERVED if is_work else 0)) is not None:
            return self._full(f"node {self._node}", excess)
        if is_work and self.is_slow:
            self._shed_slow += 1
            what = "its log's write" if self._is_disk_slow() else "its loop"
            text = f"node {self._node} is slow: expected {what} to take less than half a second"
            return Failed(ErrorCode.busy, text, SLOW_RETRY_MS)
        connection.add(size)
        self._load.add(size)
        return None

    def _full(self, where: str, excess: str) -> Failed:
        self._shed_full += 1
        return Failed(ErrorCode.busy, f"{where} has {excess}", FULL_RETRY_MS)

    def release(self, connection: Load, size: int) -> None:
        """The request has been answered, whether or not its connection still stands."""
        connection.remove(size)
        self._load.remove(size)

    def statistics(self) -> AdmissionStatistics:
        """The node's load as it is now."""
        load = self._load
        return AdmissionStatistics(load.requests, load.bytes, self.is_slow, self._shed_full, self._shed_slow)
