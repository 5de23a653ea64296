"""What `bench` sends: which accounts, how much, under which ids. Pure; numpy picks, text is looked up."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.ids import IdGenerator
from protocol.placement import group_of
from protocol.status import TRANSFERS_MAX

Rows = NDArray[np.int64]

AMOUNT_MAX = 10_000  # minor units of one transfer
PREPARED_MAX = 1_000_000  # transfers of all clients made beforehand: 50 MB; then they are sent again under new ids
ZIPF_EXPONENT = 0.99  # YCSB's
DISTRIBUTIONS = ("uniform", "zipfian", "latest")
ID_ORDERS = ("tbid", "sequential", "random", "reversed")


@dataclass(frozen=True, slots=True)
class Workload:
    """The shape of the load; the same for every client."""

    account_count: int
    hot_count: int
    hot_percent: int  # of transfers that debit a hot account, where there are any
    distribution: str
    cross_shard_percent: int | None  # of transfers between two shards; None leaves it to chance
    shards: int
    id_order: str
    seed: int
    hot_credit: bool = False  # every transfer credits the first account

    def names(self) -> list[str]:
        """All account ids."""
        return [f"accounts:{number:08}" for number in range(self.account_count)]


@dataclass(frozen=True, slots=True)
class Batch:
    """One request without its ids: account ids, their rows in the model, amounts in minor units."""

    debits: list[str]
    credits: list[str]
    debit: Rows
    credit: Rows
    amount: Rows

    def __len__(self) -> int:
        return len(self.debits)

    def part(self, start: int, end: int) -> Batch:
        """Some of its rows."""
        cut = slice(start, end)
        return Batch(self.debits[cut], self.credits[cut], self.debit[cut], self.credit[cut], self.amount[cut])


def prepare(workload: Workload, client: int, transfers: int, batch_count: int) -> list[Batch]:
    """Requests of `batch_count` transfers that hold so many together, or some more."""
    source = Source(workload, client)
    batches: list[Batch] = []
    drawn = TRANSFERS_MAX // batch_count * batch_count  # at once: a draw costs the same for one row and for thousands
    while len(batches) * batch_count < transfers:
        large = source.next(drawn)
        batches += [large.part(start, start + batch_count) for start in range(0, drawn, batch_count)]
    return batches


def in_turn(batches: Sequence[Batch], transfers: int) -> Iterator[Batch]:
    """So many transfers: all batches in their order, again and again, the last one cut to fit."""
    for batch in itertools.cycle(batches):
        if transfers <= 0:
            return
        yield batch if len(batch) <= transfers else batch.part(0, transfers)
        transfers -= len(batch)


class Source:
    """One client's endless stream of batches, the same for the same seed and client."""

    def __init__(self, workload: Workload, client: int) -> None:
        self._workload = workload
        self._random = np.random.default_rng([workload.seed, client])
        self._pairs = _Pairs(workload) if workload.cross_shard_percent is not None else None
        self._ranks = _zipf_ranks(workload.account_count)
        self._names = np.array(workload.names(), object)

    def next(self, count: int) -> Batch:
        """A batch of `count` transfers between two different accounts each."""
        workload = self._workload
        debit = self._accounts(count)
        if workload.hot_count:
            is_hot = self._random.integers(0, 100, count) < workload.hot_percent
            debit = np.where(is_hot, self._random.integers(0, workload.hot_count, count), debit)
        if self._pairs is not None:
            credit = self._pairs.partners(debit, self._random)
        else:
            credit = self._accounts(count)
            credit = np.where(credit == debit, (credit + 1) % workload.account_count, credit)
        if workload.hot_credit:
            debit, credit = np.maximum(debit, 1), np.zeros_like(credit)
        amount = self._random.integers(1, AMOUNT_MAX, count)
        return Batch(self._names[debit].tolist(), self._names[credit].tolist(), debit, credit, amount)

    def _accounts(self, count: int) -> Rows:
        last = self._workload.account_count - 1
        if self._workload.distribution == "uniform":
            return self._random.integers(0, last + 1, count)
        ranks = np.searchsorted(self._ranks, self._random.random(count)).clip(0, last)
        return last - ranks if self._workload.distribution == "latest" else ranks


class _Pairs:
    """Accounts in the order of their shards: a partner in the same or in another shard is a step along a circle."""

    def __init__(self, workload: Workload) -> None:
        assert workload.cross_shard_percent is not None
        self._percent = workload.cross_shard_percent
        names = workload.names()
        shard = np.fromiter((group_of(name, workload.shards) for name in names), np.int64, len(names))
        self._ordered = np.argsort(shard, kind="stable")
        self._place = np.empty_like(self._ordered)
        self._place[self._ordered] = np.arange(len(shard))
        size = np.bincount(shard, minlength=workload.shards + 1)
        self._size = size[shard]  # of each account's shard
        self._start = (np.cumsum(size) - size)[shard]

    def partners(self, debit: Rows, random: np.random.Generator) -> Rows:
        """Another account for each, in another shard for the wanted part of them."""
        total = len(self._ordered)
        size, start = self._size[debit], self._start[debit]
        crosses = (random.integers(0, 100, len(debit)) < self._percent) & (size < total) | (size < 2)
        draw = random.integers(0, 2**62, len(debit))
        outside = (start + size + draw % np.maximum(total - size, 1)) % total
        inside = start + (self._place[debit] - start + 1 + draw % np.maximum(size - 1, 1)) % size
        return self._ordered[np.where(crosses, outside, inside)]


class Ids:
    """One client's transfer ids in the wanted order, different from those of other clients and of earlier runs."""

    def __init__(self, order: str, client: int, seed: int) -> None:
        now_ns = time.time_ns()
        self._order = order
        self._upper = np.uint64((now_ns // 1_000_000 << 16 | client) & (2**63 - 1))
        self._random = np.random.default_rng([seed, client, now_ns])
        self._taken = 0
        self._generator = IdGenerator(lambda: time.time_ns() // 1_000_000, self._bits)
        self._ready = memoryview(b"")

    def take(self, count: int) -> bytes:
        """New ids, packed; up to `TRANSFERS_MAX`."""
        if len(self._ready) < 16 * count:
            self._ready = memoryview(self._make(TRANSFERS_MAX))
        taken, self._ready = self._ready[: 16 * count], self._ready[16 * count :]
        return bytes(taken)

    def _make(self, count: int) -> bytes:
        if self._order == "tbid":
            return self._generator.take(count)
        if self._order == "random":
            return self._random.bytes(16 * count)
        pairs = np.empty((count, 2), ">u8")
        number = np.arange(self._taken + 1, self._taken + 1 + count)
        self._taken += count
        pairs[:, 0] = self._upper
        pairs[:, 1] = number if self._order == "sequential" else 2**62 - number
        return pairs.tobytes()

    def _bits(self, count: int) -> int:
        return int.from_bytes(self._random.bytes(16), "big") >> (128 - count)


def _zipf_ranks(count: int) -> NDArray[np.float64]:
    weights = 1.0 / np.arange(1, count + 1) ** ZIPF_EXPONENT
    ranks: NDArray[np.float64] = np.cumsum(weights / weights.sum())
    return ranks


class Model:
    """What the accepted transfers must have done to each account, in minor units."""

    def __init__(self, posted: Sequence[int], held: Sequence[int], is_pending: bool) -> None:
        self.posted = np.array(posted, np.int64)
        self.held = np.array(held, np.int64)
        self.debits = 0
        self._is_pending = is_pending

    def add(self, batch: Batch, accepted: NDArray[np.bool_] | None = None) -> None:
        """Takes in the accepted rows; None: all."""
        debit, credit, amount = batch.debit, batch.credit, batch.amount
        if accepted is not None:
            debit, credit, amount = debit[accepted], credit[accepted], amount[accepted]
        if self._is_pending:
            np.add.at(self.held, debit, amount)
        else:
            np.subtract.at(self.posted, debit, amount)
            np.add.at(self.posted, credit, amount)
            self.debits += int(amount.sum())
