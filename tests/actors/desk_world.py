"""Lock desks over a log whose leaders come and go, and clients that lose answers: everything happens in a random order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from node.actors.actor import Failed, Outcome, Reply
from node.actors.locks import LockDesk, LockPorts
from node.core.locks import Locks
from node.core.machine import At, Body, Judged
from protocol.errors import ErrorCode
from protocol.requests import LockWord
from protocol.status import LockStatus, Status
from tests.core.machine.judging import prepare

NODES = 3
NAME = "till"
TTL_MS = 10_000
MILLISECOND_NS = 1_000_000
LOST = 0.05  # of the words, and of the answers


@dataclass(slots=True)
class Time:
    """A clock that the world moves."""

    now_ns: int = 10**15

    def wall_ns(self) -> int:
        """For stamps."""
        return self.now_ns

    def monotonic(self) -> float:
        """For intervals."""
        return self.now_ns / 1e9


@dataclass(slots=True)
class Entry:
    """A committed entry; `proposer` hears the answer if it leads with that term still."""

    at: At
    work: Callable[[Locks], Body]
    proposer: int
    term: int
    reply: Reply


@dataclass(slots=True)
class Host:
    """A node: its replica of the locks, its desk, and what it has proposed and not heard of."""

    number: int
    locks: Locks = field(default_factory=Locks)
    applied: int = 0
    term: int = 0  # with which it believes to lead
    proposed: list[tuple[Body, Reply]] = field(default_factory=list)
    desk: LockDesk = field(init=False)


@dataclass(slots=True, eq=False)
class Customer:
    """Takes the lock, acts under it, gives it back, and begins anew with another claim."""

    number: int
    round: int = 0
    state: str = "asks"  # asks, holds, leaves
    token: int = 0
    age_ns: int = 0  # brought, to be an older owner
    is_elder: bool = False
    grants: int = 0

    @property
    def claim(self) -> bytes:
        """One a round; the owner is called alike."""
        return f"{self.number}.{self.round}".encode().ljust(16, b".")

    @property
    def believes(self) -> bool:
        """Whether it acts as the holder."""
        return self.state == "holds"


class DeskWorld:
    """The whole."""

    def __init__(self, seed: int, customers: int, *, elders: int = 0) -> None:
        self.random = Random(seed)
        self.time = Time()
        self.guarded: dict[str, None] = {}  # locks that the coordinator says it relies on
        self.pool: list[Callable[[], None]] = []
        self.log: list[Entry] = []
        self.hosts = [self._make_host(number) for number in range(NODES)]
        self.customers = [Customer(number, is_elder=number < elders) for number in range(customers)]
        self.leader = 0
        self.term = 0
        self.guards: list[tuple[int, Status]] = []  # tokens and votes in the order of the log
        self.open_rounds: list[int] = []
        self._rounds = 0
        self.is_lossy = True
        self.elect()

    def _make_host(self, number: int) -> Host:
        host = Host(number)

        def call(request: Body, reply: Reply) -> None:
            host.proposed.append((request[2], reply))

        host.desk = LockDesk(
            LockPorts(
                self.time,
                call,
                lambda: host.locks,
                self.guarded.__contains__,
                self.pool.append,
                lambda: None,
                lambda source: True,
                50,
            )
        )
        return host

    # -- the log --------------------------------------------------------------------------------------------------

    def elect(self) -> None:
        """Another leader, or the same in a new term; the old one may go on for a while without knowing it."""
        self.leader = self.random.randrange(NODES)
        self.term += 1
        host = self.hosts[self.leader]
        self.notice(host)
        while host.applied < len(self.log):
            self.apply(host)
        host.term = self.term
        host.desk.lead(self.term)

    def notice(self, host: Host) -> None:
        """It hears that it leads no more."""
        host.term = 0
        proposed, host.proposed = host.proposed, []
        for _, reply in proposed:
            reply(Failed(ErrorCode.not_leader))
        for entry in self.log[host.applied :]:
            if entry.proposer == host.number:
                entry.reply(Failed(ErrorCode.not_leader))
                entry.reply = lambda _: None
        host.desk.lead(0)

    def commit(self) -> None:
        """One proposal of the true leader, if there is any."""
        host = self.hosts[self.leader]
        if host.proposed:
            body, reply = host.proposed.pop(0)
            self._append(lambda at: lambda locks: locks.apply(body, at), reply)

    def _append(self, work: Callable[[At], Callable[[Locks], Body]], reply: Reply) -> None:
        self.time.now_ns += MILLISECOND_NS // 10
        at = At(len(self.log) + 1, self.time.now_ns, self.time.now_ns)
        self.log.append(Entry(at, work(at), self.leader, self.term, reply))

    def apply(self, host: Host) -> None:
        """The next entry, unless it has not heard that others go on without it."""
        if host.applied == len(self.log) or (host.term and host.term != self.term):
            return
        entry = self.log[host.applied]
        host.applied += 1
        answer = entry.work(host.locks)
        if entry.proposer == host.number and entry.term == host.term:
            entry.reply(answer)
        host.desk.applied()

    # -- customers ------------------------------------------------------------------------------------------------

    def act(self, customer: Customer) -> None:
        """Its next word, or the same again."""
        chance = self.random.random()
        match customer.state:
            case "asks" if customer.round and chance < 0.02:
                customer.state, customer.token = "leaves", 0  # it stops waiting
            case "asks":
                self._send(customer, "acquire")
            case "holds" if chance < 0.5:
                self.guard(customer)
            case "holds":
                customer.state = "leaves"
                self._send(customer, "release")
            case _:
                self._send(customer, "release")

    def _send(self, customer: Customer, action: str) -> None:
        claim, round_ = customer.claim, customer.round
        age_ns = 1 + customer.number if customer.is_elder else 0
        word = LockWord(action, NAME, claim, claim, TTL_MS, customer.token if action == "release" else 0, age_ns)
        host = self.hosts[self.leader] if self.random.random() < 0.8 else self.random.choice(self.hosts)

        def deliver() -> None:
            host.desk.request(word, self.time.monotonic() + 10, answer)

        def answer(outcome: Outcome) -> None:
            self._post(lambda: self._hear(customer, round_, action, outcome))

        self._post(deliver)

    def _post(self, work: Callable[[], None]) -> None:
        if not (self.is_lossy and self.random.random() < LOST):
            self.pool.append(work)

    def _hear(self, customer: Customer, round_: int, action: str, outcome: Outcome) -> None:
        if isinstance(outcome, Failed) or customer.round != round_:
            return
        status, token, *_ = outcome
        if action == "acquire" and customer.state == "asks" and status == LockStatus.granted:
            customer.state, customer.token = "holds", token
            customer.grants += 1
        elif action == "release" and customer.state == "leaves":
            customer.state, customer.token = "asks", 0
            customer.round += 1

    def guard(self, customer: Customer) -> None:
        """It acts: a commit round asks for its lock, and is decided some time later."""
        self._rounds += 1
        round_id, token = self._rounds, customer.token
        seen: list[Status] = []

        def preparing(at: At) -> Callable[[Locks], Body]:
            def work(locks: Locks) -> Body:
                guards = Judged((("locks", ["guards", [[0, NAME, token]]]),), None, 0)
                votes, _ = prepare(locks, round_id, guards, 1, at)
                if not seen:
                    seen.append(Status(votes[0]))
                    self.guards.append((token, seen[0]))
                assert votes[0] == seen[0], "replicas agree"
                return []

            return work

        self._append(preparing, lambda _: None)
        self.open_rounds.append(round_id)

    def decide(self) -> None:
        """The oldest open round."""
        if self.open_rounds:
            round_id = self.open_rounds.pop(0)

            def work(locks: Locks, at: At) -> Body:
                locks.decide(round_id, None, at)  # type: ignore[arg-type]  # the locks do not look at it
                return []

            self._append(lambda at: lambda locks: work(locks, at), lambda _: None)

    # -- steps ----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Something happens."""
        self.time.now_ns += MILLISECOND_NS // 20
        chance = self.random.random()
        if chance < 0.4 and self.pool:
            self.pool.pop(self.random.randrange(len(self.pool)))()
        elif chance < 0.6:
            self.commit()
        elif chance < 0.85:
            self.apply(self.random.choice(self.hosts))
        elif chance < 0.9:
            self.decide()
        elif chance < 0.91:
            self.random.choice(self.hosts).desk.tick()
        elif chance < 0.92:
            self.end_ghost()
        else:
            self.act(self.random.choice(self.customers))

    def end_ghost(self) -> None:
        """The lease of a claim that nobody knows any more, made by a late copy of an acquire, is over."""
        queue = self.hosts[self.leader].locks.queues.get(NAME)
        if queue is not None and queue.holder.id not in [customer.claim for customer in self.customers]:
            holder = queue.holder
            body = ["words", [["release", NAME, holder.id, holder.owner, 0, 0, 0, 0]]]
            self._append(lambda at: lambda locks: locks.apply(body, at), lambda _: None)

    def expire(self) -> None:
        """The leader proposes what is due."""
        host = self.hosts[self.leader]
        if (body := host.locks.due(0, self.time.now_ns)) is not None:
            self._append(lambda at: lambda locks: locks.apply(body, at), lambda _: None)
