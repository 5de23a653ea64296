"""The ledger as a part of a shard's state machine: every command and question goes through here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.core.ledger import checkpoint, queries, rounds
from node.core.ledger.account_commands import apply_accounts, apply_share, resolve_accounts
from node.core.ledger.batch import Batch
from node.core.ledger.books import Books, wide_sum
from node.core.ledger.commands import (
    AccountsCommand,
    CancelCommand,
    FollowCommand,
    OutcomeAnswer,
    ShareCommand,
    UpdateAnswer,
    UpdateCommand,
)
from node.core.ledger.holds import EndedHold
from node.core.ledger.legs import LegsDocket
from node.core.ledger.limits import CURRENCY_MASK, currency_text
from node.core.ledger.operations import OPERATIONS
from node.core.ledger.queries import answer_accounts, answer_history, answer_transfer
from node.core.ledger.questions import AccountsQuestion
from node.core.ledger.record import answer_record
from node.core.ledger.resolve import resolve_legs, resolve_transfers
from node.core.ledger.settling import apply_cancel, apply_expire, resolve_cancel
from node.core.ledger.transfers import TransfersDocket
from node.core.ledger.updates import apply_follow, apply_update
from node.core.machine.docket import Int32s, Statuses
from node.core.machine.facts import Fact, HoldEnded
from node.core.machine.operation import Body
from node.core.machine.part import NO_ROWS, Alone, Answer, Asking, At, BasePart, Change, Judged, Loaded, Need, Rows
from node.core.machine.questions import PartTrace
from protocol.errors import ProtocolError
from protocol.events import EventKind
from protocol.status import Status

DUE: Body = ["expire"]
END_REASONS = {
    Status.hold_already_captured: "captured",
    Status.hold_already_voided: "voided",
    Status.hold_expired: "expired",
}
"""Of a hold, by what a later capture is answered."""


class Ledger(BasePart):
    """Accounts, transfers, holds and their record for one shard. Implements `Part`."""

    name = "ledger"
    tables: tuple[str, ...] = (*checkpoint.LIVE_TABLES, *checkpoint.ARCHIVE_TABLES)
    archive_tables: tuple[str, ...] = checkpoint.ARCHIVE_TABLES
    sequence_tables: tuple[str, ...] = checkpoint.SEQUENCE_TABLES
    operations = OPERATIONS
    kinds: tuple[EventKind, ...] = (EventKind.accounts, EventKind.holds)
    record_kinds: tuple[EventKind, ...] = (EventKind.transfers, EventKind.holds)

    def __init__(self) -> None:
        self.books = Books()
        self._saver = checkpoint.Saver()

    # -- commands -------------------------------------------------------------------------------------------------

    def resolve(self, body: Body, asking: Asking) -> Alone | Judged | Need:
        """A client's command as it is to be logged. Raises ProtocolError for one that has the wrong form."""
        match body:
            case ["transfers", _]:
                return self._judged(resolve_transfers(self.books, body, asking.loaded))
            case ["legs", _, _, _, _, *_]:
                return self._judged(resolve_legs(self.books, body, asking.loaded))
            case ["accounts", _]:
                return Alone(resolve_accounts(AccountsCommand.asked_in(body)).pack())
            case ["share", *_]:
                return Alone(ShareCommand.unpack(body).pack())
            case ["update" | "update_share", *_]:
                return Alone(UpdateCommand.unpack(body).pack())
            case ["follow", *_]:
                return Alone(FollowCommand.unpack(body).pack())
            case ["cancel", *_]:
                cancel = resolve_cancel(self.books, CancelCommand.asked_in(body), asking.loaded)
                return cancel if isinstance(cancel, Need) else Alone(cancel.pack())
            case ["expire"]:
                return Alone(body)
            case _:
                known = "transfers, legs, accounts, share, update, update_share, follow, cancel or expire"
                raise ProtocolError(f"ledger: expected {known}")

    def _judged(self, resolved: Batch | Need) -> Judged | Need:
        if isinstance(resolved, Need):
            return resolved
        return Judged(((self.name, resolved.logged()),), resolved.payments, resolved.transaction_count())

    def apply(self, body: Body, at: At) -> Body:
        """Carries out a logged command."""
        answer = self._apply(body, at)
        self.books.seal()
        return answer

    def _apply(self, body: Body, at: At) -> Body:
        match body[0]:
            case "accounts":
                return ["accounts", apply_accounts(self.books, AccountsCommand.unpack(body), at)]
            case "share":
                return ["share", int(apply_share(self.books, ShareCommand.unpack(body), at))]
            case "update" | "update_share":
                return apply_update(self.books, UpdateCommand.unpack(body), at).pack()
            case "follow":
                return ["follow", int(apply_follow(self.books, FollowCommand.unpack(body), at))]
            case "cancel":
                return apply_cancel(self.books, CancelCommand.unpack(body), at).pack()
            case "expire":
                return ["expire", apply_expire(self.books, at)]
            case _:
                raise AssertionError(f"unknown command {body[0]}")

    def open(self, body: Body, at: At, round_id: int | None) -> TransfersDocket | LegsDocket:
        """Transfers of this shard, or legs of a round."""
        batch = Batch.of(body)
        return (
            TransfersDocket(self.books, batch, at) if round_id is None else LegsDocket(self.books, round_id, batch, at)
        )

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """Carries out or releases what the round reserved."""
        rounds.decide(self.books, round_id, statuses, at, failed)
        self.books.seal()

    def take_facts(self) -> Sequence[Fact]:
        """Holds that have ended, accounts that were opened or updated. The record has all else."""
        books = self.books
        if not books.holds.untold and not books.untold:
            return ()
        ended, books.holds.untold = books.holds.untold, []
        others, books.untold = books.untold, []
        return [*others, *map(self._ended, ended)]

    def _ended(self, ended: EndedHold) -> HoldEnded:
        hold, accounts = ended.hold, self.books.accounts
        names = accounts.names
        credit = names[hold.credit] if hold.credit >= 0 else hold.other
        currency = accounts.currency(hold.debit)
        return HoldEnded(hold.id, ended.rest, END_REASONS[ended.status], names[hold.debit], credit, currency)

    def recorded(self) -> int:
        """Rows of the record."""
        return self.books.history.recorded

    def due(self, timestamp_ns: int, elapsed_ns: int) -> Body | None:
        """["expire"] when a hold's time has passed."""
        earliest = self.books.holds.earliest_ns()
        return None if earliest is None or earliest > elapsed_ns else DUE

    # -- questions ------------------------------------------------------------------------------------------------

    def waits(self, answer: Body) -> bool:
        """Also of a single one that was judged: an update, or an id that is to be cancelled."""
        match answer[0]:
            case "outcome":
                return OutcomeAnswer.unpack(answer).waits
            case "update":
                return UpdateAnswer.unpack(answer).waits
            case _:
                return super().waits(answer)

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """Answers from the applied state. `loaded` holds all rows named by the last `Need`."""
        match body:
            case ["accounts", _]:
                return answer_accounts(self.books, AccountsQuestion.unpack(body))
            case ["transfer", _]:
                return answer_transfer(self.books, body, loaded)
            case ["history", _, _, _, _] | ["history", _, _, _, _, _]:
                return answer_history(self.books, body, loaded)
            case ["record", _, _, _, _, _]:
                return answer_record(self.books, body, loaded)
            case ["row", str(account)]:
                return Answer(["row", self.books.accounts.rows.get(account)])
            case _:
                raise ProtocolError("ledger: expected accounts, transfer, history, record or row")

    def trace(self, id: bytes, loaded: Loaded) -> PartTrace | Need:
        """What is known of a transfer."""
        return queries.trace(self.books, id, loaded)

    def open_ids(self, round_id: int) -> bytes:
        """Of the first legs of an open round."""
        return queries.open_ids(self.books, round_id)

    def totals(self) -> Body:
        """`[code, posted, held, incoming, debits ever, credits ever]` a currency, sorted; numbers as text, as 64 bits may not do."""
        accounts = self.books.accounts
        currencies = accounts.currency_and_state[: accounts.count] & CURRENCY_MASK
        rows: Body = []
        for code in np.unique(currencies).tolist():
            here = currencies == code
            columns = (accounts.posted, accounts.held, accounts.incoming)
            sums = [wide_sum(column[: accounts.count][here]) for column in columns]
            rows.append([currency_text(code), *map(str, (*sums, *self.books.turnover.get(code, (0, 0))))])
        return sorted(rows)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def digest(self, seed: int) -> int:
        """64 bits over all state that replicas share."""
        return checkpoint.digest(self.books, seed)

    def saved(self) -> None:
        """The last checkpoint can be read: what it archived need not stay in memory."""
        self._saver.forget_saved(self.books)

    def changes(self) -> list[Change]:
        """What has changed since the last call."""
        return self._saver.changes(self.books)

    def restore(self, rows: Rows) -> None:
        """Loads a checkpoint into a fresh ledger. Reads no archive table."""
        checkpoint.restore(self.books, rows)
        self._saver.saved_segments = self.books.history.sealed
        self._saver.saved_retired = len(self.books.history.directory)
