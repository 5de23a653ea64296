"""What the ledger serves: shapes of the requests, where they go, and what their answers weigh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from node.core.machine.operation import Body, Merging, Served, after_first, expect, is_id
from protocol.answers import status_of
from protocol.columns import SEPARATOR, Flag, Transfers
from protocol.errors import ProtocolError
from protocol.metadata import check as check_metadata
from protocol.operations import Operation
from protocol.placement import SHARDS_MAX
from protocol.rows import TransferRow
from protocol.status import ACCOUNT_ID_BYTES_MAX, BALANCES_MAX, HISTORY_ROWS_MAX, TRANSFERS_MAX, AccountStatus

LEDGER = "ledger"
ACCOUNT_BYTES = 1_280  # a row of an account at its longest: id, owner, metadata and a dozen numbers
ENTRY_BYTES = 592  # a row of history at its longest: two account ids, a reference, metadata and eight numbers
SEARCH_BYTES = 64 << 10  # for which a look into the record counts beside what it finds: segments take their time
SHARDS_ASKED = 4  # for so many searches one that goes through all shards is counted: most look into memory only
LIGHT_ROWS = 64  # accounts that are read at once; more take longer than a payment does
_EXPECTED_IDS = f"account ids of at most {ACCOUNT_ID_BYTES_MAX} bytes"


def _is_limit(value: object) -> bool:
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)


def is_version(value: object) -> bool:
    """A log index, or 0 for none."""
    return type(value) is int and 0 <= value < 2**64


LIMIT = (_is_limit, "an integer of minor units, or null")
FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "minimum": LIMIT,
    "maximum": LIMIT,
    "status": (lambda value: type(value) is int and 0 <= value <= 2, "0, 1 or 2"),
    "owner": (lambda value: type(value) is str, "text"),
    "metadata": (lambda value: type(value) is bytes, "bytes"),
    "if_version": (is_version, "an integer of 0 to 2^64 - 1"),
}
"""What an update may change: which values, and in words."""


@dataclass(frozen=True, slots=True)
class Update:
    """A change of an account."""

    account: str
    fields: dict[str, Any]  # some of FIELDS, checked
    id: bytes
    after: bytes | None  # id of the update that it follows; None where it names a version

    def command(self) -> Body:
        """As the ledger takes it."""
        return ["update", self.account, self.fields, self.id, self.after]


@dataclass(frozen=True, slots=True)
class TransferOf:
    """A transfer by its id, in the shard of a debit account."""

    id: bytes
    debit: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of an account's history."""

    account: str
    cursor: int | None  # of an earlier page
    rows: int
    newest_first: bool
    group: int | None  # whose share of a split account is meant; None for any other account

    def question(self) -> Body:
        """As the ledger takes it."""
        return ["history", self.account, self.cursor, self.rows, self.newest_first]


def check_accounts(body: Body) -> Body:
    """`[[id, currency, minimum, maximum, owner, metadata], ...]`."""
    expect(1 <= len(body) <= TRANSFERS_MAX, f"1 to {TRANSFERS_MAX} accounts")
    for row in body:
        expect(type(row) is list and len(row) == 6, "[id, currency, minimum, maximum, owner, metadata] an account")
        identifier, currency, minimum, maximum, owner, metadata = row
        expect(all(type(text) is str for text in (identifier, currency, owner)), "id, currency and owner as text")
        expect(_is_limit(minimum) and _is_limit(maximum), "limits as integers of minor units, or null")
        expect(type(metadata) is bytes, "metadata as bytes")
    return body


def decode_update(body: Body) -> Update:
    """`[account id, {field: value}, id, id of the update that it follows]`."""
    expect(len(body) == 4, "[account id, {field: value}, id, after]")
    account, fields, id, after = body
    expect(type(account) is str and type(fields) is dict, "[account id, {field: value}, id, after]")
    expect(is_id(id) and any(id), "an id of 16 bytes that are not all 0, another one for each update")
    is_after = after == b"" or is_id(after)
    expect(is_after or (after is None and bool(fields.get("if_version"))), "the id that it follows, or a version")
    check_fields(fields)
    return Update(account, fields, id, after)


def check_fields(fields: dict[str, Any]) -> None:
    """Raises ProtocolError, saying what was expected, for a field that no update has, or a value that none can have."""
    for name, value in fields.items():
        expect(name in FIELDS, f"a field of {', '.join(FIELDS)}, not {name}")
        holds, expected = FIELDS[name]
        expect(holds(value), f"{name} as {expected}")


def decode_transfers(body: Body) -> Transfers:
    """`Transfers.pack()`. Names that no account can have would be kept in the record, so their length is bounded, if only in sum."""
    batch = Transfers.unpack(body)
    short = len(batch) * (ACCOUNT_ID_BYTES_MAX + 1)
    expect(len(batch.debit) < short and len(batch.credit) < short, _EXPECTED_IDS)
    for text in dict.fromkeys(batch.metadata.split(SEPARATOR)) if batch.metadata else ():
        check_metadata(text)
    return batch


def decode_outcome(body: Body) -> TransferOf:
    """`[id, debit account]`."""
    match body:
        case [bytes(id), str(debit)] if is_id(id):
            return TransferOf(id, debit)
    raise ProtocolError("expected [id of 16 bytes, debit account]")


def check_balances(body: Body) -> list[str]:
    """`[account id, ...]`, each read by itself, so that more of them are several requests."""
    return check_ids(body, BALANCES_MAX)


def check_ids(body: Body, most: int) -> list[str]:
    """`[account id, ...]`, `most` of them at most."""
    expect(1 <= len(body) <= most, f"1 to {most} account ids")
    expect(all(type(identifier) is str for identifier in body), "account ids as text")
    return body


def decode_history(body: Body) -> Page:
    """`[account id, cursor or null, rows, newest first]`, and the group of a split account's share."""
    expect(len(body) in (4, 5), "[account id, cursor, rows, newest first]")
    account, cursor, rows, newest_first, *group = body
    expect(type(account) is str, "[account id, cursor, rows, newest first]")
    expect(all(type(number) is int and 0 < number <= SHARDS_MAX for number in group), "the group of a share")
    expect(cursor is None or (type(cursor) is int and cursor >= 0), "a cursor from an earlier page, or null")
    expect(type(rows) is int and 1 <= rows <= HISTORY_ROWS_MAX, f"1 to {HISTORY_ROWS_MAX} rows")
    expect(type(newest_first) is bool, "newest first as true or false")
    return Page(account, cursor, rows, newest_first, group[0] if group else None)


def decode_find(body: Body) -> bytes:
    """`[id]` of a transfer whose debit account is not known."""
    match body:
        case [bytes(id)] if is_id(id):
            return id
    raise ProtocolError("expected [id of 16 bytes]")


def bytes_of_accounts(body: Body) -> int:
    """What an answer with as many accounts may weigh."""
    return ACCOUNT_BYTES * len(body)


def _bytes_of_page(body: Body) -> int:
    rows = body[2] if len(body) > 2 and type(body[2]) is int else 1
    return SEARCH_BYTES + ENTRY_BYTES * max(1, min(rows, HISTORY_ROWS_MAX))


def _both_sides(batch: Transfers) -> list[str]:
    return [*batch.debits(), *batch.credits()]


def _first_found(answers: Sequence[Body]) -> Body:
    """What happened comes before what was refused or cancelled under the same id in another shard."""
    found = [answer for answer in answers if answer != [None]]
    return min(found, key=lambda answer: TransferRow(*answer[0]).status, default=[None])


def _batch(command: Body) -> Transfers:
    """Of a command that has been made here: it holds the batch as it was decoded."""
    _, batch = command
    assert isinstance(batch, Transfers)
    return batch


def _ends_in_chain(command: Body) -> bool:
    flags = _batch(command).flags
    return bool(flags) and bool(int.from_bytes(flags[-2:], "little") & Flag.linked)


def _merge(commands: Sequence[Body]) -> Body:
    return ["transfers", Transfers.concatenate([_batch(command) for command in commands])]


OPERATIONS: tuple[Served[Any], ...] = (
    Served(
        Operation.accounts, LEDGER, True, check_accounts, lambda rows: [id for id, *_ in rows],
        lambda rows: ["accounts", rows], lambda answer: list(answer[1]), is_work=True,
    ),
    Served(
        Operation.update, LEDGER, True, decode_update, lambda asked: [asked.account], Update.command, after_first,
        is_work=True, is_conflict=lambda answer: status_of(answer) == AccountStatus.version_conflict,
    ),
    Served(
        Operation.transfers, LEDGER, True, decode_transfers, _both_sides, lambda batch: ["transfers", batch], after_first,
        is_work=True, size=len, merging=Merging(lambda command: _batch(command).length(), _ends_in_chain, _merge),
    ),
    Served(
        Operation.outcome, LEDGER, True, decode_outcome, lambda asked: [asked.debit],
        lambda asked: ["cancel", asked.id, asked.debit], after_first, is_work=True,
    ),
    Served(
        Operation.balances, LEDGER, False, check_balances, lambda ids: ids, lambda ids: ["accounts", ids],
        lambda answer: list(answer[1]), answer_bytes=bytes_of_accounts, is_heavy=lambda ids: len(ids) > LIGHT_ROWS,
    ),
    Served(
        Operation.history, LEDGER, False, decode_history, lambda asked: [asked.account] if asked.group is None else [],
        Page.question, after_first, answer_bytes=_bytes_of_page, is_heavy=lambda _: True,
        group=lambda asked: asked.group,
    ),
    Served(
        Operation.transfer, LEDGER, False, decode_outcome, lambda asked: [asked.debit], lambda asked: ["transfer", asked.id],
        after_first, answer_bytes=lambda _: SEARCH_BYTES,
    ),
    Served(
        Operation.find_by_id, LEDGER, False, decode_find, lambda _: [], lambda id: ["transfer", id], after_first,
        answer_bytes=lambda _: SHARDS_ASKED * SEARCH_BYTES, merge_all=_first_found,
    ),
)  # fmt: skip
