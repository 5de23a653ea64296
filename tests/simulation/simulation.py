"""One run of the simulator: a cluster, its clients and its faults from one seed, and a verdict.

`loop` is virtual time with processes, `network` and `disks` what surrounds a node, `cluster` the production nodes on
them, `worker` the clients, `bank`, `registers`, `notes` and `locking` their workloads, `faults` and `ghosts` what goes
wrong, `swarm` which kinds of it a run has, `records` what clients saw. Behind the faults a run has one spell of something else:
`links` that are cut, or break between nodes far apart, and that nobody may notice, a lost data folder (`folders`), clients that ask
for too much (`greed`), `machines` that are put back, so many that a group may refuse for ever.
What each node told its operator is kept, and the end of it is in the report of a seed that fails.
Checkers look at the logs (`invariants`, `decisions`), at the disks (`checkpoints`) and at the records (`histories`, `amounts`,
`linearizability`, `list_append`, `snapshots`, `fencing`, `times`, `events`); `mutants` are what they must find. A seed decides everything:
the same seed gives the same run, down to the last byte on the network.

Left out: real sockets, threads and files (the adapters' own tests have them).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Protocol

from node.actors import snapshots
from protocol.client import Account, Client, locks
from protocol.errors import Busy, Unreachable
from protocol.placement import group_of
from tests.simulation import amounts, events, fencing, histories, linearizability, list_append
from tests.simulation import snapshots as cuts
from tests.simulation.bank import Bank
from tests.simulation.cluster import BASE_PORT, SMALL_PIECE_BYTES, Cluster, Shape, small_limits
from tests.simulation.faults import Faults
from tests.simulation.folders import Folders
from tests.simulation.ghosts import Ghosts
from tests.simulation.greed import Greed
from tests.simulation.invariants import Invariants
from tests.simulation.links import Links
from tests.simulation.locking import Locking
from tests.simulation.loop import SimLoop, Stuck, run
from tests.simulation.machines import Machines
from tests.simulation.network import Network
from tests.simulation.notes import Notes
from tests.simulation.reading import Readers
from tests.simulation.records import Records
from tests.simulation.registers import Lists, Registers
from tests.simulation.splitting import SplitBank
from tests.simulation.worker import CALL_SECONDS, Question, Worker, Workload

WORKERS = 3
KINDS: dict[str, Callable[[SimLoop, Client, Records, Random], Workload]] = {
    "bank": Bank,
    "register": Registers,
    "append": Lists,
    "lock": Locking,
    "note": Notes,
    "split": SplitBank,
    "read": Readers,
}


class Spell(Protocol):
    """Faults of one kind behind all others, when nothing else fails: what is promised then is more."""

    async def run(self) -> None:
        """All of it; afterwards everything works again."""
        ...


SPELLS: dict[str, Callable[[Cluster, Random, Counter[str], Callable[[str], None]], Spell]] = {
    "links": Links,
    "folders": Folders,
    "greed": Greed,
    "machines": Machines,
}
SPELL_WEIGHTS = {
    "links": 3,
    "folders": 3,
    "greed": 1,
    "machines": 2,
    "none": 3,
}  # a run has one: each takes seconds, and seeds are many
WORKLOADS = {**{kind: (kind,) for kind in KINDS}, "read": ("bank", "lock", "read"), "mix": tuple(KINDS)}
FAULTS_SECONDS = 20.0
THINKING_SECONDS = 0.15  # mean between two calls of one worker
SERVING_SECONDS = 60.0  # within which a healed cluster serves everything
CHECK_SECONDS = 2.0  # between two comparisons of all replicas
UNDECIDED_CHECK_SECONDS = 0.1  # between two looks at the open rounds
BUSY_SECONDS = 2.5  # of work after the last fault
GARBAGE_OBJECTS = 50_000  # between two collections
BROKEN_MAX = 20  # promises named in a report
TOLD_LINES = 60  # of the nodes' logs in it


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked to be; what is None is drawn from the seed, or the cluster's default."""

    seconds: float = FAULTS_SECONDS  # of faults
    workload: str | None = None  # one of WORKLOADS
    commit: str | None = None  # 2pc or 3pc
    at: str | None = None  # what the faults aim at, one of AIMS
    spell: str | None = None  # what comes behind the faults, one of SPELL_WEIGHTS

    def arguments(self) -> str:
        """As given to scripts/simulate."""
        given = {name: getattr(self, name) for name in ("workload", "commit", "at", "spell")}
        given["seconds"] = f"{self.seconds:g}"
        return " ".join(f"--{name} {value}" for name, value in given.items() if value is not None)


@dataclass(slots=True)
class Result:
    """What a run found."""

    seed: int
    plan: Plan
    broken: list[str] = field(default_factory=list)
    trace: int = 0
    units: int = 0  # that the network carried
    virtual_seconds: float = 0.0
    workload: str = ""
    transfers: int = 0
    created: int = 0
    unknown: int = 0
    reads: int = 0
    audits: int = 0
    snapshots: int = 0
    operations: int = 0  # on registers, counters and lists
    rounds_2pc: int = 0
    rounds_3pc: int = 0
    grants: int = 0  # of locks
    guarded: int = 0  # transfers under a lock that happened
    events: int = 0  # that readers were told, in all
    entries: int = 0
    undecided_seconds: float = 0.0  # the oldest undecided round in a calm
    faults: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)  # the last lines of all nodes' logs, where a promise is broken

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def report(self) -> str:
        """The broken promises, what the nodes told before, and how to see it again."""
        lines = [f"seed {self.seed}: {len(self.broken)} broken", *(f"  {one}" for one in self.broken), *self.told]
        return "\n".join([*lines, f"again: scripts/simulate --seed {self.seed} {self.plan.arguments()}"])


class _Failed(Exception):
    """The run is over because a promise is broken."""


class Simulation:
    """One seed's run."""

    def __init__(self, seed: int, plan: Plan) -> None:
        random = Random(seed)
        self.result = Result(seed, plan)
        drawn = random.choice(tuple(WORKLOADS))
        self.result.workload = plan.workload or drawn
        self.loop = SimLoop()
        self.network = self.loop.network = Network(self.loop, Random(random.getrandbits(64)), BASE_PORT)
        shape = replace(Shape.draw(random), commit=plan.commit)
        if plan.at in ("shards", "coordinator"):
            shape = replace(shape, shards=max(2, shape.shards))  # rounds of several, one of which may be silent
        if plan.at == "snapshots":
            shape = replace(shape, checkpoint_bytes=2_000, piece_bytes=SMALL_PIECE_BYTES, message_bytes=300)
        self.cluster = Cluster(self.loop, self.network, shape, Random(random.getrandbits(64)))
        self.invariants = Invariants(self.cluster, self._fail)
        self.faults = Faults(self.cluster, Random(random.getrandbits(64)), WORKERS, at=plan.at)
        self.ghosts = Ghosts(self.cluster, Random(random.getrandbits(64)), self._fail)
        self.records = Records()
        self._random = random
        self._seconds = plan.seconds
        (spell,) = Random(f"spell of {seed}").choices([*SPELL_WEIGHTS], [*SPELL_WEIGHTS.values()])
        self._spell = plan.spell or spell
        self._over: asyncio.Future[None] = self.loop.create_future()
        self.cluster.unexpected = self._stopped
        self.loop.failed = lambda owner, error: self._stopped(owner.name if owner else "simulation", error)
        self.loop.after_step = self.invariants.step
        self.workers = [self._worker() for _ in range(WORKERS)]

    def _worker(self) -> Worker:
        owner, client = self.cluster.client(timeout=6.0)
        chosen = [KINDS[name] for name in WORKLOADS[self.result.workload]]
        randoms = [Random(self._random.getrandbits(64)) for _ in range(len(KINDS) + 1)]
        workloads = [kind(self.loop, client, self.records, one) for kind, one in zip(chosen, randoms, strict=False)]
        return Worker(owner, client, workloads, randoms[-1])

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
        result.told = self.cluster.told(TOLD_LINES) if result.broken else []
        result.trace, result.units = self.network.trace, self.network.counts.units
        result.virtual_seconds = self.loop.time()
        result.transfers = len(records.transfers)
        result.created = len(records.created())
        result.unknown = sum(not any(one.is_definite for one in t.attempts) for t in records.transfers.values())
        result.reads, result.audits, result.snapshots = len(records.reads), records.audits, len(records.snapshots)
        result.operations = len(records.lists) + sum(len(operations) for operations in records.registers.values())
        protocols = Counter(known.protocol for known in self.invariants.decisions.rounds.values())
        result.rounds_2pc, result.rounds_3pc = protocols["2pc"], protocols["3pc"]
        result.grants, result.guarded = len(records.grants), len(records.guarded)
        result.events = sum(map(len, (*records.readers, *records.readings, records.events)))
        result.undecided_seconds = self.invariants.undecided_seconds
        result.entries = sum(len(group.entries) for group in self.invariants.groups.values())
        result.faults = (
            self.faults.counts
            + self.ghosts.counts
            + Counter(
                {name: getattr(self.network.counts, name) for name in ("lost", "doubled", "late", "tardy", "resets")}
            )
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
        for owner in (self.ghosts.owner, *(worker.owner for worker in self.workers)):
            self.loop.kill(owner)
        await asyncio.sleep(0)

    async def _story(self) -> None:
        for number in self.cluster.hosts:
            self.cluster.start(number)
        for worker in self.workers:
            await self.loop.spawn(worker.owner, worker.connect())
        first = self.workers[0]
        for workload in first.workloads:
            await self.loop.spawn(first.owner, workload.open())
        running = [self.loop.spawn(worker.owner, worker.run(THINKING_SECONDS)) for worker in self.workers]
        for task in running:
            task.add_done_callback(self._worked)
        watching = [asyncio.ensure_future(one) for one in (self._keep_up(), self._check_often(), self._check_rounds())]
        await self.faults.run(self._seconds)
        await asyncio.sleep(BUSY_SECONDS)
        if self._spell in SPELLS:
            random = Random(f"{self._spell} of {self.result.seed}")
            await SPELLS[self._spell](self.cluster, random, self.faults.counts, self._fail).run()
        for worker in self.workers:
            worker.stop()
        await asyncio.gather(*running)
        if not self.cluster.may_refuse:
            await self._settle()
        for task in watching:
            task.cancel()
        if not self.cluster.may_refuse:
            await self._check_end()

    def _worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stopped("a worker", error)

    async def _keep_up(self) -> None:
        """A stop that was asked for among the faults may come after them."""
        while True:
            await asyncio.sleep(0.5)
            for number in self.cluster.hosts if self.faults.is_calm else ():
                self.cluster.start(number)

    async def _check_rounds(self) -> None:
        while True:
            await asyncio.sleep(UNDECIDED_CHECK_SECONDS)
            is_slow = any(
                node._writer.is_slow for node in self.cluster.nodes().values()
            )  # a write that a fault left behind
            self.invariants.check_undecided(is_calm=self.faults.is_calm and not is_slow)

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
        await self._until("audit", deadline, self._is_balanced)
        questions: list[Question] = [one for workload in self.workers[0].workloads for one in workload.questions()]
        for what, ask in questions:
            await self._until(what, deadline, ask)
        while (self._behind() or self.invariants.short_lives()) and self.loop.time() < deadline:
            await asyncio.sleep(0.1)
        for behind in self._behind():
            self._fail(f"{behind} {SERVING_SECONDS:.0f} s after the last fault")

    async def _until(self, what: str, deadline: float, ask: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        while self.loop.time() < deadline:
            if await self.loop.spawn(self.workers[0].owner, ask()):
                return
            await asyncio.sleep(0.1)
        self._fail(f"{what}: not served {SERVING_SECONDS:.0f} s after the last fault")

    async def _is_balanced(self) -> bool:
        try:
            report = await self.workers[0].client.audit(timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return False
        return report.balanced

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
        broken = [
            *self.invariants.kept_rounds(),
            *records.broken,
            *histories.check_outcomes(records),
            *histories.check_refusals(records),
            *histories.check_allowances(records),
            *events.check_events(records, {group: known.machine for group, known in self.invariants.groups.items()}),
            *histories.check_reversals(records),
            *amounts.check_balancing(records),
            *amounts.check_holds(records),
        ]
        for name in records.accounts:
            group = group_of(name, self.cluster.shape.shards)
            known = self.invariants.groups[group]
            account, listed = await self.loop.spawn(self.workers[0].owner, self._account(name))
            broken += histories.check_account(name, account.posted, listed, records)
            broken += amounts.check_held(name, account.held, records)
            if name in records.split:
                broken += histories.check_sums_of_shares(name, records)
            else:
                broken += histories.check_reads(name, records, known.points.get(name, []), known.effects)
        for one in [*broken, *self._check_histories()]:
            self._fail(one)

    def _check_histories(self) -> list[str]:
        """Those checkers that need nothing but what the clients saw.

        A cut does not order changes of two shards that were made outside of rounds, so lists are in real time one by one.
        """
        records = self.records
        broken = cuts.check_snapshots(records.snapshots, records.accounts) + cuts.check_cuts(records.snapshots)
        for name, operations in records.registers.items():
            broken += linearizability.check_register(name, 0, operations)
            broken += linearizability.check_versions(name, records.versions.get(name, ()))
        broken += fencing.check_grants(records.grants) + fencing.check_guarded(records.guarded)
        broken += fencing.check_refused([one for one, _ in records.lapsed.values()], records.grants)
        return broken + list_append.check_lists(records.lists, is_real_time=False)

    async def _account(self, name: str) -> tuple[Account, list[int]]:
        client = self.workers[0].client
        account = await client.account(name)
        return account, [entry.id async for entry in client.history(name, page=100)]


class _Secrets:
    """In place of the module `secrets`."""

    def __init__(self, seed: int) -> None:
        self.token_bytes = Random(f"secrets of {seed}").randbytes


def simulate(seed: int, plan: Plan | None = None) -> Result:
    """Runs one seed."""
    gc.collect()
    gc.freeze()  # what was imported lives as long as the process; looking through it again is a tenth of a run
    gc.set_threshold(GARBAGE_OBJECTS)
    snapshots._snapshot_ids = itertools.count(1)  # type: ignore[misc]  # a process begins with 1
    vars(locks)["secrets"] = _Secrets(seed)  # claims are told apart by chance, here by the seed's
    simulation = Simulation(seed, plan or Plan())
    with small_limits(simulation.cluster.shape):
        return simulation.run()
