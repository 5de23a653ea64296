"""Seeded bugs of ids and of rounds that are over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node.actors import router
from node.core.allowances.counted import Pending, Reserved
from node.core.commit import Coordinator
from node.core.ledger import ledger, legs
from node.core.ledger.books import Books
from node.core.ledger.exact import Bound, Exact
from node.core.ledger.reversals import Reversals, Reversed
from node.core.ledger.sheet import Cell
from node.core.machine import At, Body, Machine, Over, Prepare, Statuses
from protocol import placement
from protocol.client import batches
from protocol.status import Status


def pay_by_credit(patch: pytest.MonkeyPatch) -> None:
    """A split account pays from the share in the credit's shard, where the id is then recorded."""

    def groups_of_transfers(
        debits: Sequence[str], credits: Sequence[str], shards: int, split: Collection[str], flags: Any = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        debit_groups, credit_groups = placement.groups_of_transfers(debits, credits, shards, split, flags)
        for row, (debit, credit) in enumerate(zip(debits, credits, strict=True)):
            if debit in split and credit not in split:
                debit_groups[row] = credit_groups[row]
        return debit_groups, credit_groups

    patch.setattr(router, "groups_of_transfers", groups_of_transfers)
    patch.setattr(batches, "groups_of_transfers", groups_of_transfers)
    patch.setattr(Exact, "_share_status", lambda self, line: 0)


def take_stale_legs(patch: pytest.MonkeyPatch) -> None:
    """A PREPARE counts although ids may be on record by now that its leader did not find."""
    honest = legs.LegsDocket

    def docket(books: Books, *rest: Any) -> legs.LegsDocket:
        with pytest.MonkeyPatch.context() as within:
            within.setattr(Books, "is_stale", lambda self, through: False)
            return honest(books, *rest)

    patch.setattr(ledger, "LegsDocket", docket)


def forget_finished(patch: pytest.MonkeyPatch) -> None:
    """A shard that has carried a decision out forgets the round at once: a late PREPARE opens it again."""
    honest = Machine._decide

    def decide(self: Machine, round_id: int, decision: bytes, at: At) -> None:
        honest(self, round_id, decision, at)
        self._finished.pop(round_id, None)

    patch.setattr(Machine, "_decide", decide)


def take_late_prepares(patch: pytest.MonkeyPatch) -> None:
    """A round that is over may be prepared again."""
    honest = Machine._prepare

    def prepare(self: Machine, prepare: Prepare, at: At) -> Body:
        over, self._over = self._over, Over()
        try:
            return honest(self, prepare, at)
        finally:
            self._over = over

    patch.setattr(Machine, "_prepare", prepare)


def tell_nothing_over(patch: pytest.MonkeyPatch) -> None:
    """Shards never hear that a round is carried out everywhere, and remember all of them."""
    patch.setattr(Coordinator, "_over", lambda self: Over())


def pledge_nothing(patch: pytest.MonkeyPatch) -> None:
    """What a round takes of an allowance counts only when it is decided."""
    honest = Pending.decide

    def decide(self: Pending, round_id: int, statuses: Statuses) -> None:
        for reserved in self._rounds.get(round_id, []):
            np.add.at(self._columns.reserved, reserved.allowances, reserved.amounts)
        honest(self, round_id, statuses)

    def reserve(self: Pending, round_id: int, reserved: Reserved) -> None:
        np.subtract.at(self._columns.reserved, reserved.allowances, reserved.amounts)
        keep(self, round_id, reserved)

    keep = Pending.reserve
    patch.setattr(Pending, "reserve", reserve)
    patch.setattr(Pending, "decide", decide)


def count_reversals_late(patch: pytest.MonkeyPatch) -> None:
    """What a round gives back of a transfer counts only when it is decided."""
    honest = Reversals.put

    def put(self: Reversals, id: bytes, counter: Reversed) -> Callable[[], None]:
        return honest(self, id, replace(counter, undecided=0))

    patch.setattr(Reversals, "put", put)


def count_failed_reversals(patch: pytest.MonkeyPatch) -> None:
    """What a round that comes to nothing would have given back counts as given."""
    honest = Reversals.settle

    def settle(self: Reversals, id: bytes, amount: int, segment: int, *, happens: bool) -> None:
        honest(self, id, amount, segment, happens=True)

    patch.setattr(Reversals, "settle", settle)


def leave_bounds_to_the_debit(patch: pytest.MonkeyPatch) -> None:
    """The shard of a balancing row's credit account says nothing of what is owed there."""
    honest = Exact._bounds

    def bounds(self: Exact, line: int, debit_cell: Cell | None, credit_cell: Cell | None) -> list[Bound] | Status:
        return [] if debit_cell is None else honest(self, line, debit_cell, credit_cell)

    patch.setattr(Exact, "_bounds", bounds)


def keep_what_is_given_back(patch: pytest.MonkeyPatch) -> None:
    """A round that comes to nothing has used the allowance all the same."""
    honest = Pending.decide
    patch.setattr(Pending, "decide", lambda self, round_id, statuses: honest(self, round_id, np.zeros_like(statuses)))
