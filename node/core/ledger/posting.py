"""Transfers of one shard on the exact path: carried out as they are judged."""

from __future__ import annotations

from node.core.ledger.exact import CAPTURE, FINAL, HOLD, KIND, LINKED, VOID, Exact
from node.core.ledger.holds import Hold
from node.core.ledger.limits import NANOSECONDS
from node.core.ledger.origins import REVERSAL
from node.core.ledger.sheet import Cell
from node.core.machine.docket import SETTLED, Failure
from protocol.status import Status


class Posting(Exact):
    """Rows of a local batch; a transaction is one row, or a chain of linked ones."""

    def transact(self, first: int, last: int, *, keeps_journal: bool) -> Failure | None:
        """Carries out the transaction of these rows, or changes nothing and says at which of them it fails, and why."""
        self.begin(keeps_journal=keeps_journal or last - first > 1)
        if last - first > 1 or self.lines.flags[first] & LINKED:
            return self._transact_chain(first, last)
        status = int(self.judge(first))
        if not status:
            self._post(first)
            self._note_id(first, 0)
            self._note_versions(first, last)
            return None
        return first, status | SETTLED if self.known[first] else status

    def _transact_chain(self, first: int, last: int) -> Failure | None:
        if self.lines.flags[last - 1] & LINKED:
            return last - 1, int(Status.linked_event_chain_open) | SETTLED
        failing, known, self.has_happened = self.known_of_chain(first, last)
        if known:
            return failing, known | SETTLED
        for line in range(first, last):
            status = int(self.judge(line))
            if status:
                self.undo()
                return line, status
            self._post(line)
            self._note_id(line, 0)
        self._note_versions(first, last)
        return None

    def fail(self, first: int, last: int, failing: int, status: int) -> None:
        """Gives each row of a refused transaction its status; of its ids, that of the failing row alone is recorded."""
        if status == Status.exists and last - first > 1 and self.has_happened:
            self.statuses[first:last] = [status] * (last - first)
            return
        waits = status in (Status.undecided, Status.retry)
        for line in range(first, last):
            self.statuses[line] = int(Status.linked_event_failed)
            id = self.batch.id_at(self.lines.positions[line])
            if waits and self.lines.flags[line] & HOLD:
                self.waiting_holds.add(id)
            if self.lines.index.get(id) == line:
                del self.lines.index[id]
        self.statuses[failing] = status
        self._note_id(failing, status)

    def _note_id(self, line: int, status: int) -> None:
        """A row behind this one may repeat its id."""
        if not self.known[line] and self.lines.suspect[line] and (not status or Status(status).is_recorded):
            self.lines.index[self.batch.id_at(self.lines.positions[line])] = line

    def _note_versions(self, first: int, last: int) -> None:
        """What the transactions behind the one that has just happened find: accounts changed by this entry."""
        if self.wanted is None:
            return
        if self.journal is not None:
            before = dict(self.versions)
            self.journal.append(lambda: self._put_versions_back(before))
        for line in range(first, last):
            self.versions[self.lines.debit[line]] = self.at.index
            if not self.lines.flags[line] & (HOLD | VOID):
                self.versions[self.lines.credit[line]] = self.at.index

    def _put_versions_back(self, before: dict[int, int]) -> None:
        self.versions = before

    def _post(self, line: int) -> None:
        lines = self.lines
        amount, kind = lines.amount[line], lines.flags[line] & KIND
        debit_cell = self.open_cell(lines.debit[line])
        if kind == VOID:
            self._void(line, debit_cell)
            return
        if kind == HOLD:
            debit_cell.held += amount
            self._open_hold(line, amount)
            return
        credit_cell = self.open_cell(lines.credit[line])
        debit_cell.posted -= amount
        credit_cell.posted += amount
        if kind == CAPTURE:
            hold = self.books.holds.open[self.batch.hold_id(lines.positions[line])]
            debit_cell.held -= hold.rest if lines.flags[line] & FINAL else amount
            self._capture(line, hold)
        elif lines.flags[line] & REVERSAL:
            self.note_reversal(line, is_decided=True)
        self.books.add_turnover(debit_cell.currency, amount, amount)
        if self.journal is not None:
            self.journal.append(lambda: self.books.add_turnover(debit_cell.currency, -amount, -amount))

    def _void(self, line: int, debit_cell: Cell) -> None:
        hold = self.books.holds.open[self.batch.hold_id(self.lines.positions[line])]
        debit_cell.held -= hold.rest
        self.moved[line] = self.batch.rests[self.lines.positions[line]] = hold.rest
        self.books.holds.end(hold.id, Status.hold_already_voided)
        if self.journal is not None:
            self.journal.append(lambda: self.books.holds.reopen(hold))

    def _capture(self, line: int, hold: Hold) -> None:
        self.note_hold(hold)
        hold.rest -= self.lines.amount[line]
        is_final = bool(self.lines.flags[line] & FINAL)
        if is_final:
            self.batch.rests[self.lines.positions[line]] = hold.rest
        if is_final or (not hold.rest and not hold.undecided):
            self.books.holds.end(hold.id, Status.hold_already_captured)
            if self.journal is not None:
                self.journal.append(lambda: self.books.holds.reopen(hold))

    def _open_hold(self, line: int, amount: int) -> None:
        position, credit = self.lines.positions[line], self.lines.credit[line]
        id = self.batch.id_at(position)
        expiry_ns = self.at.elapsed_ns + self.batch.ttl_seconds(position) * NANOSECONDS
        self.books.holds.add(id, self.lines.debit[line], credit, "", amount, expiry_ns)
        if self.journal is not None:
            self.journal.append(lambda: self.books.holds.remove(id))
