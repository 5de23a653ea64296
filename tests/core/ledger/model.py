"""The ledger's rules again, as plainly as possible: dictionaries, one transfer after the other, nothing clever."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from protocol.columns import BALANCING, Flag
from protocol.status import Status
from tests.core.ledger.model_rules import BOUND, balance, reversal_status


@dataclass
class Transfer:
    """One row as a client means it."""

    id: int
    debit: str
    credit: str
    amount: int
    flags: int = 0
    code: int = 0
    reference: str = ""
    hold_id: int = 0
    ttl: int = 0
    if_version: int = 0
    currency: str = ""
    metadata: str = ""
    number: int = 0  # legs only
    side: int = 3  # legs only


@dataclass
class Account:
    """Balances and limits."""

    currency: str
    minimum: int
    maximum: int
    state: int = 0
    posted: int = 0
    held: int = 0
    incoming: int = 0
    unsettled: int = 0
    version: int = 0
    paid: int = 0  # of an allowance, where there is one
    pledged: int = 0  # likewise, by open rounds


@dataclass
class Model:
    """A shard's books."""

    accounts: dict[str, Account] = field(default_factory=dict)
    record: dict[int, tuple[int, Transfer]] = field(default_factory=dict)
    holds: dict[int, dict[str, Any]] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    reversed: dict[int, int] = field(default_factory=dict)
    fresh: dict[int, int] = field(
        default_factory=dict
    )  # ids that happened in this command, and in which transaction of it
    waiting_holds: set[int] = field(default_factory=set)  # of this command's transactions that are to be tried again
    own_reversed: dict[int, int] = field(default_factory=dict)  # of a transaction of a round
    rounds: dict[int, list[tuple[Transfer, bool, bool, int]]] = field(default_factory=dict)
    own: dict[str, list[int]] = field(
        default_factory=dict
    )  # of a transaction: [incoming, unsettled, leaving, returning]
    own_holds: dict[int, tuple[int, int]] = field(default_factory=dict)  # of a transaction: captured, how it ends
    current: dict[int, Transfer] = field(default_factory=dict)  # rows of the transaction at hand, by id
    index: int = 0  # of the entry at hand
    preparing: int = -1  # the round at hand
    preparing_rows: list[Transfer] = field(default_factory=list)
    chains: int = 0  # transactions of batches so far
    moves: int = 0  # the amount of the row that was judged last

    def apply(self, rows: list[Transfer], elapsed_ns: int, index: int) -> list[int]:
        """A batch of one shard."""
        self.index, self.fresh, self.waiting_holds = index, {}, set()
        statuses: list[int] = []
        while len(statuses) < len(rows):
            first = len(statuses)
            last = first
            while last < len(rows) and rows[last].flags & Flag.linked:
                last += 1
            if last == len(rows):
                statuses += [Status.linked_event_failed] * (last - first - 1) + [Status.linked_event_chain_open]
                break
            statuses += self.chain(rows[first : last + 1], elapsed_ns)
        self.fresh, self.waiting_holds = {}, set()
        return [int(status) for status in statuses]

    def chain(self, rows: list[Transfer], elapsed_ns: int) -> list[int]:
        """One transfer, or several that happen together or not at all."""
        told = [self.told(row) or 0 for row in rows]
        if all(status == Status.exists for status in told):
            return [Status.exists] * len(rows)
        if failing := next((place for place, status in enumerate(told) if status), -1) + 1:
            statuses = [int(Status.linked_event_failed)] * len(rows)
            statuses[failing - 1] = told[failing - 1]
            self.note_waiting(rows, statuses[failing - 1])
            return statuses
        before = deepcopy((self.accounts, self.record, self.holds, self.ended, self.reversed))
        self.chains += 1
        changed: list[str] = []
        for place, row in enumerate(rows):
            known, status = self.judge(row, elapsed_ns)
            if status:
                self.accounts, self.record, self.holds, self.ended, self.reversed = before
                self.fresh = {id: chain for id, chain in self.fresh.items() if chain != self.chains}
                if not known and Status(status).is_recorded:
                    self.record[row.id] = (status, row)
                self.note_waiting(rows, status)
                return [status if other == place else Status.linked_event_failed for other in range(len(rows))]
            row = replace(row, amount=self.moves)
            self.post(row, elapsed_ns)
            self.record[row.id] = (0, row)
            self.fresh[row.id] = self.chains
            changed += [row.debit] if row.flags & (Flag.hold | Flag.void) else [row.debit, row.credit]
        self.touch(*changed)
        return [0] * len(rows)

    def note_waiting(self, rows: list[Transfer], status: int) -> None:
        """Of a transaction that may be tried again, whoever names its holds waits, too."""
        if status in (Status.undecided, Status.retry):
            self.waiting_holds |= {row.id for row in rows if row.flags & Flag.hold}

    def touch(self, *names: str) -> None:
        """The entry at hand has changed these accounts, for whoever comes behind."""
        for name in names:
            self.accounts[name].version = self.index

    def judge(self, row: Transfer, elapsed_ns: int) -> tuple[bool, int]:
        """Whether the id was known before, and the status."""
        self.moves = 0 if row.flags & BALANCING else row.amount
        if (told := self.told(row)) is not None:
            return True, told
        debit_account, credit_account = self.accounts.get(row.debit), self.accounts.get(row.credit)
        reversing = reversal_status(self, row) if row.flags & Flag.reversal and row.side & 2 else 0
        if reversing not in (0, Status.undecided):
            return False, reversing
        wanted = row.currency
        accounts = (debit_account if row.side & 1 else None, credit_account if row.side & 2 else None)
        if wanted and any(account and account.currency != wanted for account in accounts):
            return False, Status.transfer_must_have_the_same_currency_as_accounts
        reasons: list[int] = [reversing]
        is_void = bool(row.flags & Flag.void)
        if row.side & 1 and debit_account is None:
            return False, Status.debit_account_not_found
        if row.side & 1 and debit_account and row.if_version:
            if debit_account.version != row.if_version:
                return False, Status.version_conflict
            incoming, unsettled, *_ = self.own.get(row.debit, [0, 0, 0, 0])
            if debit_account.incoming - incoming or debit_account.unsettled - unsettled:
                reasons.append(Status.undecided)
        if row.side & 2 and credit_account is None and not (is_void and row.side & 1):
            return False, Status.credit_account_not_found
        debit_account = debit_account if row.side & 1 else None
        credit_account = credit_account if row.side & 2 else None
        if debit_account and credit_account and debit_account.currency != credit_account.currency:
            return False, Status.accounts_must_have_the_same_currency
        if debit_account and row.flags & (Flag.capture | Flag.void):
            reasons.append(self.hold_status(row, elapsed_ns))
        if not is_void:
            for account, closed, frozen in (
                (debit_account, Status.debit_account_closed, Status.debit_account_frozen),
                (credit_account, Status.credit_account_closed, Status.credit_account_frozen),
            ):
                if account and account.state:
                    reasons.append(closed if account.state == 2 else frozen)
            if row.flags & BALANCING:
                if not any(0 < reason < Status.undecided for reason in reasons):
                    reasons.append(balance(self, row, debit_account, credit_account))
                if any(0 < reason < Status.undecided for reason in reasons) or reasons[-1]:
                    return False, min(int(reason) for reason in reasons if reason)
                row = replace(row, amount=self.moves)
            if debit_account and not row.flags & Flag.capture:
                reasons.append(self.debit_status(row, debit_account))
            if credit_account and not row.flags & Flag.hold:
                reasons.append(self.credit_status(row, credit_account))
        return False, min((int(reason) for reason in reasons if reason), default=0)

    def told(self, row: Transfer) -> int | None:
        """What is said of the row without a look at the books."""
        return self.shape(row) or (self.known(row) if row.side & 1 else None)

    def shape(self, row: Transfer) -> int:
        """Wrong form."""
        kinds = row.flags & (Flag.hold | Flag.capture | Flag.void | Flag.reversal)
        ends = bool(row.flags & (Flag.capture | Flag.void | Flag.reversal))
        checks = (
            (row.id == 0, Status.id_must_not_be_zero),
            (row.flags & ~255, Status.reserved_flag),
            (
                row.flags & Flag.balancing_debit and row.flags & (Flag.void | Flag.reversal),
                Status.flags_are_mutually_exclusive,
            ),
            (row.flags & Flag.balancing_credit and kinds, Status.flags_are_mutually_exclusive),
            (row.flags & Flag.final and not row.flags & Flag.capture, Status.final_reserved_for_capture),
            (kinds & (kinds - 1), Status.flags_are_mutually_exclusive),
            (row.ttl and not row.flags & Flag.hold, Status.ttl_reserved_for_hold),
            (not row.ttl and row.flags & Flag.hold, Status.hold_must_have_ttl),
            (row.hold_id and not ends, Status.hold_id_must_be_zero),
            (not row.hold_id and ends, Status.hold_id_must_not_be_zero),
            (ends and row.hold_id == row.id, Status.hold_id_must_be_different),
            (row.amount == 0 and not row.flags & (Flag.void | BALANCING), Status.amount_must_not_be_zero),
            (row.amount < 0, Status.amount_must_not_be_negative),
            (row.debit == row.credit, Status.accounts_must_be_different),
        )
        return min((int(status) for wrong, status in checks if wrong), default=0)

    def known(self, row: Transfer) -> int | None:
        """What a repeated id is answered."""
        if row.id in self.record:
            status, old = self.record[row.id]
            if status:
                return status
            return self.difference(old, row)
        if row.id in self.current:
            return self.difference(self.current[row.id], row)
        return int(Status.undecided) if self.waits(row.id) else None

    def difference(self, old: Transfer, row: Transfer) -> int:
        """What the same id in another row is answered."""
        if (different := difference(old, row)) != Status.exists:
            return different
        is_other = row.currency not in ("", self.accounts[old.debit].currency)
        if is_other:
            return int(Status.exists_with_different_currency)
        if old.metadata != row.metadata:
            return int(Status.exists_with_different_metadata)
        return int(Status.exists_with_different_reverses if old.hold_id != row.hold_id else Status.exists)

    def waits(self, id: int, besides: int = -1) -> bool:
        """Whether an open round besides that one will decide about the id."""
        rounds = (legs for round_id, legs in self.rounds.items() if round_id != besides)
        return any(leg.id == id and leg.side & 1 and not known for legs in rounds for leg, known, _, _ in legs)

    def hold_status(self, row: Transfer, elapsed_ns: int) -> int:
        """Whether the hold that the row names allows it."""
        hold = self.holds.get(row.hold_id)
        if hold is None:
            beside = [leg for leg in self.preparing_rows if leg.id == row.hold_id and leg.number != row.number]
            opens = any(leg.flags & Flag.hold and leg.side & 1 and not self.shape(leg) for leg in beside)
            opens = opens or row.hold_id in self.waiting_holds
            is_opening = row.hold_id not in self.ended and (opens or self.waits(row.hold_id, self.preparing))
            return Status.undecided if is_opening else self.ended.get(row.hold_id, int(Status.hold_not_found))
        if hold["debit"] != row.debit:
            return Status.hold_has_different_debit_account
        if hold["credit"] != row.credit:
            return Status.hold_has_different_credit_account
        if hold["expired"] or hold["expiry_ns"] <= elapsed_ns:
            return Status.hold_expired
        captured, ended = self.own_holds.get(row.hold_id, (0, 0))
        others = hold["undecided"] - captured
        if ended:
            return ended
        if hold["voiding"]:
            return Status.undecided
        if captured and not hold["rest"] + others:
            return Status.hold_already_captured
        if row.flags & Flag.void and row.amount not in (0, hold["amount"]):
            return Status.hold_has_different_amount
        if row.flags & Flag.void:
            return Status.undecided if others else 0
        if row.flags & BALANCING:
            return Status.undecided if others and row.flags & Flag.final else 0
        if row.amount > hold["rest"]:
            return Status.undecided if row.amount <= hold["rest"] + others else Status.exceeds_hold_amount
        return Status.undecided if others and row.flags & Flag.final else 0

    def debit_status(self, row: Transfer, debit_account: Account) -> int:
        """Whether the money is there."""
        incoming, unsettled, _, returning = self.own.get(row.debit, [0, 0, 0, 0])
        free = debit_account.posted - debit_account.held - row.amount
        gained = incoming + returning
        others = debit_account.incoming - incoming + debit_account.unsettled - unsettled
        if free >= -BOUND and free + gained >= debit_account.minimum:
            return 0
        if others and free + gained + others >= debit_account.minimum:
            return Status.undecided
        return Status.overflows_debit_account if free < -BOUND else Status.insufficient_funds

    def credit_status(self, row: Transfer, credit_account: Account) -> int:
        """Whether there is room for the money."""
        incoming, unsettled, leaving, _ = self.own.get(row.credit, [0, 0, 0, 0])
        full = credit_account.posted + credit_account.incoming + row.amount
        others = credit_account.incoming - incoming + credit_account.unsettled - unsettled
        if full < BOUND and full - leaving <= credit_account.maximum:
            return 0
        if others and full - leaving - others <= credit_account.maximum:
            return Status.undecided
        return Status.overflows_credit_account if full >= BOUND else Status.exceeds_maximum_balance

    def post(self, row: Transfer, elapsed_ns: int) -> None:
        """Moves the money."""
        debit_account = self.accounts[row.debit]
        if row.flags & Flag.void:
            debit_account.held -= self.holds.pop(row.hold_id)["rest"]
            self.ended[row.hold_id] = Status.hold_already_voided
            return
        if row.flags & Flag.hold:
            debit_account.held += row.amount
            self.open_hold(row, elapsed_ns)
            return
        credit_account = self.accounts[row.credit]
        debit_account.posted -= row.amount
        credit_account.posted += row.amount
        if row.flags & Flag.reversal:
            self.reversed[row.hold_id] = self.reversed.get(row.hold_id, 0) + row.amount
        if row.flags & Flag.capture:
            debit_account.held -= row.amount
            self.holds[row.hold_id]["rest"] -= row.amount
            if row.flags & Flag.final:
                debit_account.held -= self.holds.pop(row.hold_id)["rest"]
                self.ended[row.hold_id] = Status.hold_already_captured
            else:
                self.close_hold(row.hold_id)

    def open_hold(self, row: Transfer, elapsed_ns: int) -> None:
        """Opens a hold."""
        self.holds[row.id] = {
            "debit": row.debit, "credit": row.credit, "amount": row.amount, "rest": row.amount, "undecided": 0, "voiding": 0,
            "expired": False, "expiry_ns": elapsed_ns + row.ttl * 10**9,
        }  # fmt: skip

    def close_hold(self, id: int) -> None:
        """Ends a hold that is used up, or whose time passed during a round."""
        hold = self.holds[id]
        if hold["undecided"] or hold["voiding"]:
            return
        if not hold["rest"] or hold["expired"]:
            if hold["rest"]:
                self.touch(hold["debit"])
            self.accounts[hold["debit"]].held -= hold["rest"]
            self.ended[id] = Status.hold_expired if hold["rest"] else Status.hold_already_captured
            del self.holds[id]

    def expire(self, elapsed_ns: int, index: int) -> None:
        """Ends holds whose time has passed."""
        self.index = index
        for id in sorted(self.holds):
            if self.holds[id]["expiry_ns"] <= elapsed_ns:
                self.holds[id]["expired"] = True
                self.close_hold(id)

    def prepare(self, round_id: int, rows: list[Transfer], count: int, elapsed_ns: int) -> list[int]:
        """Reserves a round's legs; a vote a transaction."""
        votes = [0] * count
        legs = self.rounds.setdefault(round_id, [])
        self.preparing, self.preparing_rows = round_id, rows
        for number in sorted({row.number for row in rows}):
            before = deepcopy((self.accounts, self.holds))
            self.own, self.own_holds, self.own_reversed, self.current = {}, {}, {}, {}
            members = [row for row in rows if row.number == number]
            start = len(legs)
            told = [self.told(row) or 0 for row in members] if len(members) > 1 else [0]
            votes[number] = next((status for status in told if status), 0)
            for row, before_it in zip(members, told, strict=True):
                known, status = (before_it > 0, 0) if votes[number] else self.judge(row, elapsed_ns)
                if row.side & 1 and not known:
                    self.current[row.id] = row
                if status and not votes[number]:
                    votes[number] = status
                    self.accounts, self.holds = before
                moved = self.reserve(replace(row, amount=self.moves)) if not votes[number] else 0
                legs.append((row, known, False, moved))
            legs[start:] = [(row, known, not votes[number], moved) for row, known, _, moved in legs[start:]]
        self.own, self.own_holds, self.own_reversed, self.current, self.preparing = {}, {}, {}, {}, -1
        self.preparing_rows = []
        return votes

    def reserve(self, row: Transfer) -> int:
        """Sets aside what a leg needs; the amount."""
        amount = row.amount
        if row.side & 1:
            debit_account = self.accounts[row.debit]
            captured, _ = self.own_holds.get(row.hold_id, (0, 0))
            returning = 0
            if row.flags & Flag.void:
                self.own_holds[row.hold_id] = captured, int(Status.hold_already_voided)
                amount = returning = self.holds[row.hold_id]["voiding"] = self.holds[row.hold_id]["rest"]
            elif row.flags & Flag.capture:
                hold = self.holds[row.hold_id]
                hold["rest"] -= amount
                hold["undecided"] += amount
                if row.flags & Flag.final:
                    returning = hold["voiding"] = hold["rest"]
                ended = int(Status.hold_already_captured) if returning else 0
                self.own_holds[row.hold_id] = captured + amount, ended
            else:
                debit_account.held += amount
            reserved = returning if row.flags & Flag.void else amount + returning
            debit_account.unsettled += reserved
            own = self.own.setdefault(row.debit, [0, 0, 0, 0])
            own[1] += reserved
            own[2] += 0 if row.flags & (Flag.hold | Flag.void) else amount
            own[3] += returning
        if row.side & 2 and not row.flags & (Flag.hold | Flag.void):
            self.accounts[row.credit].incoming += amount
            if row.flags & Flag.reversal:
                self.own_reversed[row.hold_id] = self.own_reversed.get(row.hold_id, 0) + amount
            self.own.setdefault(row.credit, [0, 0, 0, 0])[0] += amount
        return amount

    def decide(
        self, round_id: int, statuses: list[int], failed: list[Transfer | None], elapsed_ns: int, index: int
    ) -> None:
        """Carries out or releases; a transaction fails at one of its rows, perhaps of another shard (None)."""
        self.index = index
        for row, known, reserved, amount in self.rounds.pop(round_id, []):
            status = statuses[row.number]
            if reserved:
                self.settle(replace(row, amount=amount), amount, status == 0, elapsed_ns)
            is_told = not status or failed[row.number] is row
            if row.side & 1 and not known and is_told and Status(status).is_recorded:
                self.record[row.id] = (status, row if status else replace(row, amount=amount))

    def settle(self, row: Transfer, amount: int, happens: bool, elapsed_ns: int) -> None:
        """One reserved leg."""
        if happens and row.side & 1:
            self.touch(row.debit)
        if happens and row.side & 2 and not row.flags & (Flag.hold | Flag.void):
            self.touch(row.credit)
        if row.side & 2 and not row.flags & (Flag.hold | Flag.void):
            self.accounts[row.credit].incoming -= amount
            self.accounts[row.credit].posted += amount if happens else 0
            if row.flags & Flag.reversal and happens:
                self.reversed[row.hold_id] = self.reversed.get(row.hold_id, 0) + amount
        if not row.side & 1:
            return
        debit_account = self.accounts[row.debit]
        debit_account.unsettled -= amount
        if row.flags & Flag.void:
            hold = self.holds[row.hold_id]
            self.end_voiding(row, hold, debit_account, Status.hold_already_voided, happens)
        elif row.flags & Flag.capture:
            hold = self.holds[row.hold_id]
            hold["undecided"] -= amount
            hold["rest"] += 0 if happens else amount
            debit_account.posted -= amount if happens else 0
            debit_account.held -= amount if happens else 0
            if row.flags & Flag.final and hold["voiding"]:
                debit_account.unsettled -= hold["voiding"]
                self.end_voiding(row, hold, debit_account, Status.hold_already_captured, happens)
            else:
                self.close_hold(row.hold_id)
        else:
            debit_account.posted -= amount if happens and not row.flags & Flag.hold else 0
            debit_account.held -= 0 if happens and row.flags & Flag.hold else amount
            if happens and row.flags & Flag.hold:
                self.open_hold(row, elapsed_ns)

    def end_voiding(
        self, row: Transfer, hold: dict[str, Any], debit_account: Account, ended: Status, happens: bool
    ) -> None:
        """What is left of the hold goes back, or stays."""
        hold["voiding"] = 0
        if happens:
            debit_account.held -= hold["rest"]
            del self.holds[row.hold_id]
            self.ended[row.hold_id] = ended
        else:
            self.close_hold(row.hold_id)


def difference(old: Transfer, row: Transfer) -> int:
    """Which field differs, or that none does."""
    for name, different in (
        ("flags", Status.exists_with_different_flags), ("hold_id", Status.exists_with_different_hold_id),
        ("debit", Status.exists_with_different_debit_account),
        ("credit", Status.exists_with_different_credit_account),
        ("amount", Status.exists_with_different_amount), ("code", Status.exists_with_different_code),
        ("reference", Status.exists_with_different_reference), ("ttl", Status.exists_with_different_ttl),
    ):  # fmt: skip
        ignored = bool(
            (name == "amount" and row.flags & Flag.void) or (name == "hold_id" and row.flags & Flag.reversal)
        )
        if name == "amount" and row.flags & BALANCING:
            ignored = not row.amount or old.amount <= row.amount
        if getattr(old, name) != getattr(row, name) and not ignored:
            return int(different)
    return int(Status.exists)
