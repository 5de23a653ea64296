"""At the leader, before the log: account ids become rows, and what cannot change any more is found out once for all.

That is the shape of each transfer, ids that sealed segments hold, and holds that ended before the window. Where stored
segments must be read for it, a `Need` says which.
"""

from __future__ import annotations

import operator
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.core.ledger.batch import Batch
from node.core.ledger.books import Books
from node.core.ledger.exact import KIND, VOID
from node.core.ledger.holds import stored_key
from node.core.ledger.ids import Run, key_of, sorted_run
from node.core.ledger.limits import BOTH, CREDIT, DEBIT, NOT_HERE, SMALL_BATCH, Codes, Int32s, Marks, currency_codes
from node.core.ledger.origins import REVERSAL, sealed_origins
from node.core.ledger.repeats import recorded_statuses
from node.core.ledger.segment import Segment
from node.core.ledger.stored import SEGMENTS, stored_segment
from node.core.machine.operation import Body
from node.core.machine.part import Loaded, Need
from protocol.columns import ALL_FLAGS, BALANCING, SEPARATOR, Flag, Transfers
from protocol.errors import ProtocolError
from protocol.status import REFERENCE_BYTES_MAX, TTL_SECONDS_MAX, Status

ENDED_HOLDS = "ledger_ended_holds"
UTF8_BYTES_MAX = 4  # of one character


def resolve_transfers(books: Books, body: Body, loaded: Loaded) -> Batch | Need:
    """["transfers", columns] as it is logged."""
    transfers = Transfers.unpack(body[1])
    debit, credit = books.accounts.rows_of(transfers.debits()), books.accounts.rows_of(transfers.credits())
    batch = _batch(books, transfers, debit, credit)
    misshapen = _misshapen(transfers, debit, credit, None)
    if transfers.flags:
        abroad = (credit == NOT_HERE) & ((transfers.flag_bits() & Flag.void) != 0)
        if abroad.any():
            _name_others(batch, transfers, debit, credit, np.zeros(len(transfers), np.bool_), abroad)
    return _with_hints(books, batch, misshapen, None, loaded)


def resolve_legs(books: Books, body: Body, loaded: Loaded) -> Batch | Need:
    """["legs", columns, numbers, sides, rows of the round] as it is logged."""
    transfers = Transfers.unpack(body[1])
    numbers, sides, round_rows, *more = body[2:]
    tried = more[0] if more else b""
    n = len(transfers)
    are_bytes = all(isinstance(column, bytes) for column in (numbers, sides, round_rows, tried))
    is_whole = are_bytes and len(round_rows) in (0, 4 * n) and len(tried) in (0, 8 * n)
    if not is_whole or len(numbers) != 4 * n or len(sides) != n:
        raise ProtocolError(
            "legs: expected a transaction number, a side and a row of the round, or no such rows, for each leg"
        )
    side_bits = np.frombuffer(sides, np.uint8)
    is_known = int(side_bits.min()) >= DEBIT and int(side_bits.max()) <= BOTH
    if not is_known or int(np.frombuffer(numbers, np.int32).min()) < 0:
        raise ProtocolError("legs: expected sides of 1 to 3 and transaction numbers from 0")
    debit, credit = books.accounts.rows_of(transfers.debits()), books.accounts.rows_of(transfers.credits())
    batch = _batch(books, transfers, debit, credit)
    batch.numbers, batch.sides, batch.round_rows, batch.tried = numbers, sides, round_rows, tried
    abroad = (side_bits & DEBIT) == 0, (side_bits & CREDIT) == 0
    misshapen = _misshapen(transfers, debit, credit, side_bits)
    named_credits = abroad[1]
    if transfers.flags:
        named_credits = named_credits | (~abroad[0] & (credit == NOT_HERE) & ((transfers.flag_bits() & VOID) != 0))
    _name_others(batch, transfers, debit, credit, abroad[0], named_credits)
    return _with_hints(books, batch, misshapen, ~abroad[0], loaded)


def _batch(books: Books, transfers: Transfers, debit: Int32s, credit: Int32s) -> Batch:
    return Batch(
        debit.tobytes(), credit.tobytes(), transfers.ids, transfers.amount, transfers.flags, transfers.code,
        transfers.reference, transfers.hold_ids, transfers.ttl, books.history.sealed, [], [], "", 0,
        if_version=transfers.if_version if transfers.if_version.strip(b"\0") else b"",
        currency=currency_codes(transfers.currency), metadata=transfers.metadata.strip(SEPARATOR) and transfers.metadata,
    )  # fmt: skip


def _name_others(
    batch: Batch, transfers: Transfers, debit: Int32s, credit: Int32s, debit_abroad: Marks, credit_abroad: Marks
) -> None:
    """Puts accounts of other shards into the batch as texts."""
    texts: list[str] = []
    for column, abroad, names in ((debit, debit_abroad, transfers.debits), (credit, credit_abroad, transfers.credits)):
        places = np.flatnonzero(abroad)
        if len(places):
            all_names = names()
            column[places] = -2 - np.arange(len(texts), len(texts) + len(places))
            texts.extend(all_names if len(places) == len(all_names) else [all_names[row] for row in places.tolist()])
    batch.debit, batch.credit = debit.tobytes(), credit.tobytes()
    batch.others, batch.others_count = SEPARATOR.join(texts), len(texts)


# -- shape --------------------------------------------------------------------------------------------------------


def _misshapen(transfers: Transfers, debit: Int32s, credit: Int32s, sides: Codes | None) -> dict[int, int]:
    """Of rows whose form is wrong, the status."""
    if _are_few_and_plain(transfers, debit, credit):
        return {}
    shape = _shape(transfers, debit, credit, sides)
    return {row: int(shape[row]) for row in np.flatnonzero(shape).tolist()}


def _are_few_and_plain(transfers: Transfers, debit: Int32s, credit: Int32s) -> bool:
    """Whether `_shape` would surely refuse none of them: numpy's fixed cost is most of what a lone transfer takes there."""
    n = len(transfers)
    if n >= SMALL_BATCH or transfers.flags or transfers.ttl or transfers.hold_ids:
        return False
    halves = struct.unpack(f"<{2 * n}Q", transfers.ids)
    return (
        len(transfers.reference) <= REFERENCE_BYTES_MAX // UTF8_BYTES_MAX
        and min(struct.unpack(f"<{n}q", transfers.amount)) > 0
        and not any(map(operator.eq, halves[::2], halves[1::2]))
        and not any(map(operator.eq, debit.tolist(), credit.tolist()))
    )


def _shape(transfers: Transfers, debit: Int32s, credit: Int32s, sides: Codes | None) -> Codes:
    """Of each row the smallest status that its form is refused with, 0 where it is right. Legs have `sides`."""
    shape = np.zeros(len(transfers), np.uint8)
    reasons: list[tuple[NDArray[Any], Status]] = []
    _check_optional(transfers, reasons)
    same = debit == credit
    if same.any():
        names = zip(transfers.debits(), transfers.credits(), strict=True)
        equal = np.array([debit == credit for debit, credit in names])
        if sides is not None:  # a split account's shares in two shards may trade
            equal &= sides == BOTH
        reasons.append((equal, Status.accounts_must_be_different))
    amounts, flags = transfers.amounts(), transfers.flag_bits()
    if int(amounts.min()) <= 0:
        reasons.append((amounts < 0, Status.amount_must_not_be_negative))
        reasons.append(((amounts == 0) & ((flags & (Flag.void | BALANCING)) == 0), Status.amount_must_not_be_zero))
    ids = np.frombuffer(transfers.ids, np.uint64).reshape(-1, 2)
    equal = ids[:, 0] == ids[:, 1]
    if equal.any():
        reasons.append((equal & (ids[:, 0] == 2**64 - 1), Status.id_must_not_be_int_max))
        reasons.append((equal & (ids[:, 0] == 0), Status.id_must_not_be_zero))
    for marks, status in sorted(reasons, key=lambda reason: -reason[1]):
        shape[marks] = status
    if sides is None and flags[-1] & Flag.linked:
        shape[-1] = Status.linked_event_chain_open
    return shape


def _check_optional(transfers: Transfers, reasons: list[tuple[NDArray[Any], Status]]) -> None:
    """Reasons in columns that may be left out."""
    texts = transfers.reference.split(SEPARATOR) if transfers.reference else []
    if texts and max(map(len, texts)) > REFERENCE_BYTES_MAX // UTF8_BYTES_MAX:
        too_long = np.array([len(text.encode()) > REFERENCE_BYTES_MAX for text in texts])
        reasons.append((too_long, Status.reference_too_long))
    if not (transfers.flags or transfers.ttl or transfers.hold_ids):
        return
    n, flags = len(transfers), transfers.flag_bits()
    ttl = np.frombuffer(transfers.ttl, np.uint32) if transfers.ttl else np.zeros(n, np.uint32)
    packed = transfers.hold_ids or bytes(16 * n)
    hold_ids = np.frombuffer(packed, np.uint64).reshape(-1, 2)
    has_hold_id = (hold_ids != 0).any(axis=1)
    is_hold, names_one = (flags & Flag.hold) != 0, (flags & (Flag.capture | Flag.void | Flag.reversal)) != 0
    ids = np.frombuffer(transfers.ids, np.uint64).reshape(-1, 2)
    kind = flags & (KIND | REVERSAL)
    reasons += [
        (((flags & Flag.final) != 0) & ((flags & Flag.capture) == 0), Status.final_reserved_for_capture),
        (ttl > TTL_SECONDS_MAX, Status.ttl_too_long),
        (names_one & (hold_ids == ids).all(axis=1), Status.hold_id_must_be_different),
        (names_one & ~has_hold_id, Status.hold_id_must_not_be_zero),
        (~names_one & has_hold_id, Status.hold_id_must_be_zero),
        (is_hold & (ttl == 0), Status.hold_must_have_ttl),
        (~is_hold & (ttl != 0), Status.ttl_reserved_for_hold),
        ((kind & (kind - np.minimum(kind, 1))) != 0, Status.flags_are_mutually_exclusive),
        (((flags & Flag.balancing_credit) != 0) & (kind != 0), Status.flags_are_mutually_exclusive),
        (
            ((flags & Flag.balancing_debit) != 0) & ((flags & (Flag.void | Flag.reversal)) != 0),
            Status.flags_are_mutually_exclusive,
        ),
        ((flags & ~np.uint16(ALL_FLAGS)) != 0, Status.reserved_flag),
    ]


# -- the past -----------------------------------------------------------------------------------------------------


def _with_hints(
    books: Books, batch: Batch, misshapen: dict[int, int], searched: Marks | None, loaded: Loaded
) -> Batch | Need:
    found = known_ids(books, batch, searched, loaded)
    if isinstance(found, Need):
        return found
    holds: dict[int, int] | Need = _ended_holds(books, batch, loaded) if batch.hold_ids else {}
    if isinstance(holds, Need):
        return holds
    origins = sealed_origins(books, batch, loaded)
    if isinstance(origins, Need):
        return origins
    batch.origins = origins
    if found or misshapen:
        batch.hints = _flat(found | misshapen)
    if holds:
        batch.hold_hints = _flat(holds)
    return batch


def _flat(statuses: dict[int, int]) -> list[int]:
    """position, status, ... by position."""
    return [number for row in sorted(statuses) for number in (row, statuses[row])]


def known_ids(books: Books, batch: Batch, searched: Marks | None, loaded: Loaded) -> dict[int, int] | Need:
    """Rows whose ids sealed segments hold, with the status that they are answered."""
    history = books.history
    if not history.sealed or _are_few_and_new(books, batch):
        return {}
    ids = batch.ids if searched is None else np.frombuffer(batch.ids, "V16")[searched].tobytes()
    if not ids:
        return {}
    keys, run = sorted_run(ids)
    old = history.old_segments(run)
    keys_needed = tuple((SEGMENTS, number) for number in old if number not in history.retired)
    if any(key not in loaded for key in keys_needed):
        return Need(keys_needed)
    rows = np.flatnonzero(searched) if searched is not None else np.arange(batch.count)
    found: dict[int, int] = {}
    for number in [*old, *history.window]:
        segment, common = _segment_and_common(books, number, run, loaded)
        if len(common):
            suspects = rows[np.isin(keys, common)]
            statuses = recorded_statuses(books.accounts, segment, batch, suspects)
            found.update(
                {row: status for row, status in zip(suspects.tolist(), statuses.tolist(), strict=True) if status}
            )
    return found


def _are_few_and_new(books: Books, batch: Batch) -> bool:
    """Whether all ids lie above those of every sealed segment, as new ones mostly do: ids sort by time."""
    if batch.count >= SMALL_BATCH:
        return False
    return min(key_of(batch.id_at(row)) for row in range(batch.count)) > books.history.sealed_highest()


def _segment_and_common(books: Books, number: int, run: Run, loaded: Loaded) -> tuple[Segment, NDArray[np.uint64]]:
    sealed = books.history.window.get(number) or books.history.retired.get(number)
    if sealed is not None:
        return sealed.segment, sealed.run.common(run)
    segment = stored_segment(number, loaded)
    return segment, Run(segment.keys()).common(run)


def _ended_holds(books: Books, batch: Batch, loaded: Loaded) -> dict[int, int] | Need:
    """Rows that name a hold which is not open, with what became of it."""
    holds = books.holds
    hints: dict[int, int] = {}
    needed: dict[tuple[str, int], None] = {}
    ends_hold = (batch.flag_bits() & (Flag.capture | Flag.void)) != 0
    for row in np.flatnonzero(ends_hold).tolist():
        id = batch.hold_id(row)
        if id in holds.open:
            continue
        if status := holds.ended_status(id) or holds.unstored_status(id):
            hints[row] = status
            continue
        key = (ENDED_HOLDS, stored_key(id))
        needed[key] = None
        value = loaded.get(key)
        if value is not None and value[:16] == id:
            hints[row] = value[16]
    return hints if all(key in loaded for key in needed) else Need(tuple(needed))
