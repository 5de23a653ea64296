"""What the client hands out: receipts, accounts, history, audits, the state of the cluster."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from protocol.columns import Flag, kind_of
from protocol.ids import unpack as unpack_id
from protocol.metadata import Metadata
from protocol.metadata import unpack as unpack_metadata
from protocol.placement import Placement
from protocol.rows import AccountRow, TransferRow
from protocol.status import AccountState, Status

SECOND_NS = 1_000_000_000
ACCOUNT_STATES = tuple(state.name for state in AccountState)


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted transfer or hold."""

    id: int
    status: Status  # `created`, or `exists` when it had been accepted before
    amount: int | None = None  # that was moved or set aside; None of a void, and where the books could not say in time


@dataclass(frozen=True, slots=True)
class TransactionReceipt:
    """Accepted legs, all of them."""

    status: Status  # `created`, or `exists` when they had been accepted before
    legs: tuple[Receipt, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """Of the legs, in their order."""
        return tuple(leg.id for leg in self.legs)


@dataclass(frozen=True, slots=True)
class Account:
    """An account as of the read. Amounts in minor units."""

    id: str
    currency: str
    posted: int  # credits minus debits
    held: int
    incoming: int  # credits of rounds that are not decided
    minimum_balance: int | None
    maximum_balance: int | None
    status: str  # open, frozen or closed
    owner: str
    metadata: bytes
    version: int  # of a split account the sum of its shares' versions
    split: bool = False
    last_update: int = 0  # id of the update that came last, refused ones too; 0 for none

    @staticmethod
    def of(told: AccountRow) -> Account:
        """As a node tells it."""
        return Account(
            told.id, told.currency, told.posted, told.held, told.incoming, told.minimum, told.maximum,
            ACCOUNT_STATES[told.state], told.owner, told.metadata, told.version, told.is_split,
            int.from_bytes(told.last_update, "big"),
        )  # fmt: skip

    @property
    def available(self) -> int | None:
        """What can be spent now; None without a lower limit."""
        return None if self.minimum_balance is None else self.posted - self.held - self.minimum_balance


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much an account may pay out a day. Amounts in minor units of its currency."""

    account: str
    amount: int
    paid: int  # out of it today, holds included
    zone: str  # whose midnight ends the day
    ends_ns: int  # that midnight, since 1970

    @property
    def available(self) -> int:
        """What may still be paid out today."""
        return max(0, self.amount - self.paid)


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer, hold, capture or void that has happened: what `find` tells, and an account's history row by row."""

    id: int
    debit: str
    credit: str
    amount: int  # minor units; of a void what it gave back
    code: int
    flags: Flag
    reference: str
    timestamp_ns: int
    metadata: Metadata = field(default_factory=dict, hash=False)
    reverses: int | None = None  # the transfer that this one gives back, wholly or in part
    hold: int | None = None  # that a capture takes from, or a void ends
    rest: int | None = (
        None  # of a hold, what captures may still take: 0 once it has ended. Only `find` tells it, as what follows
    )
    expires_ns: int | None = None  # of a hold: not before then; later where its shard had no leader for a while

    @property
    def kind(self) -> str:
        """transfer, hold, capture or void, as events name it."""
        return kind_of(self.flags)

    @staticmethod
    def found(row: TransferRow) -> Entry:
        """As `of`, from an answer that tells how a hold stands."""
        entry = Entry.of(row)
        if entry.kind != "hold":
            return entry
        expires_ns = row.timestamp_ns + row.ttl * SECOND_NS if row.ttl else None
        return replace(entry, rest=row.rest or 0, expires_ns=expires_ns)

    @staticmethod
    def of(row: TransferRow) -> Entry:
        """Of a row that happened, whose accounts are known."""
        assert row.debit is not None and row.credit is not None
        return Entry(
            unpack_id(row.id),
            row.debit,
            row.credit,
            row.amount,
            row.code,
            Flag(row.flags),
            row.reference,
            row.timestamp_ns,
            unpack_metadata(row.metadata),
            unpack_id(row.named) if row.named and row.flags & Flag.reversal else None,
            unpack_id(row.named) if row.named and row.flags & (Flag.capture | Flag.void) else None,
        )


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """One currency in an audit."""

    currency: str
    debits: int  # ever posted
    credits: int
    held: int
    in_flight: int
    posted: int  # sum over all accounts
    balanced: bool

    @staticmethod
    def of(currency: str, posted: int, held: int, incoming: int, debits: int, credits: int) -> CurrencyTotals:
        """In the order of a node's sums."""
        is_balanced = posted == 0 and debits == credits
        return CurrencyTotals(currency, debits, credits, held, incoming, posted, is_balanced)


@dataclass(frozen=True, slots=True)
class ShardDigest:
    """One shard in an audit, 0 for the coordinator's group: each replica's digest at the cut, None for a node that did not answer."""

    shard: int
    index: int
    digests: dict[int, int | None]
    recovering: tuple[int, ...] = ()  # nodes whose replica is getting back what its disk has lost

    @staticmethod
    def unpack(row: list[Any]) -> ShardDigest:
        """Of a node's answer: `[group, index, open rounds, [[node, digest, is recovering], ...]]`."""
        shard, index, _, told = row
        digests = {node: digest for node, digest, _ in told}
        return ShardDigest(shard, index, digests, tuple(node for node, _, is_recovering in told if is_recovering))

    @property
    def silent(self) -> tuple[int, ...]:
        """Nodes whose replica did not answer."""
        return tuple(node for node, digest in self.digests.items() if digest is None)

    @property
    def differs(self) -> bool:
        """Whether two replicas answered differently."""
        return len(dict.fromkeys(digest for digest in self.digests.values() if digest is not None)) > 1

    @property
    def agrees(self) -> bool:
        """Whether a majority of the replicas answered, and all of those alike; `silent` names the rest."""
        return len(self.silent) * 2 < len(self.digests) and not self.differs


@dataclass(frozen=True, slots=True)
class Report:
    """An audit at one consistent cut."""

    currencies: dict[str, CurrencyTotals]
    shards: tuple[ShardDigest, ...]

    @property
    def balanced(self) -> bool:
        """Whether every currency balances, and in each shard a majority of the replicas answered, all alike."""
        return all(row.balanced for row in self.currencies.values()) and all(shard.agrees for shard in self.shards)

    @staticmethod
    def unpack(answer: list[Any]) -> Report:
        """Reads the answer to `audit`."""
        totals, groups = answer
        currencies = {code: CurrencyTotals.of(code, *map(int, numbers)) for code, *numbers in totals}
        return Report(currencies, tuple(ShardDigest.unpack(row) for row in groups))


@dataclass(frozen=True, slots=True)
class NodeClock:
    """A node's wall clock, as another node sees it."""

    node: int
    ahead_seconds: float  # of the time that a majority of the nodes agrees on; of that other node's where none does
    error_seconds: float  # at most so much of it is the network's
    is_far_off: bool  # a majority says that it is wrong: the node lets others lead

    @staticmethod
    def unpack(rows: list[Any]) -> tuple[NodeClock, ...]:
        """Reads the clocks of the answer to `cluster`."""
        return tuple(NodeClock(node, ahead / 1e9, error / 1e9, far_off) for node, ahead, error, far_off in rows)


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A node's replica of one group, as the node itself sees it."""

    group: int
    role: str
    term: int
    leader: int  # of that term; 0 unknown
    commit: int
    applied: int
    last_index: int
    waiting: int  # requests that are in no entry yet
    is_recovering: bool  # it gets back what its disk lost


@dataclass(frozen=True, slots=True)
class NodeState:
    """What one node says of itself and of the cluster."""

    placement: Placement
    node: int
    groups: tuple[ReplicaState, ...]
    rounds: int  # commit rounds that it has run
    shed: int  # requests that it has refused as `busy` since it started, because it was full or slow
    clocks: tuple[NodeClock, ...]  # of the nodes that have been compared

    @staticmethod
    def unpack(answer: list[Any]) -> NodeState:
        """Reads the answer to `cluster`."""
        placement, _, node, _, groups, (_, _, _, rounds), (_, _, shed, _), clocks, *_ = answer
        replicas = tuple(ReplicaState(*row) for row in groups)
        return NodeState(Placement.unpack(placement), node, replicas, rounds, shed, NodeClock.unpack(clocks))


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster as its nodes see it together."""

    placement: Placement
    leaders: tuple[int, ...]  # node of each group's leader, group 0 (the coordinator) first; 0 unknown
    node: int  # who answered first; what follows `clocks` is its own
    up: tuple[int, ...]  # nodes that have answered
    recovering: dict[int, tuple[int, ...]]  # by node: the groups whose replica there gets back what its disk lost
    clocks: tuple[
        NodeClock, ...
    ]  # of those that have been compared, as a node sees them that knows one to be far off, if any does
    groups: tuple[ReplicaState, ...]  # its replicas
    rounds: int  # commit rounds that this node has run
    shed: int  # requests that this node has refused as `busy` since it started, because it was full or slow

    @property
    def coordinator(self) -> int:
        """The node that runs commit rounds, 0 while there is none."""
        return self.leaders[0]

    @property
    def silent(self) -> tuple[int, ...]:
        """The nodes that do not answer."""
        return tuple(node.id for node in self.placement.nodes if node.id not in self.up)

    @property
    def leaderless(self) -> tuple[int, ...]:
        """The groups without a leader that answers; 0 is the coordinator's."""
        return tuple(group for group, leader in enumerate(self.leaders) if leader not in self.up)


@dataclass(frozen=True, slots=True)
class Participant:
    """A shard in a trace. None: not yet, or not known any more. Times are its leader's clock, in ns since 1970."""

    shard: int
    node: int  # that leads the shard now; 0 where nobody does
    vote: Status | None  # `created` is yes; else what it objected with
    prepared_ns: int | None
    precommitted_ns: int | None  # 3pc only
    carried_out_ns: int | None  # when it carried the decision out: with its next round, or a moment after the decision

    def pack(self) -> list[Any]:
        """As a node tells it."""
        times = self.prepared_ns, self.precommitted_ns, self.carried_out_ns
        return [self.shard, self.node, _number(self.vote), *times]


@dataclass(frozen=True, slots=True)
class Trace:
    """What became of a transfer, phase by phase. None: not yet, or not known any more; shards remember rounds only for a while."""

    id: int
    status: Status  # as far as it is known: the recorded one, else the decision, else `undecided`
    timestamp_ns: int | None  # when the debit's shard recorded it
    protocol: str | None  # what decided it: "2pc", "3pc", or "one shard", which has no round
    round_id: int | None
    epoch: int | None  # of the coordinator that began the round
    coordinator: int | None  # its node
    recorded_ns: int | None  # when group 0 recorded the decision: 2pc only, where a vote is missing or a shard late
    decision: Status | None
    participants: tuple[Participant, ...]

    @property
    def decided_ns(self) -> int | None:
        """When the round's decision stood; None while it does not, where that is not known any more, or without a round.

        2pc: the last vote was durable. 3pc: a majority of the participants had precommitted. Or group 0 had recorded it, if that was
        earlier. A refusal that rests on none of these stood when the first shard carried it out, if not before.
        """
        if self.decision is None:
            return None
        stood = _known(self._voted_ns(), self._precommitted_ns(), self.recorded_ns)
        if not stood and self.decision != Status.created:
            stood = _known(*(shard.carried_out_ns for shard in self.participants))
        return min(stood, default=None)

    def _voted_ns(self) -> int | None:
        """When the last vote was durable, where that decides. `retry` is decided when votes stay out, though they may have come."""
        times = _known(*(shard.prepared_ns for shard in self.participants))
        if self.protocol != "2pc" or self.decision == Status.retry or len(times) < len(self.participants):
            return None
        return max(times)

    def _precommitted_ns(self) -> int | None:
        """When a majority of the participants had precommitted."""
        times = sorted(_known(*(shard.precommitted_ns for shard in self.participants)))
        missing = len(self.participants) // 2  # to a majority, when only the first one has
        return times[missing] if len(times) > missing else None

    def pack(self) -> list[Any]:
        """As a node tells it; who has asked knows the id."""
        return [
            int(self.status), self.timestamp_ns, self.protocol, self.round_id, self.epoch, self.coordinator, self.recorded_ns,
            _number(self.decision), [shard.pack() for shard in self.participants],
        ]  # fmt: skip

    @staticmethod
    def unpack(id: int, row: list[Any]) -> Trace:
        """Reads the answer to `trace`."""
        status, timestamp_ns, protocol, round_id, epoch, coordinator, recorded_ns, decision, participants = row
        shards = tuple(Participant(shard, node, _status(vote), *times) for shard, node, vote, *times in participants)
        return Trace(
            id, Status(status), timestamp_ns, protocol, round_id, epoch, coordinator, recorded_ns, _status(decision), shards
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class UndecidedRound:
    """A round between shards that was not decided at the time of the answer."""

    round_id: int
    protocol: str
    participants: tuple[int, ...]  # groups
    prepared: tuple[int, ...]  # those of them that have voted
    age_seconds: float  # since the first of them heard of it
    ids: tuple[int, ...]  # of its transfers that participants have told, 1,000 at most
    transactions: int  # all of it


@dataclass(frozen=True, slots=True)
class Undecided:
    """All rounds between shards that are not decided, the oldest first."""

    rounds: tuple[UndecidedRound, ...]  # 64 at most
    silent: tuple[int, ...]  # groups that did not answer: what is open there alone is missing
    count: int  # of all that were found, listed or not

    @staticmethod
    def unpack(body: list[Any]) -> Undecided:
        """Reads the answer to `undecided`."""
        rows, silent, count, transactions, *_ = body
        rounds = tuple(
            UndecidedRound(number, protocol, tuple(groups), tuple(prepared), age_ms / 1000, _ids(ids), size)
            for (number, protocol, groups, prepared, age_ms, ids), size in zip(rows, transactions, strict=True)
        )
        return Undecided(rounds, tuple(silent), count)


def _number(status: Status | None) -> int | None:
    return None if status is None else int(status)


def _status(number: int | None) -> Status | None:
    return None if number is None else Status(number)


def _known(*times: int | None) -> list[int]:
    return [time for time in times if time is not None]


def _ids(packed: bytes) -> tuple[int, ...]:
    return tuple(unpack_id(packed[place : place + 16]) for place in range(0, len(packed), 16))
