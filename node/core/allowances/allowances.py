"""Allowances as a part of a shard's state machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.core.allowances.columns import NONE, PAGES, TERMS, Columns, Positions, Terms
from node.core.allowances.commands import DayEnd, RenewCommand, SetCommand, pack_days, unpack_days
from node.core.allowances.counted import HOLDS, ROUNDS, Counted, Pending
from node.core.allowances.days import end_after_whole_days_ns, end_of_day_ns, find_zone
from node.core.allowances.docket import AllowancesDocket, ending_rows, find_counting
from node.core.allowances.facts import AllowanceSet
from node.core.allowances.operations import OPERATIONS
from node.core.machine import (
    NO_ROWS,
    Alone,
    Answer,
    Asking,
    At,
    BasePart,
    Body,
    Change,
    Docket,
    Fact,
    HoldEnded,
    Int32s,
    Judged,
    Loaded,
    Need,
    Payments,
    Rows,
    Statuses,
    digest_of,
)
from protocol.errors import ProtocolError
from protocol.events import EventKind
from protocol.requests import SetAllowanceRequest
from protocol.status import AMOUNT_MAX, AllowanceStatus

RENEWED_PER_ENTRY_MAX = 1_024  # days that begin in one entry: a millisecond of every replica
LEDGER = "ledger"


class Allowances(BasePart):
    """See the package."""

    name = "allowances"
    tables: tuple[str, ...] = (TERMS, PAGES, ROUNDS, HOLDS)
    operations = OPERATIONS
    kinds: tuple[EventKind, ...] = (EventKind.allowances,)

    def __init__(self) -> None:
        self._columns = Columns()
        self._pending = Pending(self._columns)
        self._untold: list[Fact] = []

    # -- at the leader --------------------------------------------------------------------------------------------

    def resolve(self, body: Body, asking: Asking) -> Alone | Judged | Need:
        """A change, or the days that are over. Raises ProtocolError for one that has the wrong form."""
        match body:
            case ["set", *_]:
                return Alone(self._look_up(SetCommand.asked_in(body), asking).pack())
            case ["renew"]:
                ended = self._columns.ended(asking.now_ns)[:RENEWED_PER_ENTRY_MAX]
                return Alone(RenewCommand(self._following_days(ended, asking)).pack())
            case _:
                raise ProtocolError("allowances: expected set or renew")

    def _look_up(self, asked: SetAllowanceRequest, asking: Asking) -> SetCommand:
        found = asking.ask(LEDGER, ["row", asked.account])
        assert isinstance(found, Answer), "accounts are in memory"
        _, row = found.body
        known = find_zone(asked.zone)
        status = AllowanceStatus.set
        if row is None:
            status = AllowanceStatus.account_not_found
        elif asked.amount is not None and not 0 <= asked.amount <= AMOUNT_MAX:
            status = AllowanceStatus.amount_out_of_range
        elif known is None:
            status = AllowanceStatus.time_zone_unknown
        return SetCommand(asked, row, 0 if known is None else end_of_day_ns(known, asking.now_ns), status)

    def _following_days(self, allowances: Positions, asking: Asking) -> list[DayEnd]:
        days: list[DayEnd] = []
        for allowance in allowances.tolist():
            zone = find_zone(self._columns.terms[allowance].zone)
            if zone is None:
                ends_ns = end_after_whole_days_ns(self._columns.until_ns.item(allowance), asking.now_ns)
            else:
                ends_ns = end_of_day_ns(zone, asking.now_ns)
            days.append(DayEnd(allowance, ends_ns))
        return days

    def joins(self) -> bool:
        """As soon as there is an allowance."""
        return self._columns.count > 0

    def accompany(self, payments: Payments, asking: Asking) -> Body | None:
        """The days that begin with these payments."""
        if self._columns.earliest_ns() > asking.now_ns:
            return None
        allowances = np.unique(find_counting(self._columns, payments).of)
        over = allowances[self._columns.until_ns[allowances] <= asking.now_ns]
        return pack_days(self._following_days(over, asking)) if len(over) else None

    # -- on every replica -----------------------------------------------------------------------------------------

    def apply(self, body: Body, at: At) -> Body:
        """Carries out a change, or begins days."""
        match body[0]:
            case "set":
                return ["allowance", int(self._set(SetCommand.unpack(body), at))]
            case "renew":
                self._begin_days(RenewCommand.unpack(body).days, at)
                return ["renew"]
            case _:
                raise AssertionError(f"unknown command {body[:1]}")

    def _set(self, change: SetCommand, at: At) -> AllowanceStatus:
        """Once: a repeat of the change that came last is answered as that was, an earlier one conflicts.

        When the day ends was found before this entry was stamped: if it is over by now, the leader is to look again.
        """
        asked, until_ns = change.asked, change.until_ns
        allowance = self._columns.find(asked.account)
        last = b"" if allowance == NONE else self._columns.terms[allowance].last_change
        if asked.id == last:
            return AllowanceStatus.set
        if change.status != AllowanceStatus.set or change.row is None:
            return change.status
        if asked.after != last:
            return AllowanceStatus.version_conflict
        if until_ns <= at.timestamp_ns:
            return AllowanceStatus.retry
        if allowance != NONE:
            self._columns.begin_day(allowance, until_ns, at.timestamp_ns)
            if asked.zone == self._columns.terms[allowance].zone:
                until_ns = self._columns.until_ns.item(allowance)
        terms = Terms(asked.account, change.row, asked.zone, asked.amount is not None, asked.id)
        self._columns.put(terms, asked.amount or 0, until_ns)
        self._untold.append(AllowanceSet(asked.account, asked.amount, asked.zone))
        return AllowanceStatus.set

    def _begin_days(self, days: Sequence[DayEnd], at: At) -> None:
        for day in days:
            self._columns.begin_day(day.allowance, day.until_ns, at.timestamp_ns)

    def join(self, payments: Payments, body: Body | None, at: At, round_id: int | None) -> Docket | None:
        """A say in what leaves accounts with an allowance."""
        if body is not None:
            self._begin_days(unpack_days(body), at)
        counting = find_counting(self._columns, payments)
        ending = ending_rows(self._columns, payments)
        if not len(counting.rows) and (round_id is None or not len(ending)):
            return None
        counted = Counted(self._pending, self._columns, round_id)
        return AllowancesDocket(self._columns, payments, counting, ending, at.timestamp_ns, counted)

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """Reservations become payments, or are given back."""
        self._pending.decide(round_id, statuses)

    def take_facts(self) -> Sequence[Fact]:
        """Allowances that were set or taken back."""
        facts, self._untold = self._untold, []
        return facts

    def observe(self, facts: Sequence[Fact], at: At) -> None:
        """What a hold has left over may be paid out again."""
        if self._pending.has_holds:
            for fact in facts:
                match fact:
                    case HoldEnded(id, rest):
                        self._pending.end(id, rest)

    def waits(self, answer: Body) -> bool:
        """Also a change whose day was over when it came."""
        match answer:
            case ["allowance", status]:
                return bool(status == AllowanceStatus.retry)
            case _:
                return super().waits(answer)

    # -- questions ------------------------------------------------------------------------------------------------

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """An account's allowance."""
        match body:
            case ["allowance", str(account)]:
                return self._answer(self._columns.find(account))
            case _:
                raise ProtocolError("allowances: expected an account id")

    def _answer(self, allowance: int) -> Answer:
        columns = self._columns
        if allowance == NONE:
            return Answer(["allowance", None])
        terms = columns.terms[allowance]
        row = [
            columns.limit.item(allowance) if terms.is_set else None, columns.spent.item(allowance), terms.zone,
            columns.until_ns.item(allowance), terms.last_change,
        ]  # fmt: skip
        is_undecided = bool(columns.reserved[allowance] or columns.ending[allowance])
        return Answer(["allowance", row], is_undecided=is_undecided)

    def due(self, timestamp_ns: int, elapsed_ns: int) -> Body | None:
        """Days begin by an entry."""
        return ["renew"] if self._columns.earliest_ns() <= timestamp_ns else None

    def totals(self) -> Body:
        """How many allowances there are."""
        return [sum(terms.is_set for terms in self._columns.terms)]

    def digest(self, seed: int) -> int:
        """Over everything."""
        return digest_of([self._columns.state(), self._pending.state()], seed)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """What has changed."""
        return [*self._columns.changes(), *self._pending.changes()]

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint into a fresh part."""
        self._columns.restore(rows)
        self._pending.restore(rows)
