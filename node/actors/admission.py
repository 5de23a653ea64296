"""What a node takes on. Requests under way are counted, by number and by bytes, and what would only delay the others is refused
at once with `busy`: nothing has happened then, and the client is told when to come again.

Counted are the requests of clients and of peers that act for theirs, from their frame to their answer, on the connection and on
the node: the bytes of their frames, and for reads what the answer may weigh, what has been answered and not been taken yet
included. What nodes ask each other for the sake of a request that was taken (votes, records, marks) is never refused here:
a node that is full finishes what it has begun.

*Work* (accounts, transfers, locks: whatever takes a place in a log or a queue) and reads have each their own part of the node, so
that neither starves the other; reads that look far leave some of theirs to the short ones, which show what is wrong. Work is
refused while the node is slow: while a write of its log stands still or its loop runs late; it takes work again as soon as both are over.

Who is refused first: a connection that has more under way than its share; then, on a node that is full, reads that may be long before
short ones; then all work, while the node is slow. What was taken is never dropped for it.

Not here: the queues behind it, each with its own limit (a replica's inbox and pipeline, the reads in turn, the coordinator's transfers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node.actors.actor import Failed, not_done
from node.actors.episodes import Shedding
from node.notices import Shed
from node.ports import Clock, OperatorLog
from protocol.errors import ErrorCode

REQUESTS_MAX = 16_384  # under way on a node: twice a full shard's queue; single transfers in it take about two seconds
BYTES_MAX = 32 << 20  # of their frames: some 70 full batches, a second of work, and little beside a node's memory
READS_FRACTION = 4  # one in so many of both is for reads, the rest for work
ANSWER_BYTES_MAX = 48 << 20  # of answers to reads: four greedy connections', a second of reading
LONG_BYTES = 64 << 10  # an answer that may weigh more is of a read that leaves room for shorter ones
RESERVED = 4  # one part in so many of the answers is for short reads
LAG_SECONDS = 0.5  # hardly less than an election: what waits in a loop that is this late is late already; full load makes it 0.1 s
FULL_RETRY_MS = 50  # in which a node at its limit answers some full batches
SLOW_RETRY_MS = 200  # a disk or a machine that stood still for half a second seldom recovers in less


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request takes."""

    bytes: int  # of its frame
    is_work: bool
    answer_bytes: int = 0  # what the answer to a read may weigh


@dataclass(slots=True)
class Load:
    """What is under way, and how much may be."""

    requests_max: int
    bytes_max: int
    answer_bytes_max: int
    requests: int = 0
    bytes: int = 0
    answer_bytes: int = 0
    unsent_bytes: int = 0  # answered, and not taken by the other side yet

    def excess(self, demand: Demand, reserved: int = 0) -> str | None:
        """What one more request would exceed, where long reads leave one part in `reserved` free; None if it fits."""
        if self.requests >= self.requests_max:
            return f"{self.requests} requests under way: expected at most {self.requests_max} with the new one"
        if self.bytes + demand.bytes > self.bytes_max:
            return (
                f"{self.bytes} bytes of requests under way: expected at most {self.bytes_max} with {demand.bytes} more"
            )
        answers, more, limit = self.answer_bytes + self.unsent_bytes, demand.answer_bytes, self.answer_bytes_max
        if reserved and more > LONG_BYTES:
            limit -= limit // reserved
        if more and answers + more > limit:
            return f"{answers} bytes of answers under way: expected at most {limit} with the {more} that one more may weigh"
        return None

    def add(self, demand: Demand) -> None:
        """A request has been taken."""
        self.requests += 1
        self.bytes += demand.bytes
        self.answer_bytes += demand.answer_bytes

    def remove(self, demand: Demand) -> None:
        """A request has been answered."""
        self.requests -= 1
        self.bytes -= demand.bytes
        self.answer_bytes -= demand.answer_bytes


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """How full the node is, and what it has refused since its start."""

    requests: int  # under way
    bytes: int  # of their frames
    answer_bytes: int  # that reads under way may be answered with, or were and nobody has taken
    is_slow: bool
    shed_full: int  # refused for a limit of a connection or of the node
    shed_slow: int  # refused because the node was slow

    @property
    def shed(self) -> int:
        """All that was refused."""
        return self.shed_full + self.shed_slow


class Admission:
    """One a node."""

    def __init__(
        self, node: int, clock: Clock, tick_seconds: float, is_disk_slow: Callable[[], bool], operator: OperatorLog
    ) -> None:
        self.shedding = Shedding(clock, operator)
        self._node = node
        self._clock = clock
        self._late_seconds = tick_seconds + LAG_SECONDS
        self._is_disk_slow = is_disk_slow
        reads, read_bytes = REQUESTS_MAX // READS_FRACTION, BYTES_MAX // READS_FRACTION
        self._work = Load(REQUESTS_MAX - reads, BYTES_MAX - read_bytes, 0)
        self._reads = Load(reads, read_bytes, ANSWER_BYTES_MAX)
        self._ticked: float | None = None
        self._was_late = False
        self._shed_full = 0
        self._shed_slow = 0

    def tick(self, unsent_bytes: int) -> None:
        """To be called every `tick_seconds`; how late that happens tells how late everything is.

        `unsent_bytes` are those of answers that all clients have not taken yet.
        """
        self.shedding.tick()
        self._reads.unsent_bytes = unsent_bytes
        self._was_late = self._is_late()
        self._ticked = self._clock.monotonic()

    def _is_late(self) -> bool:
        return self._ticked is not None and self._clock.monotonic() - self._ticked > self._late_seconds

    @property
    def is_slow(self) -> bool:
        """Whether work that is taken now would wait for a disk or a loop that stands still."""
        return self._was_late or self._is_late() or self._is_disk_slow()

    def admit(self, connection: Load, demand: Demand) -> Failed | None:
        """Counts a request, on its connection and on the node; or why it is refused."""
        if (excess := connection.excess(demand)) is not None:
            return self._full(Shed.connection, "this connection", excess)
        load = self._work if demand.is_work else self._reads
        if (excess := load.excess(demand, RESERVED)) is not None:
            return self._full(Shed.node, f"node {self._node}", excess)
        if demand.is_work and self.is_slow:
            self._shed_slow += 1
            what = "its log's write" if self._is_disk_slow() else "its loop"
            text = f"node {self._node} is slow: expected {what} to take less than half a second"
            self.shedding.refused(Shed.slow, text)
            return not_done(ErrorCode.busy, text, SLOW_RETRY_MS)
        connection.add(demand)
        load.add(demand)
        return None

    def _full(self, what: Shed, where: str, excess: str) -> Failed:
        self._shed_full += 1
        text = f"{where} has {excess}"
        self.shedding.refused(what, text)
        return not_done(ErrorCode.busy, text, FULL_RETRY_MS)

    def release(self, connection: Load, demand: Demand) -> None:
        """The request has been answered, whether or not its connection still stands."""
        connection.remove(demand)
        (self._work if demand.is_work else self._reads).remove(demand)

    def statistics(self) -> AdmissionStatistics:
        """The node's load as it is now."""
        work, reads = self._work, self._reads
        return AdmissionStatistics(
            work.requests + reads.requests, work.bytes + reads.bytes, reads.answer_bytes + reads.unsent_bytes,
            self.is_slow, self._shed_full, self._shed_slow,
        )  # fmt: skip
