"""A cluster of production nodes on simulated hosts: start, stop, kill, pause, and clocks that jump."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from unittest import mock

from node.actors import snapshots
from node.actors.outside import Adapters
from node.actors.snapshots import PIECE_BYTES
from node.adapters.memory import MemoryStarts
from node.adapters.operator_log import MemoryOperatorLog
from node.adapters.tcp import TcpTransport
from node.config import ClusterSettings, Config, StorageSettings, TimingSettings
from node.core.ledger import history, holds
from node.core.ledger.limits import SEGMENT_TRANSFERS, WINDOW_SEGMENTS
from node.core.raft import RaftConfig
from node.daemon import Node
from node.ports import StorageFailed
from protocol.client import Client
from protocol.ids import IdGenerator
from tests.simulation.clocks import EPOCH_NS, ClockFaults, SimClock
from tests.simulation.disks import Drive, SimLog, SimPeers, SimShard
from tests.simulation.loop import Owner, SimLoop
from tests.simulation.network import Network

BASE_PORT = 7_101
ELECTION_MS = 600  # silence after which a follower campaigns, as by the default settings
FIRST_CLIENT_HOST = 100
SMALL_PIECE_BYTES = 300


@dataclass(frozen=True, slots=True)
class Shape:
    """What a run's cluster looks like; small limits make rare paths common."""

    nodes: int
    shards: int
    replication: int
    tick_ms: int
    checkpoint_bytes: int
    message_bytes: int
    inflight_messages: int
    commit: str | None = None  # the commit protocol; None for the default
    piece_bytes: int = PIECE_BYTES  # of a checkpoint that is streamed: with small ones that takes long
    segment_transfers: int = SEGMENT_TRANSFERS  # with few of them, batches grow stale between resolve and apply

    @staticmethod
    def draw(random: Random) -> Shape:
        """A random one."""
        nodes = random.choice((3, 3, 3, 4, 5))
        replication = 5 if nodes == 5 and random.random() < 0.3 else 3
        return Shape(
            nodes, random.choice((1, 2, 3)), replication, random.choice((50, 100, 100)),
            random.choice((8_000, 60_000, 1 << 20)), random.choice((1, 300, 1 << 20)), random.choice((1, 4, 256)),
            piece_bytes=random.choice((SMALL_PIECE_BYTES, PIECE_BYTES)),
            segment_transfers=random.choice((1, 8, SEGMENT_TRANSFERS)),
        )  # fmt: skip

    def config(self) -> Config:
        """The settings of every node."""
        cluster = ClusterSettings("simulated", self.shards, self.replication, self.nodes, base_port=BASE_PORT)
        if self.commit is not None:
            cluster = replace(cluster, commit=self.commit)
        timing = TimingSettings(tick_ms=self.tick_ms, election_ticks=ELECTION_MS // self.tick_ms)
        return Config(cluster, timing=timing, storage=StorageSettings())


@contextmanager
def small_limits(shape: Shape) -> Iterator[None]:
    """While a run lasts, sealed segments of the record and pieces of checkpoints are as small as its shape says."""
    window = WINDOW_SEGMENTS if shape.segment_transfers == SEGMENT_TRANSFERS else 1
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(snapshots, "PIECE_BYTES", shape.piece_bytes))
        patches.enter_context(mock.patch.object(history, "SEGMENT_TRANSFERS", shape.segment_transfers))
        for module in (history, holds):
            patches.enter_context(mock.patch.object(module, "WINDOW_SEGMENTS", window))
        yield


class SimNode(Node):
    """A node with the small limits of its run's shape."""

    shape: Shape

    def _checkpoint_bytes(self) -> int:
        return self.shape.checkpoint_bytes

    def _raft_config(self, group: int) -> RaftConfig:
        config = super()._raft_config(group)
        shape = self.shape
        return replace(config, message_bytes_max=shape.message_bytes, inflight_messages_max=shape.inflight_messages)


@dataclass(slots=True)
class Host:
    """Where one node lives, over all its lives."""

    number: int
    drive: Drive
    clock: SimClock
    random: Random
    operator: MemoryOperatorLog
    owner: Owner | None = None  # the process, while there is one
    node: SimNode | None = None
    lives: int = 0
    dark: list[Owner] = field(default_factory=list)  # processes whose peers do not know yet that they are gone

    @property
    def is_up(self) -> bool:
        """Whether a process runs, paused or not."""
        return self.owner is not None

    @property
    def is_doubtful(self) -> bool:
        """Whether its disk was put back, and it may not have found that out."""
        return self.drive.is_put_back and (self.node is None or not self.node.doubts.is_clear)


class Cluster:
    """All hosts."""

    def __init__(self, loop: SimLoop, network: Network, shape: Shape, random: Random) -> None:
        self.loop = loop
        self.network = network
        self.shape = shape
        self.config = shape.config()
        self.placement = self.config.cluster.placement()
        self.random = random
        self.hosts: dict[int, Host] = {}
        self.crashes = 0
        self.absent: dict[int, None] = {}  # nodes that must not be started yet
        self.is_replacing = False  # a lost folder: groups have fewer voters than replicas for a while
        self.may_refuse = False  # so many folders are old that nobody can know what was acknowledged
        self.unexpected: Callable[[str, BaseException], None] = lambda where, error: None
        self._clients = 0
        for number in range(1, shape.nodes + 1):
            drive = Drive(Random(random.getrandbits(64)))
            clock, seeded = SimClock(loop, random), Random(random.getrandbits(64))
            self.hosts[number] = Host(number, drive, clock, seeded, MemoryOperatorLog(loop.time))
        clocks = [host.clock for host in self.hosts.values()]
        self.clocks = ClockFaults(loop, clocks, Random(random.getrandbits(64)))

    # -- nodes ----------------------------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Starts a node's process on what its disk holds."""
        host = self.hosts[number]
        if host.is_up or number in self.absent:
            return
        for owner in host.dark:
            self.network.bury(owner)
        host.dark.clear()
        host.lives += 1
        host.drive.disk.is_failing = False
        owner = host.owner = Owner(f"node {number}.{host.lives}", number)
        owner.blown = lambda: self.crash(number)
        self.loop.spawn(owner, self._live(host, owner))

    async def _live(self, host: Host, owner: Owner) -> None:
        drive = host.drive
        adapters = Adapters(
            TcpTransport(), SimLog(drive), lambda group: SimShard(drive, group), host.clock,
            Random(host.random.getrandbits(64)), drive.folder,
            MemoryStarts(drive.disk, drive.folder, host.random.getrandbits(62) + 1), SimPeers(drive),
            host.operator,
        )  # fmt: skip
        host.node = SimNode(host.number, self.config, adapters)
        host.node.shape = self.shape
        try:
            await host.node.run()
        except Exception as error:
            if not owner.is_dead and not _is_storage(error):
                self.unexpected(owner.name, error)
        if not owner.is_dead:
            self.crash(host.number)

    def crash(self, number: int, *, silently: bool = False) -> None:
        """The process ends where it stands; writes under way are lost. Silently: unheard before it is back."""
        host = self.hosts[number]
        owner, host.owner, host.node = host.owner, None, None
        if owner is None:
            return
        self.crashes += 1
        self.loop.kill(owner)
        self.network.process_died(owner, silently=silently)
        if silently:
            host.dark.append(owner)

    def pause(self, number: int) -> None:
        """The process stands still; what is sent to it waits."""
        owner = self.hosts[number].owner
        if owner is not None:
            owner.is_paused = True

    def resume(self, number: int) -> None:
        """The process goes on."""
        owner = self.hosts[number].owner
        if owner is not None and owner.is_paused:
            self.loop.resume(owner)

    def stop(self, number: int) -> None:
        """Asks for a graceful stop."""
        node = self.hosts[number].node
        if node is not None:
            node.stop()

    def nodes(self) -> dict[int, SimNode]:
        """The nodes whose process runs."""
        return {number: host.node for number, host in self.hosts.items() if host.node is not None}

    def leader_of(self, group: int) -> int | None:
        """Who leads a group, in the highest term; None where nobody does."""
        found: list[tuple[int, int]] = []
        for number, node in self.nodes().items():
            replica = node.replicas.get(group)
            if replica is not None and hasattr(replica, "raft") and replica.is_leader:
                found.append((replica.term, number))
        return max(found)[1] if found else None

    def has_majorities(self) -> bool:
        """Whether most hosts of every group are up, and all of its replicas count."""
        return not self.is_replacing and all(
            2 * sum(self.hosts[host].is_up for host in group) > len(group) for group in self.placement.replicas
        )

    def is_recovering(self) -> bool:
        """Whether a replica has not yet got back what its disk has lost: it cannot vote, and promises on time wait for it."""
        replicas = [replica for node in self.nodes().values() for replica in node.replicas.values()]
        return any(replica.raft.state.recovering for replica in replicas)

    def told(self, lines: int) -> list[str]:
        """The last lines of all nodes' logs, in the order of time."""
        told = [(one.seconds, number, one) for number, host in self.hosts.items() for one in host.operator.told]
        return [one.line(number) for _, number, one in sorted(told, key=lambda row: row[:2])[-lines:]]

    # -- clients --------------------------------------------------------------------------------------------------

    def client(self, *, timeout: float) -> tuple[Owner, Client]:
        """A production client on a host of its own, that knows some of the nodes. Use it in its owner's tasks."""
        number = FIRST_CLIENT_HOST + self._clients
        self._clients += 1
        random = Random(self.random.getrandbits(64))
        ports = [BASE_PORT + node - 1 for node in self.hosts]
        random.shuffle(ports)
        known = ports[: random.randint(1, len(ports))]
        now_ms = lambda: (EPOCH_NS + int(self.loop.time() * 1e9)) // 1_000_000  # noqa: E731
        ids = IdGenerator(now_ms, random.getrandbits)
        owner = Owner(f"client {number}", number)
        return owner, Client([f"127.0.0.1:{port}" for port in known], timeout=timeout, ids=ids)


def _is_storage(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_storage(one) for one in error.exceptions)
    return isinstance(error, StorageFailed)
