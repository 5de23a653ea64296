"""What goes wrong in a run: one fault after another at random times, then an end to all of them.

Damage to disks keeps within what the protocol promises to survive: never more than a minority of a group's replicas at
once, but that all may lose the end of their logs while one has everything. Processes may die at any time and all together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from node.actors.replica import Replica
from tests.simulation.cluster import FIRST_CLIENT_HOST, Cluster, Host
from tests.simulation.network import Weather
from tests.simulation.swarm import draw

PAUSE_BETWEEN_SECONDS = 0.9  # mean, between two faults
CALM_SECONDS = 3.0  # between two spells of faults: long enough for the promises on time to be checked
DOWN_SECONDS = 3.0  # mean, until a dead process is started again
SHORT_DOWN_SECONDS = 0.1
ELECTION_SECONDS = 2.0  # in which the others begin to elect somebody
IMPORTS_SECONDS = 4.0  # in which snapshots may come
LOOK_SECONDS = 0.0005  # between two looks at votes or snapshots: less than a write takes
FUSE_STEPS = 60  # a process dies within so many of its callbacks


class Faults:
    """The bringer of faults; `counts` says what it did. `at`: what they aim at, one of AIMS; None: the seed draws the kinds."""

    def __init__(self, cluster: Cluster, random: Random, clients: int, *, at: str | None = None) -> None:
        self.cluster = cluster
        self.counts: Counter[str] = Counter()
        self.is_calm = True  # no fault is active and none is planned
        self._spell = 0
        self._random = random
        self._clients = clients
        self._at_coordinator = at == "coordinator"
        self._weights = draw(random, at)

    async def run(self, seconds: float) -> None:
        """Brings faults for so long, in two spells with a calm between them, then ends them all."""
        await self._bring(seconds / 2)
        await asyncio.sleep(CALM_SECONDS)
        await self._bring(seconds / 2)

    async def _bring(self, seconds: float) -> None:
        self.is_calm = False
        loop = self.cluster.loop
        end = loop.time() + seconds
        kinds = [getattr(self, f"_{kind}") for kind in self._weights]
        while loop.time() < end:
            await asyncio.sleep(self._random.expovariate(1 / PAUSE_BETWEEN_SECONDS))
            (fault,) = self._random.choices(kinds, [*self._weights.values()])
            fault()
        self.heal()

    def heal(self) -> None:
        """Everything works again, and every node runs."""
        self.is_calm = True
        self._spell += 1
        network = self.cluster.network
        network.weather = Weather()
        network.heal()
        self.cluster.clocks.heal()
        for host in self.cluster.hosts.values():
            host.drive.slowness, host.drive.late_seconds = 1.0, 0.0
            if host.owner is not None:
                host.owner.fuse = None
            self.cluster.resume(host.number)
            if host.drive.disk.is_failing:
                self.cluster.crash(host.number)
            self.cluster.start(host.number)

    # -- helpers --------------------------------------------------------------------------------------------------

    def _count(self, name: str) -> None:
        self.counts[name] += 1

    def _up(self) -> list[Host]:
        return [host for host in self.cluster.hosts.values() if host.is_up]

    def _any(self) -> Host | None:
        hosts = self._up()
        return self._random.choice(hosts) if hosts else None

    def _after(self, seconds: float, work: Callable[[], None]) -> None:
        spell = self._spell

        def do() -> None:
            if self._spell == spell:
                work()

        self.cluster.loop.call_later(seconds, do)

    def _kill(self, host: Host) -> None:
        self.cluster.crash(host.number, silently=self._random.random() < 0.25)
        self._start_later(host)

    def _start_later(self, host: Host) -> None:
        mean = self._random.choice((SHORT_DOWN_SECONDS, DOWN_SECONDS))
        self._after(self._random.expovariate(1 / mean), lambda: self.cluster.start(host.number))

    # -- processes ------------------------------------------------------------------------------------------------

    def _crash(self) -> None:
        if (host := self._any()) is not None:
            self._count("crash")
            self._kill(host)

    def _leader(self) -> Host | None:
        is_first = self._at_coordinator or self._random.random() < 0.5
        group = 0 if is_first else self._random.randint(0, self.cluster.shape.shards)
        number = self.cluster.leader_of(group)
        return None if number is None else self.cluster.hosts[number]

    def _crash_leader(self) -> None:
        if (host := self._leader()) is not None:
            self._count("crash of a leader")
            self._kill(host)

    def _crash_soon(self) -> None:
        """Between two steps of the process, wherever that is."""
        host = self._leader() if self._random.random() < 0.5 else self._any()
        if host is not None and host.owner is not None:
            self._count("crash within a step")
            host.owner.fuse = self._random.randint(1, FUSE_STEPS)
            owner = host.owner

            def blown() -> None:
                if host.owner is owner:
                    self._kill(host)

            owner.blown = blown

    def _crash_all(self) -> None:
        """All at once, and up again all at once or one by one."""
        self._count("power loss")
        together = self._random.random() < 0.5
        for host in self._up():
            if together:
                self.cluster.crash(host.number, silently=True)
            else:
                self._kill(host)
        if together:
            self._after(self._random.expovariate(1 / SHORT_DOWN_SECONDS), self._start_all)

    def _start_all(self) -> None:
        for number in self.cluster.hosts:
            self.cluster.start(number)

    def _crash_some(self) -> None:
        self._count("crash of several")
        for host in self._up():
            if self._random.random() < 0.5:
                self._kill(host)

    def _crash_election(self) -> None:
        """A leader dies, and the others with the first vote for its successor: who hears of that term again, and from whom, is open."""
        group = self._random.randint(0, self.cluster.shape.shards)
        if (leader := self.cluster.leader_of(group)) is not None:
            self._count("crash of an election")
            self._kill(self.cluster.hosts[leader])
            self._crash_voters(group, self._votes(group), self.cluster.loop.time() + ELECTION_SECONDS)

    def _votes(self, group: int) -> list[tuple[int, int]]:
        """What is on the disks of its replicas: term and vote."""
        disks = [self.cluster.hosts[node].drive.disk for node in self.cluster.placement.replicas[group]]
        hard_states = [disk.groups[group].hard_state for disk in disks if group in disk.groups]
        return [(hard_state.term, int(hard_state.vote)) for hard_state in hard_states]

    def _crash_voters(self, group: int, before: list[tuple[int, int]], deadline: float) -> None:
        votes = self._votes(group)
        if any(votes.count(vote) > 1 and vote[1] and vote not in before for vote in votes):
            for node in self.cluster.placement.replicas[group]:
                self._kill(self.cluster.hosts[node])
        elif self.cluster.loop.time() < deadline:
            self._after(LOOK_SECONDS, lambda: self._crash_voters(group, before, deadline))

    def _stop(self) -> None:
        if (host := self._any()) is not None:
            self._count("graceful stop")
            self.cluster.stop(host.number)
            mean = self._random.expovariate(1 / DOWN_SECONDS)
            for again in range(1, 8):  # a stop takes as long as it takes; starting a running node does nothing
                self._after(again + mean, lambda: self.cluster.start(host.number))

    def _pause(self) -> None:
        host = self._leader() if self._at_coordinator or self._random.random() < 0.5 else self._any()
        if host is not None:
            self._count("pause")
            self.cluster.pause(host.number)
            self._after(self._random.choice((0.3, 2.0, 6.0)), lambda: self.cluster.resume(host.number))

    def _silence_shard(self) -> None:
        """A shard's leader stands still for longer than votes are waited for, while the coordinator goes on."""
        if (found := self._shard_beside()) is not None:
            self._count("silent shard")
            self.cluster.pause(found[1])
            self._after(self._random.uniform(2.5, 6.0), lambda: self.cluster.resume(found[1]))

    def _shard_beside(self) -> tuple[int, int] | None:
        """A shard that another node than the coordinator leads, and that node."""
        coordinator = self.cluster.leader_of(0)
        leaders = [(group, self.cluster.leader_of(group)) for group in range(1, self.cluster.shape.shards + 1)]
        found = [(group, number) for group, number in leaders if number is not None and number != coordinator]
        return self._random.choice(found) if found else None

    # -- network --------------------------------------------------------------------------------------------------

    def _heal_later(self) -> None:
        self._after(self._random.expovariate(1 / 3.0), self.cluster.network.heal)

    def _cut(self, some: list[int], *, both_ways: bool) -> None:
        network = self.cluster.network
        clients = range(FIRST_CLIENT_HOST, FIRST_CLIENT_HOST + self._clients)
        others = [number for number in self.cluster.hosts if number not in some]
        sides = [client for client in clients if self._random.random() < 0.3]
        for one in some:
            for other in [*others, *sides]:
                network.block(one, other)
                if both_ways:
                    network.block(other, one)
        self._heal_later()

    def _partition(self) -> None:
        self._count("partition")
        numbers = list(self.cluster.hosts)
        self._cut(self._random.sample(numbers, self._random.randint(1, len(numbers) - 1)), both_ways=True)

    def _partition_one_way(self) -> None:
        self._count("one-way partition")
        self._cut([self._random.choice(list(self.cluster.hosts))], both_ways=False)

    def _cut_link(self) -> None:
        """Between two nodes alone, often the coordinator and another leader; one way or both."""
        self._count("link cut")
        wanted = [self._leader(), self._leader()] if self._random.random() < 0.6 else []
        pair = list(dict.fromkeys(host.number for host in wanted if host is not None))
        others = [number for number in self.cluster.hosts if number not in pair]
        one, other = [*pair, *self._random.sample(others, 2 - len(pair))]
        self.cluster.network.block(one, other)
        if self._random.random() < 0.5:
            self.cluster.network.block(other, one)
        self._heal_later()

    def _isolate_leader(self) -> None:
        if (host := self._leader()) is not None:
            self._count("leader cut off")
            self._cut([host.number], both_ways=self._random.random() < 0.5)

    def _reset(self) -> None:
        network = self.cluster.network
        if network.wires:
            self._count("connection reset")
            network.reset(self._random.choice(list(network.wires)))

    def _storm(self) -> None:
        """Messages of the log are lost, doubled and overtaken."""
        self._count("lossy network")
        random = self._random
        self.cluster.network.weather = Weather(
            random.choice((0.0005, 0.005, 0.05)), random.choice((0, 0.05, 0.3)), random.choice((0, 0.05, 0.3)),
            random.choice((0, 0.05, 0.3)), random.choice((0.05, 1.0, 5.0)),
        )  # fmt: skip
        self._after(random.expovariate(1 / 4.0), self._calm)

    def _delay_calls(self) -> None:
        """To one shard, mostly for longer than votes are waited for; its leader is heard all the time, so none replaces it."""
        if (found := self._shard_beside()) is not None:
            self._count("tardy shard")
            self.cluster.network.weather = Weather(tardy_group=found[0])
            self._after(self._random.uniform(0.5, 2.0), self._calm)

    def _slow_network(self) -> None:
        self._count("slow network")
        self.cluster.network.weather = Weather(latency_seconds=self._random.choice((0.01, 0.1)))
        self._after(self._random.expovariate(1 / 3.0), self._calm)

    def _calm(self) -> None:
        self.cluster.network.weather = Weather()

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def _checkpoint_late(self) -> None:
        """For a while a checkpoint begins wherever a snapshot lies ready, as it does where a full log is applied in that turn."""
        self._count("late checkpoints")
        self._begin_checkpoints(self.cluster.loop.time() + IMPORTS_SECONDS)

    def _begin_checkpoints(self, deadline: float) -> None:
        for host in self._up():
            replicas = host.node.replicas.values() if host.node is not None else ()
            for replica in filter(_may_checkpoint, replicas):
                assert host.owner is not None
                self.cluster.loop.run_as(host.owner, replica.checkpoint)
        if self.cluster.loop.time() < deadline:
            self._after(LOOK_SECONDS, lambda: self._begin_checkpoints(deadline))

    # -- disks and clocks -----------------------------------------------------------------------------------------

    def _slow_disk(self) -> None:
        self._count("slow disk")
        self._slow([self._random.choice(list(self.cluster.hosts.values()))])

    def _slow_disks(self) -> None:
        self._count("slow disks")
        self._slow(list(self.cluster.hosts.values()))

    def _slow(self, hosts: list[Host]) -> None:
        slowness = self._random.choice((10, 100, 500))
        for host in hosts:
            host.drive.slowness = slowness

        def mend() -> None:
            for host in hosts:
                host.drive.slowness = 1.0

        self._after(self._random.expovariate(1 / 3.0), mend)

    def _late_memory(self) -> None:
        """What nodes remember of each other is told late, while their logs are as quick as ever."""
        self._count("late recollections")
        drives = [host.drive for host in self.cluster.hosts.values()]
        for drive in drives:
            drive.late_seconds = self._random.choice((0.0, 0.1, 1.0))

        def mend() -> None:
            for drive in drives:
                drive.late_seconds = 0.0

        self._after(self._random.expovariate(1 / 6.0), mend)

    def _fail_disk(self) -> None:
        """Writes fail, so the node stops itself; it is started again on a disk that works."""
        if (host := self._any()) is not None:
            self._count("failing disk")
            host.drive.disk.is_failing = True
            for again in range(1, 8):
                self._after(again, lambda: None if host.is_up else self.cluster.start(host.number))

    def _jump(self) -> None:
        self._count("clock jump")
        self.cluster.clocks.jump()

    def _drift(self) -> None:
        self._count("clock drift")
        self.cluster.clocks.drift()

    def _lose_tail(self) -> None:
        self._damage("lost tail", lambda host, group: host.drive.lose_tail(group))

    def _lose_tails(self) -> None:
        """All replicas of a group but one that has everything lose the end of their logs: it must be able to lead them."""
        group = self._random.randint(0, self.cluster.shape.shards)
        hosts = [self.cluster.hosts[node] for node in self.cluster.placement.replicas[group]]
        if self.cluster.is_replacing or not all(self._is_intact(host, group) for host in hosts):
            return
        promised = max(host.drive.promised_end(group) for host in hosts)
        whole = [host for host in hosts if host.drive.end(group) >= promised]
        if not whole:
            return
        self._count("lost tails of all but one")
        spared = self._random.choice(whole)
        for host in hosts:
            self.cluster.crash(host.number)
            if host is not spared:
                host.drive.lose_tail(group)
            self._start_later(host)

    def _is_intact(self, host: Host, group: int) -> bool:
        return group not in host.drive.damaged and not host.drive.are_promises_bare and not host.is_doubtful

    def _flip_bit(self) -> None:
        self._damage("flipped bit", lambda host, group: host.drive.flip_bit(group))

    def _tear(self) -> None:
        self._damage("torn write", lambda host, group: host.drive.tear(group))

    def _lose_write_ahead_log(self) -> None:
        self._lose_file("lost write-ahead log", lambda host: host.drive.lose_write_ahead_log())

    def _lose_log(self) -> None:
        self._lose_file("lost log", lambda host: host.drive.lose_log())

    def _lose_file(self, name: str, lose: Callable[[Host], list[int]]) -> None:
        host = self._random.choice(list(self.cluster.hosts.values()))
        if self._may_replace(host):
            self.cluster.crash(host.number)
            if lose(host):
                self._count(name)
            self._start_later(host)

    def _copy(self) -> None:
        self._random.choice(list(self.cluster.hosts.values())).drive.copy()

    def _put_back(self) -> None:
        """An older copy of a folder, or of a whole machine; of that only where the others know a later start of it."""
        copied = [host for host in self.cluster.hosts.values() if host.drive.saved is not None]
        if not copied:
            return
        host, as_files = self._random.choice(copied), self._random.random() < 0.5
        if self._may_replace(host) and (as_files or self._is_known_later(host)):
            self._count("copy put back" if as_files else "machine put back")
            self.cluster.crash(host.number)
            host.drive.put_back(as_files=as_files)
            self._start_later(host)

    def _is_known_later(self, host: Host) -> bool:
        drive, others = host.drive, [other for other in self.cluster.hosts.values() if other is not host]
        last = drive.disk.starts[-1]
        row = [0, host.number, drive.folder.data_id, last]  # as `recollection.to_store` makes it
        is_known = all(row in other.drive.disk.remembered for other in others)
        return drive.saved is not None and last not in drive.saved[3] and is_known

    def _lose_everything(self) -> None:
        host = self._random.choice(list(self.cluster.hosts.values()))
        if host.drive.disk.recorded and self._may_replace(host):
            self._count("lost log and promises")
            self.cluster.crash(host.number)
            host.drive.lose_everything()
            self._start_later(host)

    def _may_replace(self, host: Host) -> bool:
        return all(self._may_damage(host, group) for group in host.drive.disk.groups)

    def _lose_promises(self) -> None:
        host = self._random.choice(list(self.cluster.hosts.values()))
        if not host.drive.damaged:
            self._count("lost promises")
            self.cluster.crash(host.number)
            host.drive.lose_promises()
            self._start_later(host)

    def _tear_promises(self) -> None:
        host = self._random.choice(list(self.cluster.hosts.values()))
        if not host.drive.damaged:
            self._count("torn promises")
            self.cluster.crash(host.number)
            for group in host.drive.disk.promises:
                host.drive.tear_promise(group)
            self._start_later(host)

    def _damage(self, name: str, harm: Callable[[Host, int], bool]) -> None:
        host = self._random.choice(list(self.cluster.hosts.values()))
        groups = [group for group in host.drive.disk.groups if self._may_damage(host, group)]
        if not groups:
            return
        self.cluster.crash(host.number)
        for group in self._random.sample(groups, self._random.randint(1, len(groups))):
            if harm(host, group):
                self._count(name)
        self._start_later(host)
        if self._random.random() < 0.5:  # once more, while it recovers
            self._after(self._random.uniform(0.2, 5.0), lambda: self._kill(host))

    def _may_damage(self, host: Host, group: int) -> bool:
        """Whether a minority at most would be damaged, this replica included."""
        replicas = self.cluster.placement.replicas[group]
        others = [self.cluster.hosts[node] for node in replicas if node != host.number]
        damaged = [other for other in others if group in other.drive.damaged or other.is_doubtful]
        is_mended = not host.drive.are_promises_bare  # log and promises at once are more than a node survives by itself
        return is_mended and host.number in replicas and 2 * (len(damaged) + 1) < len(replicas)


def _may_checkpoint(replica: Replica) -> bool:
    """Whether a snapshot lies ready, and a checkpoint may begin all the same."""
    is_ready = replica.incoming._complete is not None and replica._installing is None and replica.machine.applied > 0
    is_free = not (replica._is_checkpointing or replica._exports)
    return is_ready and is_free and replica.raft.snapshot_meta(replica.machine.applied) is not None
