"""The exact path: transactions judged one by one, in order, on plain integers.

`Exact` is made for one batch and the rows of it that need this path. `judge` says what becomes of a row without changing
anything; `Posting` (transfers of this shard) and `Reserving` (legs of a round) carry rows out and note how to take them back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from node.core.ledger.batch import Batch, pairs
from node.core.ledger.books import Books
from node.core.ledger.holds import Hold
from node.core.ledger.limits import BOTH, CREDIT, DEBIT, NO_MINIMUM, NOT_HERE
from node.core.ledger.origins import REVERSAL, Named, Origin, origin_at, origins_of
from node.core.ledger.repeats import is_other_amount, recorded_status
from node.core.ledger.reversals import Reversed
from node.core.ledger.sheet import NOTHING_OWN, Cell, Own, Sheet
from node.core.machine.docket import NOT_SURE, NOT_TOLD
from node.core.machine.part import At
from protocol.columns import BALANCING, FINAL_VERSION, Flag
from protocol.status import AMOUNT_MAX, Status

KIND = int(Flag.hold | Flag.capture | Flag.void)
LINKED, HOLD, CAPTURE, VOID = int(Flag.linked), int(Flag.hold), int(Flag.capture), int(Flag.void)
FINAL = int(Flag.final)
BALANCING_DEBIT, BALANCING_CREDIT = int(Flag.balancing_debit), int(Flag.balancing_credit)
ENDED_BY = {-1: int(Status.hold_already_voided), -2: int(Status.hold_already_captured)}
VOIDED, CAPTURED = ENDED_BY


class Bound(NamedTuple):
    """Of what a balancing row moves."""

    least: int  # that there is, or is owed
    others: int  # what open rounds may add to that
    status: Status  # for nothing


@dataclass(slots=True)
class Lines:
    """The rows in question as plain lists; `positions` are their places in the batch."""

    positions: list[int]
    debit: list[int]
    credit: list[int]
    amount: list[int]
    flags: list[int]
    sides: list[int]
    suspect: list[bool]  # whether the id may be known already
    index: dict[bytes, int] = field(default_factory=dict)  # ids of these rows that are recorded by this command


class Exact:
    """One batch's rows on the exact path."""

    def __init__(self, books: Books, batch: Batch, lines: Lines, at: At) -> None:
        self.books = books
        self.batch = batch
        self.lines = lines
        self.at = at
        self.wanted = batch.ints(batch.if_version, "Q") if batch.if_version else None
        self.currencies = batch.ints(batch.currency, "H") if batch.currency else None
        self.versions: dict[int, int] = {}  # of accounts that earlier transactions of this command have changed
        self.is_share = books.accounts.is_share if books.accounts.has_shares else None
        self.hints = pairs(batch.hints)
        self.origins = origins_of(batch)
        self.named: Named | None = None
        self.line_at: dict[int, int] = {}  # by position in the batch, once it is asked for
        self.hold_hints = pairs(batch.hold_hints)
        self.sheet = Sheet(books.accounts)
        self.sheet.load(lines.debit + lines.credit)
        self.statuses = [0] * len(lines.positions)
        self.known = [False] * len(lines.positions)  # answered from the record: not recorded again
        self.moved = list(lines.amount)  # for a void what it released, for a balancing row what it was fixed at
        self.asked = lines.amount  # of a balancing row the limit, 0 for none
        if batch.is_balancing:
            self.amounts = batch.fixed_amounts()
            self.asked = list(lines.amount)
            self.tried = batch.ints(batch.tried, "q") if batch.tried else None
            self.apart = dict.fromkeys(lines.positions, NOT_TOLD)
        self.has_happened = False  # whether `exists` is what all ids of the transaction judged last say
        self.waiting_holds: set[bytes] = set()  # of earlier transactions of this command that are to be tried again
        self.journal: list[Callable[[], None]] | None = None
        self.own: dict[int, Own] = {}  # of the round's transaction at hand, by account
        self.own_reversed: dict[bytes, int] = {}  # what it gives back, by what it reverses
        self.own_holds: dict[bytes, int] = {}  # what it captures of holds, a key of `ENDED_BY` for those that it ends

    # -- judging --------------------------------------------------------------------------------------------------

    def judge(self, line: int) -> int:
        """The row's status if it came now."""
        lines = self.lines
        side, flags = lines.sides[line], lines.flags[line]
        debit, credit = lines.debit[line], lines.credit[line]
        if known := self.known_status(line):
            return known
        undecided = self._first_status(line) if self.currencies is not None or flags & REVERSAL else 0
        if undecided not in (0, Status.undecided):
            return undecided
        if side & DEBIT and debit < 0:
            return Status.debit_account_not_found
        terms = self._terms_status(line) if side & DEBIT else 0
        if terms not in (0, Status.undecided):
            return terms
        undecided = undecided or terms
        if side & CREDIT and credit < 0 and (not flags & VOID or credit == NOT_HERE):
            return Status.credit_account_not_found
        debit_cell = self.sheet.cell(debit) if side & DEBIT else None
        credit_cell = self.sheet.cell(credit) if side & CREDIT and credit >= 0 else None
        if debit_cell is not None and credit_cell is not None and debit_cell.currency != credit_cell.currency:
            return Status.accounts_must_have_the_same_currency
        if debit_cell is not None and flags & (CAPTURE | VOID):
            status = self._hold_status(line)
            if status == Status.undecided:
                undecided = status
            elif status:
                return status
            if flags & VOID:
                return undecided
        return self._account_status(line, debit_cell, credit_cell) or undecided

    def known_status(self, line: int) -> int:
        """What the row is answered for ever, or while its id is in an open round; 0 where it is to be judged."""
        status = self.hints.get(self.lines.positions[line], 0)
        if not status and self.lines.sides[line] & DEBIT and self.lines.suspect[line]:
            status = self._recorded_status(line)
        self.known[line] = status != 0
        return status

    def known_of_chain(self, first: int, last: int) -> tuple[int, int, bool]:
        """The first of these rows that has a `known_status`, and that; 0 where none has one. Whether all whose debit is here give `exists`.

        It comes before what is judged now: a repeated chain fails where it failed before, whatever else has come in its way.
        """
        statuses = [self.known_status(line) for line in range(first, last)]
        line, status = next(((first + place, status) for place, status in enumerate(statuses) if status), (first, 0))
        debits = [status for place, status in enumerate(statuses) if self.lines.sides[first + place] & DEBIT]
        return line, status, all(status == Status.exists for status in debits)

    def _first_status(self, line: int) -> int:
        """What is wrong before all else: that it is another share's, then with what it reverses, then with its currency."""
        if status := self._other_share_status(line):
            return status
        is_judged = self.lines.flags[line] & REVERSAL and self.lines.sides[line] & CREDIT
        undecided = self._reversal_status(line) if is_judged else 0
        if undecided not in (0, Status.undecided) or self.currencies is None:
            return undecided
        return self._currency_status(line) or undecided

    def _other_share_status(self, line: int) -> int:
        """Whether another share of a split account is to be asked: then this one records nothing."""
        if self.is_share is None:
            return 0
        lines = self.lines
        debit, credit = lines.debit[line], lines.credit[line]
        if lines.sides[line] & DEBIT and debit >= 0 and self.is_share[debit] and (status := self._share_status(line)):
            return status
        is_reversal = lines.flags[line] & REVERSAL and lines.sides[line] & CREDIT and credit >= 0
        return int(Status.elsewhere) if is_reversal and self.books.accounts.only_takes[credit] else 0

    def _currency_status(self, line: int) -> int:
        """Whether the accounts that are here are kept in the currency that the row wants."""
        assert self.currencies is not None
        lines, wanted = self.lines, self.currencies[self.lines.positions[line]]
        sides = ((DEBIT, lines.debit[line]), (CREDIT, lines.credit[line]))
        rows = [row for side, row in sides if lines.sides[line] & side and row >= 0]
        if not wanted or all(self.sheet.cell(row).currency == wanted for row in rows):
            return 0
        return int(Status.transfer_must_have_the_same_currency_as_accounts)

    def _terms_status(self, line: int) -> int:
        """What is demanded of the debit account besides funds: a version, or that it is the right share."""
        debit = self.lines.debit[line]
        if self.is_share is not None and self.is_share[debit]:
            return self._share_status(line)
        return 0 if self.wanted is None else self._version_status(debit, self.wanted[self.lines.positions[line]])

    def _share_status(self, line: int) -> int:
        """Whether the share here is the home share, which alone pays: each id has one shard, whoever sends it."""
        lines, accounts = self.lines, self.books.accounts
        debit = lines.debit[line]
        if self.wanted is not None and self.wanted[lines.positions[line]] not in (0, FINAL_VERSION):
            return Status.if_version_must_be_zero
        is_move = lines.sides[line] == DEBIT and self._credit_name(line) == accounts.names[debit]
        return Status.elsewhere if accounts.only_takes[debit] and not is_move else 0

    def _may_gather(self, line: int) -> bool:
        """Whether other shares of the debit account may have what this one lacks."""
        if self.is_share is None or not self.is_share[self.lines.debit[line]]:
            return False
        return self.wanted is None or self.wanted[self.lines.positions[line]] != FINAL_VERSION

    def _version_status(self, row: int, wanted: int) -> int:
        """Whether the account is at the version wanted, before the transaction at hand."""
        if not wanted:
            return 0
        if self.versions.get(row, self.books.accounts.version.item(row)) != wanted:
            return Status.version_conflict
        cell, own = self.sheet.cell(row), self.own.get(row, NOTHING_OWN)
        is_open = cell.incoming > own.incoming or cell.unsettled > own.unsettled
        return Status.undecided if is_open else 0

    def _account_status(self, line: int, debit_cell: Cell | None, credit_cell: Cell | None) -> int:
        flags = self.lines.flags[line]
        if flags & VOID:
            return 0
        if (debit_cell is not None and debit_cell.state) or (credit_cell is not None and credit_cell.state):
            return _state_status(debit_cell, credit_cell)
        if flags & BALANCING and (status := self._balance(line, debit_cell, credit_cell)):
            return status
        amount = self.lines.amount[line]
        debit_status = credit_status = 0
        if debit_cell is not None and not flags & CAPTURE:
            debit_status = debit_cell.debit_status(amount, self.own.get(self.lines.debit[line], NOTHING_OWN))
            if debit_status == Status.insufficient_funds and self._may_gather(line):
                debit_status = Status.share_short
        if credit_cell is not None and not flags & HOLD:
            credit_status = credit_cell.credit_status(amount, self.own.get(self.lines.credit[line], NOTHING_OWN))
        both = debit_status and credit_status
        return min(debit_status, credit_status) if both else debit_status or credit_status

    def _balance(self, line: int, debit_cell: Cell | None, credit_cell: Cell | None) -> int:
        """Fixes what a balancing row moves: what is there, or owed, up to its limit; else why it moves nothing.

        What an open round may still change is waited for. Between shards the coordinator finds the amount: it tries one, and each shard
        says how far apart that is from what the row can move for all that it knows, and reserves it if that is as much.
        """
        limit, position = self.asked[line] or AMOUNT_MAX, self.lines.positions[line]
        self.amounts[position] = 0
        bounds = self._bounds(line, debit_cell, credit_cell)
        if isinstance(bounds, Status):
            return bounds
        certain = min([limit, *(bound.least for bound in bounds if not bound.others)])
        amount = min([certain, *(bound.least for bound in bounds)])
        if amount < certain:  # by what an open round may add to
            self.apart[position] = NOT_SURE
            return Status.undecided
        if amount <= 0:
            return next(bound.status for bound in bounds if bound.least <= 0 and not bound.others)
        if self.lines.sides[line] != BOTH:
            tried = self.asked[line] if self.tried is None else self.tried[position]
            self.apart[position] = amount - tried
            if bounds and (not tried or tried > amount):
                self.lines.amount[line] = amount
                return Status.undecided
            amount = tried
        self.lines.amount[line] = self.moved[line] = amount
        self.amounts[position] = amount
        return 0

    def may_try(self, line: int) -> bool:
        """Whether a row that is undecided is so for its amount alone, which is found by now."""
        return self.batch.is_balancing and self.apart[self.lines.positions[line]] not in (NOT_TOLD, NOT_SURE)

    def _bounds(self, line: int, debit_cell: Cell | None, credit_cell: Cell | None) -> list[Bound] | Status:
        """What bounds a balancing row here."""
        lines, accounts = self.lines, self.books.accounts
        flags, debit, credit = lines.flags[line], lines.debit[line], lines.credit[line]
        bounds: list[Bound] = []
        if flags & BALANCING_DEBIT and debit_cell is not None:
            if flags & CAPTURE:
                hold = self.books.holds.open.get(self.batch.hold_id(lines.positions[line]))
                if hold is None:  # an open round opens it
                    return Status.undecided
                others = hold.undecided - self.own_holds.get(hold.id, 0)
                bounds.append(Bound(hold.rest, others, Status.hold_already_captured))
            elif accounts.is_share[debit]:
                return Status.split_account_must_not_balance
            elif debit_cell.minimum > NO_MINIMUM:
                bounds.append(Bound(*debit_cell.spendable(self.own.get(debit, NOTHING_OWN)), Status.insufficient_funds))
            elif not self.asked[line] and not flags & BALANCING_CREDIT:
                return Status.balancing_needs_limit
        if flags & BALANCING_CREDIT and credit_cell is not None:
            if accounts.is_share[credit]:
                return Status.split_account_must_not_balance
            bounds.append(Bound(*credit_cell.owed(self.own.get(credit, NOTHING_OWN)), Status.nothing_owed))
        return bounds

    def _recorded_status(self, line: int) -> int:
        batch, lines = self.batch, self.lines
        position = lines.positions[line]
        id = batch.id_at(position)
        debit, credit = lines.debit[line], lines.credit[line]
        earlier = lines.index.get(id)
        if earlier is not None:
            return self.statuses[earlier] or self._repeated_status(earlier, line)
        if (found := self.books.history.find(id, batch.through)) is not None:
            return recorded_status(self.books.accounts, *found, batch, position, debit, credit)
        return int(Status.undecided) if self.books.find_prepared(id) else 0

    def _repeated_status(self, earlier: int, line: int) -> int:
        batch, lines = self.batch, self.lines
        first, second = lines.positions[earlier], lines.positions[line]
        flags, is_other = lines.flags[line], batch.hold_id(first) != batch.hold_id(second)
        differs = (
            (lines.flags[earlier] != flags, Status.exists_with_different_flags),
            (is_other and not flags & REVERSAL, Status.exists_with_different_hold_id),
            (lines.debit[earlier] != lines.debit[line], Status.exists_with_different_debit_account),
            (self._credit_name(earlier) != self._credit_name(line), Status.exists_with_different_credit_account),
            (
                is_other_amount(lines.amount[earlier], self.asked[line], flags),
                Status.exists_with_different_amount,
            ),
            (batch.code_at(first) != batch.code_at(second), Status.exists_with_different_code),
            (batch.reference_at(first) != batch.reference_at(second), Status.exists_with_different_reference),
            (batch.ttl_seconds(first) != batch.ttl_seconds(second), Status.exists_with_different_ttl),
            (self._is_other_currency(line), Status.exists_with_different_currency),
            (batch.metadata_at(first) != batch.metadata_at(second), Status.exists_with_different_metadata),
            (is_other, Status.exists_with_different_reverses),
        )
        return next((int(status) for is_different, status in differs if is_different), int(Status.exists))

    def _is_other_currency(self, line: int) -> bool:
        wanted = 0 if self.currencies is None else self.currencies[self.lines.positions[line]]
        return wanted != 0 and wanted != self.sheet.cell(self.lines.debit[line]).currency

    def _credit_name(self, line: int) -> str | None:
        credit = self.lines.credit[line]
        if credit >= 0:
            return self.books.accounts.names[credit]
        return None if credit == NOT_HERE else self.batch.other(credit)

    def _hold_status(self, line: int) -> int:
        lines, holds = self.lines, self.books.holds
        position = lines.positions[line]
        id = self.batch.hold_id(position)
        hold = holds.open.get(id)
        if hold is None:
            ended = holds.ended_status(id) or self.hold_hints.get(position, int(Status.hold_not_found))
            if ended != Status.hold_not_found:
                return ended
            is_opening = id in self.waiting_holds or self.books.find_prepared(id)
            return (
                Status.undecided if is_opening or (self.batch.sides and self._may_come(id, position, HOLD)) else ended
            )
        if hold.debit != lines.debit[line]:
            return Status.hold_has_different_debit_account
        if (hold.other or self.books.accounts.names[hold.credit]) != self._credit_name(line):
            return Status.hold_has_different_credit_account
        if hold.expired or hold.expiry_ns <= self.at.elapsed_ns:
            return Status.hold_expired
        return self._rest_status(line, hold)

    def _rest_status(self, line: int, hold: Hold) -> int:
        """Whether enough is left of an open hold, counting what its own transaction takes."""
        own = self.own_holds.get(hold.id, 0)
        if own in ENDED_BY:
            return ENDED_BY[own]
        if hold.voiding:
            return Status.undecided
        others, amount = hold.undecided - own, self.lines.amount[line]
        if own and not hold.rest and not others:
            return Status.hold_already_captured
        if self.lines.flags[line] & VOID:
            return self._void_status(hold, amount, others)
        if self.lines.flags[line] & BALANCING:
            return Status.undecided if others and self.lines.flags[line] & FINAL else 0
        if amount > hold.rest:
            return Status.undecided if amount <= hold.rest + others else Status.exceeds_hold_amount
        return Status.undecided if others and self.lines.flags[line] & FINAL else 0

    def _void_status(self, hold: Hold, amount: int, others: int) -> int:
        """Of an open hold, which open rounds may still capture from."""
        if amount not in (0, hold.amount):
            return Status.hold_has_different_amount
        return Status.undecided if others else 0

    # -- reversals ------------------------------------------------------------------------------------------------

    def _reversal_status(self, line: int) -> int:
        """Whether an earlier transfer is there to be given back, and so much of it left."""
        origin = self._origin_of(line)
        if origin.status:
            return origin.status
        id, amount = self.batch.hold_id(self.lines.positions[line]), self.lines.amount[line]
        counter, own = self.books.reversals.recent.get(id), self.own_reversed.get(id, 0)
        given, others = (origin.reversed, 0) if counter is None else (counter.amount, counter.undecided - own)
        left = origin.amount - given - own
        if left <= 0:
            return Status.transfer_already_reversed
        if amount > left:
            return Status.exceeds_reversible_amount
        return Status.undecided if amount > left - others else 0

    def _origin_of(self, line: int) -> Origin:
        """What a reversal names, or the reason why that cannot be reversed."""
        position = self.lines.positions[line]
        if position in self.origins:
            return self.origins[position]
        if (found := self.books.history.find(self.batch.hold_id(position), self.batch.through)) is not None:
            return origin_at(self.books, *found, self.batch, position)
        id = self.batch.hold_id(position)
        is_open = self.books.find_prepared(id) or self._may_be_here(id, position)
        return Origin(int(Status.undecided if is_open else Status.reversed_transfer_not_found))

    def _may_be_here(self, id: bytes, position: int) -> bool:
        """Whether another transaction of the batch has made this transfer before, or in a round may make it with this one."""
        if self.batch.sides:
            return self._may_come(id, position, 0)
        return self._named_rows().before(id, position, lambda row: row not in self.hints and self._has_happened(row))

    def _may_come(self, id: bytes, position: int, flag: int) -> bool:
        """Whether another transaction of the round may make this transfer, one with this flag."""
        sides, hints = self.batch.sides, self.hints
        return self._named_rows().beside(id, flag, position, lambda row: row not in hints and bool(sides[row] & DEBIT))

    def _named_rows(self) -> Named:
        if self.named is None:
            self.named = Named(self.batch)
            self.line_at = {position: line for line, position in enumerate(self.lines.positions)}
        return self.named

    def _has_happened(self, position: int) -> bool:
        """Of a row before the one at hand; one that is no line here is judged by columns."""
        line = self.line_at.get(position)
        return line is None or not self.statuses[line]

    def note_reversal(self, line: int, *, is_decided: bool) -> None:
        """So much of a transfer is given back, or in an open round set aside to be."""
        id, amount = self.batch.hold_id(self.lines.positions[line]), self.lines.amount[line]
        reversals, origin = self.books.reversals, self._origin_of(line)
        before = reversals.recent.get(id)
        given, undecided = (origin.reversed, 0) if before is None else (before.amount, before.undecided)
        given, undecided = (given + amount, undecided) if is_decided else (given, undecided + amount)
        undo = reversals.put(id, Reversed(origin.place, given, undecided, self.books.history.sealed))
        if not is_decided:
            self.own_reversed[id] = self.own_reversed.get(id, 0) + amount
        if self.journal is not None:
            self.journal.append(undo)

    # -- what can be taken back -----------------------------------------------------------------------------------

    def open_cell(self, row: int) -> Cell:
        """An account's cell that is about to change."""
        cell = self.sheet.cell(row)
        if self.journal is not None:
            before = (cell.posted, cell.held, cell.incoming, cell.unsettled, cell.changed)
            self.journal.append(lambda: _put_back(cell, before))
        cell.changed = True
        return cell

    def note_hold(self, hold: Hold) -> None:
        """A hold is about to change."""
        self.books.holds.touch(hold)
        if self.journal is not None:
            before = (hold.rest, hold.undecided, hold.voiding)
            self.journal.append(lambda: _put_hold_back(hold, before))

    def begin(self, *, keeps_journal: bool) -> None:
        """A transaction is about to be judged; without a journal it cannot be taken back."""
        self.journal = [] if keeps_journal else None

    def undo(self) -> None:
        """Takes back what the journal holds, the latest first."""
        assert self.journal is not None, "nobody wrote down how to take this back"
        for step in reversed(self.journal):
            step()
        self.journal = []


def _state_status(debit_cell: Cell | None, credit_cell: Cell | None) -> int:
    if debit_cell is not None and debit_cell.is_closed:
        return Status.debit_account_closed
    if credit_cell is not None and credit_cell.is_closed:
        return Status.credit_account_closed
    if debit_cell is not None and debit_cell.is_frozen:
        return Status.debit_account_frozen
    return Status.credit_account_frozen


def _put_back(cell: Cell, before: tuple[int, int, int, int, bool]) -> None:
    cell.posted, cell.held, cell.incoming, cell.unsettled, cell.changed = before


def _put_hold_back(hold: Hold, before: tuple[int, int, int]) -> None:
    hold.rest, hold.undecided, hold.voiding = before
