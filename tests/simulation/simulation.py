"""One run of the simulator: a cluster, its clients and its faults from one seed, and a verdict.

`loop` is virtual time with processes, `network` and `disks` what surrounds a node, `cluster` the production nodes on
them, `workload` the clients, `faults` what goes wrong, `records` what clients saw, `invariants` and `histories` the
checkers, `mutants` what they must find. A seed decides everything: the same seed gives the same run, down to the last
byte on the network.

Left out: real sockets, threads and files (the adapters' own tests have them), and changes of membership.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import traceback
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import structlog

from node.actors import snapshots
from protocol.placement import shards_of
from tests.simulation import histories
from tests.simulation.cluster import BASE_PORT, Cluster, Shape
from tests.simulation.faults import Faults
from tests.simulation.invariants import Invariants
from tests.simulation.loop import SimLoop, Stuck, run
from tests.simulation.network import Network
from tests.simulation.records import Records
from tests.simulation.workload import Worker

WORKERS = 3
FAULTS_SECONDS = 45.0
THINKING_SECONDS = 0.25  # mean between two calls of one worker
SERVING_SECONDS = 60.0  # within which a healed cluster serves everything
CHECK_SECONDS = 2.0  # between two comparisons of all replicas
BROKEN_MAX = 20  # promises named in a report


@dataclass(slots=True)
class Result:
    """What a run found."""

    seed: int
    broken: list[str] = field(default_factory=list)
    trace: int = 0
    virtual_seconds: float = 0.0
    transfers: int = 0
    created: int = 0
    unknown: int = 0
    reads: int = 0
    audits: int = 0
    entries: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def report(self) -> str:
        """The broken promises and how to see them again."""
        lines = [f"seed {self.seed}: {len(self.broken)} broken", *(f"  {one}" for one in self.broken)]
        return "\n".join([*lines, f"again: scripts/simulate --seed {self.seed}"])


class _Failed(Exception):
    """The run is over because a promise is broken."""


class Simulation:
    """One seed's run."""

    def __init__(self, seed: int, seconds: float) -> None:
        random = Random(seed)
        self.result = Result(seed)
        self.loop = SimLoop()
        self.network = self.loop.network = Network(self.loop, Random(random.getrandbits(64)), BASE_PORT)
        self.cluster = Cluster(self.loop, self.network, Shape.draw(random), Random(random.getrandbits(64)))
        self.invariants = Invariants(self.cluster, self._fail)
        self.faults = Faults(self.cluster, Random(random.getrandbits(64)), WORKERS)
        self.records = Records()
        self._random = random
        self._seconds = seconds
        self._over: asyncio.Future[None] = self.loop.create_future()
        self.cluster.unexpected = self._stopped
        self.loop.failed = lambda owner, error: self._stopped(owner.name if owner else "simulation", error)
        self.loop.after_step = self.invariants.step
        self.workers = [self._worker() for _ in range(WORKERS)]

    def _worker(self) -> Worker:
        owner, client = self.cluster.client(timeout=6.0)
        return Worker(self.loop, owner, client, self.records, Random(self._random.getrandbits(64)))

    def _fail(self, broken: str) -> None:
        if len(self.result.broken) < BROKEN_MAX:
            self.result.broken.append(f"{self.loop.time():.3f} s: {broken}")
        if not self._over.done():
            self._over.set_exception(_Failed())

    def _stopped(self, where: str, error: BaseException) -> None:
        if isinstance(error, _Failed):
            return
        text = "".join(traceback.format_exception(error))
        self._fail(f"{where} stopped: {text}")

    # -- the run --------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Runs to the end."""
        try:
            run(self.loop, self._main())
        except Stuck:
            self.result.broken.append(f"{self.loop.time():.3f} s: nothing is left that could happen")
        result, records = self.result, self.records
        result.trace = self.network.trace
        result.virtual_seconds = self.loop.time()
        result.transfers = len(records.transfers)
        result.created = len(records.created())
        result.unknown = sum(not any(one.is_definite for one in t.attempts) for t in records.transfers.values())
        result.reads, result.audits = len(records.reads), records.audits
        result.entries = sum(len(group.entries) for group in self.invariants.groups.values())
        result.faults = self.faults.counts + Counter(
            {name: getattr(self.network.counts, name) for name in ("lost", "doubled", "late", "resets")}
        )
        return result

    async def _main(self) -> None:
        story = asyncio.ensure_future(self._story())
        await asyncio.wait([story, self._over], return_when=asyncio.FIRST_COMPLETED)
        if story.done() and (error := story.exception()) is not None:
            self._stopped("simulation", error)
        story.cancel()
        await asyncio.wait([story], timeout=1.0)
        if self._over.done():
            self._over.exception()
        self.loop.after_step = lambda: None
        for number in self.cluster.hosts:
            self.cluster.crash(number)
        for worker in self.workers:
            self.loop.kill(worker.owner)
        await asyncio.sleep(0)

    async def _story(self) -> None:
        for number in self.cluster.hosts:
            self.cluster.start(number)
        for worker in self.workers:
            await self.loop.spawn(worker.owner, worker.connect())
        await self.loop.spawn(self.workers[0].owner, self.workers[0].open())
        running = [self.loop.spawn(worker.owner, worker.run(THINKING_SECONDS)) for worker in self.workers]
        checking = asyncio.ensure_future(self._check_often())
        await self.faults.run(self._seconds)
        keeping = asyncio.ensure_future(self._keep_up())
        await asyncio.sleep(1.0)
        for worker in self.workers:
            worker.stop()
        await asyncio.gather(*running)
        checking.cancel()
        await self._settle()
        await self._check_end()
        keeping.cancel()

    async def _keep_up(self) -> None:
        """A stop that was asked for before the end of the faults may come after it."""
        while True:
            await asyncio.sleep(0.5)
            for number in self.cluster.hosts:
                self.cluster.start(number)

    async def _check_often(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self.invariants.compare_digests()
            self.invariants.check_sums()
            for broken in self.records.broken:
                self._fail(broken)

    # -- the end --------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Everything is healed: within bounded time all is served, every outcome known, every replica level."""
        deadline = self.loop.time() + SERVING_SECONDS
        worker = self.workers[0]
        await self._until("audit", deadline, self._audits)
        for transfer in self.records.transfers.values():
            await self._until("outcome", deadline, lambda one=transfer: worker.settle(one))
        for name in self.records.accounts:
            await self._until("read", deadline, lambda name=name: worker.read(name))
        while self._behind() and self.loop.time() < deadline:
            await asyncio.sleep(0.1)
        for behind in self._behind():
            self._fail(f"{behind} {SERVING_SECONDS:.0f} s after the last fault")

    async def _until(self, what: str, deadline: float, work: object) -> None:
        while self.loop.time() < deadline:
            task = self.loop.spawn(self.workers[0].owner, work())  # type: ignore[operator]
            if await task:
                return
            await asyncio.sleep(0.1)
        self._fail(f"{what}: not served {SERVING_SECONDS:.0f} s after the last fault")

    async def _audits(self) -> bool:
        report = await self.workers[0].audit()
        return report is not None and report.balanced

    def _behind(self) -> list[str]:
        behind = self.invariants.open_rounds()
        for group, known in self.invariants.groups.items():
            if self.cluster.leader_of(group) is None:
                behind.append(f"group {group}: no leader")
            for number, node in self.cluster.nodes().items():
                replica = node.replicas.get(group)
                if replica is not None and replica.machine.applied != known.machine.applied:
                    behind.append(
                        f"group {group} node {number}: at {replica.machine.applied} of {known.machine.applied}"
                    )
        return behind

    async def _check_end(self) -> None:
        self.invariants.compare_digests()
        self.invariants.check_sums()
        records = self.records
        broken = [*records.broken, *histories.check_outcomes(records)]
        for name in records.accounts:
            group = int(shards_of([name], self.cluster.shape.shards)[0]) + 1
            known = self.invariants.groups[group]
            posted, listed = await self.loop.spawn(self.workers[0].owner, self._account(name))
            broken += histories.check_account(name, posted, listed, records)
            broken += histories.check_reads(name, records, known.points.get(name, []), known.effects)
        for one in broken:
            self._fail(one)

    async def _account(self, name: str) -> tuple[int, list[int]]:
        client = self.workers[0].client
        posted = (await client.account(name)).posted
        return posted, [entry.id async for entry in client.history(name, page=100)]


def simulate(seed: int, seconds: float = FAULTS_SECONDS) -> Result:
    """Runs one seed with faults for so many virtual seconds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    snapshots._snapshot_ids = itertools.count(1)  # type: ignore[misc]  # a process begins with 1
    return Simulation(seed, seconds).run()
