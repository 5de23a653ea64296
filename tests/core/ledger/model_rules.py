"""Of the model: what a reversal may give back, and what a balancing row moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.columns import Flag
from protocol.status import Status

if TYPE_CHECKING:
    from tests.core.ledger.model import Account, Model, Transfer

BOUND = 2**62  # balances lie from -BOUND to BOUND - 1


def reversal_status(model: Model, row: Transfer) -> int:
    """Whether so much is left of what the row gives back."""
    status, old = model.record.get(row.hold_id, (0, None))
    own = [leg for leg in model.preparing_rows if leg.id == row.hold_id and leg.side & 1 and leg.number != row.number]
    if old is None or not old.side & 1 or model.fresh.get(row.hold_id) == model.chains:
        waits = model.waits(row.hold_id, model.preparing) or any(not model.shape(leg) for leg in own)
        return int(Status.undecided if waits else Status.reversed_transfer_not_found)
    if row.hold_id in model.fresh and not status:
        return Status.undecided
    checks = (
        (status, Status.reversed_transfer_not_found),
        ((old.debit, old.credit) != (row.credit, row.debit), Status.reversed_transfer_has_different_accounts),
        (old.flags & (Flag.hold | Flag.void), Status.hold_cannot_be_reversed),
        (old.flags & Flag.reversal, Status.reversal_cannot_be_reversed),
    )
    if wrong := next((int(status) for is_wrong, status in checks if is_wrong), 0):
        return wrong
    own_amount = model.own_reversed.get(row.hold_id, 0)
    left = old.amount - model.reversed.get(row.hold_id, 0) - own_amount
    if left <= 0:
        return Status.transfer_already_reversed
    if row.amount > left:
        return Status.exceeds_reversible_amount
    open_legs = (leg for legs in model.rounds.values() for leg in legs)
    others = sum(leg.amount for leg, _, is_reserved, _ in open_legs if is_reserved and reverses(leg, row.hold_id))
    return Status.undecided if row.amount > left - others else 0


def balance(model: Model, row: Transfer, debit_account: Account | None, credit_account: Account | None) -> int:
    """Finds what a balancing row moves, as long as no open round may change it; between shards it is what is asked for."""
    bounds: list[tuple[int, int, Status]] = []
    if row.flags & Flag.balancing_debit and debit_account:
        incoming, unsettled, _, returning = model.own.get(row.debit, [0, 0, 0, 0])
        others = debit_account.incoming - incoming + debit_account.unsettled - unsettled
        if row.flags & Flag.capture and row.hold_id not in model.holds:
            return int(Status.undecided)
        if row.flags & Flag.capture:
            hold, captured = model.holds[row.hold_id], model.own_holds.get(row.hold_id, (0, 0))[0]
            bounds.append((hold["rest"], hold["undecided"] - captured, Status.hold_already_captured))
        elif debit_account.minimum > -BOUND:
            there = debit_account.posted - debit_account.held + incoming + returning - debit_account.minimum
            bounds.append(
                (min(there, debit_account.posted - debit_account.held + BOUND), others, Status.insufficient_funds)
            )
        elif not row.amount and not row.flags & Flag.balancing_credit:
            return int(Status.balancing_needs_limit)
    if row.flags & Flag.balancing_credit and credit_account:
        incoming, unsettled, leaving, _ = model.own.get(row.credit, [0, 0, 0, 0])
        others = credit_account.incoming - incoming + credit_account.unsettled - unsettled
        bounds.append((leaving - credit_account.posted - credit_account.incoming, others, Status.nothing_owed))
    limit = row.amount or BOUND - 1
    sure = min([limit, *(least for least, others, _ in bounds if not others)])
    if any(least < sure for least, others, _ in bounds if others):
        return int(Status.undecided)
    if sure <= 0:
        return int(next(status for least, others, status in bounds if least <= 0 and not others))
    if row.side != 3 and bounds and sure != row.amount:
        return int(Status.undecided)
    model.moves = sure if row.side == 3 or bounds else row.amount
    return 0


def reverses(row: Transfer, id: int) -> bool:
    """Whether a leg gives back the transfer of this id, as the side that counts it knows."""
    return bool(row.flags & Flag.reversal and row.side & 2 and row.hold_id == id)
