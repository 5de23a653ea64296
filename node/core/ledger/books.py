"""The ledger's state: what the commands work on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from node.core.ledger.accounts import Accounts
from node.core.ledger.history import History
from node.core.ledger.holds import Hold, Holds
from node.core.ledger.ids import NO_KEYS, Run, key_of
from node.core.ledger.limits import CURRENCY_MASK, Int32s, Int64s, Keys
from node.core.ledger.prepared import Passed, Prepared
from node.core.ledger.reversals import Reversals
from node.core.machine.facts import Fact
from node.core.machine.trail import Trail
from protocol.status import Status


@dataclass(slots=True)
class Books:
    """Accounts, record, holds and open rounds of one shard."""

    accounts: Accounts = field(default_factory=Accounts)
    history: History = field(default_factory=History)
    holds: Holds = field(default_factory=Holds)
    reversals: Reversals = field(default_factory=Reversals)
    rounds: dict[int, list[Prepared]] = field(default_factory=dict)
    changed_rounds: dict[int, None] = field(default_factory=dict)
    turnover: dict[int, list[int]] = field(default_factory=dict)  # currency code -> [debits, credits] ever
    trail: Trail[list[Passed]] = field(default_factory=Trail)  # legs of rounds that were decided; no state
    untold: list[Fact] = field(default_factory=list)  # of accounts: the other parts do not know yet

    def seal(self) -> None:
        """Seals full history; called after each command."""
        if self.history.seal():
            self.holds.seal()
            self.reversals.seal(self.history.sealed)

    def is_stale(self, through: int) -> bool:
        """Whether segments that nobody searched for a batch's ids have left the window since it was resolved."""
        return through < self.history.window_start

    def add_turnover(self, currency: int, debits: int, credits: int) -> None:
        """Counts money that has moved."""
        sums = self.turnover.setdefault(currency, [0, 0])
        sums[0] += debits
        sums[1] += credits

    def add_turnovers(self, amounts: Int64s, currencies_and_states: Int32s, is_debit: bool) -> None:
        """Counts amounts by the currencies of the accounts that moved them."""
        codes = currencies_and_states & CURRENCY_MASK
        if not len(amounts):
            return
        for code in [int(codes[0])] if (codes == codes[0]).all() else np.unique(codes).tolist():
            moved = wide_sum(amounts[codes == code])
            self.add_turnover(code, moved if is_debit else 0, 0 if is_debit else moved)

    def find_prepared(self, id: bytes) -> bool:
        """Whether an open round holds this id."""
        if not self.rounds:
            return False
        key = key_of(id)
        return any(prepared.has(id, key) for legs in self.rounds.values() for prepared in legs)

    def suspects(self, batch_run: Run, through: int) -> Keys:
        """Keys of the batch that occur in the record or in an open round."""
        found = [self.history.suspects(batch_run, through)]
        found.extend(prepared.run.common(batch_run) for legs in self.rounds.values() for prepared in legs)
        found = [keys for keys in found if len(keys)]
        return np.concatenate(found) if found else NO_KEYS

    def end_hold(self, hold: Hold, status: Status) -> None:
        """Closes a hold and gives its rest back."""
        self.accounts.held[hold.debit] -= hold.rest
        self.holds.end(hold.id, status)


def wide_sum(column: Int64s) -> int:
    """An exact sum that may exceed 64 bits."""
    return (int((column >> 32).sum()) << 32) + int((column & 0xFFFFFFFF).sum())
