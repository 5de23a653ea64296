"""Legs of a round on the exact path: what they need is set aside until the round is decided."""

from __future__ import annotations

from node.core.ledger.exact import CAPTURE, CAPTURED, FINAL, HOLD, KIND, VOID, VOIDED, Exact
from node.core.ledger.limits import CREDIT, DEBIT
from node.core.ledger.origins import REVERSAL
from node.core.ledger.sheet import Own
from node.core.machine.docket import SETTLED, Failure
from protocol.status import Status


class Reserving(Exact):
    """Rows of a PREPARE, those of a transaction side by side. The ids of all wait for the decision, whatever the vote."""

    def transact(self, first: int, last: int, *, keeps_journal: bool) -> Failure | None:
        """Reserves what these rows need, or changes nothing and says at which of them the transaction fails here, and why.

        What is known of its ids comes before what is found now. Behind a balancing row that is tried with another amount than it
        can move, the others are judged as if it had been that, so that all that is wrong with a chain's amounts is told at once.
        """
        self.begin(keeps_journal=keeps_journal or last - first > 1)
        self.own, self.own_holds, self.own_reversed = {}, {}, {}
        line, status, self.has_happened = self.known_of_chain(first, last) if last - first > 1 else (first, 0, True)
        is_settled, goes_on = bool(status), not status
        for one in range(first, last):
            found = int(self.judge(one)) if goes_on else 0
            if found and not status:
                line, status = one, found
            goes_on = goes_on and (
                not found or (found == Status.undecided and self.journal is not None and self.may_try(one))
            )
            if goes_on:
                self._reserve(one)
            if not self.known[one]:
                self._note_waiting(one)
        self.statuses[first:last] = [int(Status.undecided)] * (last - first)
        if not status:
            return None
        if self.journal is not None:
            self.undo()
        is_settled = is_settled or (
            self.known[line] and last - first == 1
        )  # a row that repeats one of its own chain is not
        return line, status | SETTLED if is_settled else status

    def _note_waiting(self, line: int) -> None:
        """Notes the id of a row that may happen: a later row of its transaction repeats it, one of another transaction waits."""
        if self.lines.sides[line] & DEBIT and self.lines.suspect[line]:
            self.lines.index[self.batch.id_at(self.lines.positions[line])] = line

    def _reserve(self, line: int) -> None:
        lines = self.lines
        amount, kind, side = lines.amount[line], lines.flags[line] & KIND, lines.sides[line]
        debit, credit = lines.debit[line], lines.credit[line]
        if side & DEBIT:
            debit_cell = self.open_cell(debit)
            own = self.own.setdefault(debit, Own())
            returning = 0
            if kind in (CAPTURE, VOID):
                amount, returning = self._reserve_hold(line, kind)
                self.batch.rests[lines.positions[line]] = returning
            else:
                debit_cell.held += amount
            debit_cell.unsettled += amount + returning
            own.unsettled += amount + returning
            own.leaving += 0 if kind == HOLD else amount
            own.returning += returning
        if side & CREDIT and kind not in (HOLD, VOID):
            credit_cell = self.open_cell(credit)
            credit_cell.incoming += amount
            if lines.flags[line] & REVERSAL:
                self.note_reversal(line, is_decided=False)
            self.own.setdefault(credit, Own()).incoming += amount

    def _reserve_hold(self, line: int, kind: int) -> tuple[int, int]:
        """What the row captures of its hold, and what it gives back of it."""
        hold = self.books.holds.open[self.batch.hold_id(self.lines.positions[line])]
        self.note_hold(hold)
        if kind == VOID:
            self.moved[line] = hold.take_rest()
            self.own_holds[hold.id] = VOIDED
            return 0, hold.rest
        amount = self.lines.amount[line]
        hold.take(amount)
        if self.lines.flags[line] & FINAL and hold.rest:
            self.own_holds[hold.id] = CAPTURED
            return amount, hold.take_rest()
        self.own_holds[hold.id] = self.own_holds.get(hold.id, 0) + amount
        return amount, 0
