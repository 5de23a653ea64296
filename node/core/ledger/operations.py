"""What the ledger serves: shapes of the requests, where they go, and what their answers weigh."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from node.core.machine.operation import Body, Merging, Served, after_first, expect, is_id
from protocol.columns import Flag, Transfers
from protocol.operations import Operation
from protocol.placement import SHARDS_MAX
from protocol.rows import TransferRow
from protocol.status import ACCOUNT_ID_BYTES_MAX, BALANCES_MAX, HISTORY_ROWS_MAX, TRANSFERS_MAX, AccountStatus

LEDGER = "ledger"
ACCOUNT_BYTES = 1_280  # a row of an account at its longest: id, owner, metadata and a dozen numbers
ENTRY_BYTES = 320  # a row of history at its longest: two account ids, a reference and six numbers
SEARCH_BYTES = 64 << 10  # for which a look into the record counts beside what it finds: segments take their time
SHARDS_ASKED = 4  # for so many searches one that goes through all shards is counted: most look into memory only
LIGHT_ROWS = 64  # accounts that are read at once; more take longer than a payment does


def _is_limit(value: object) -> bool:
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)


LIMIT = (_is_limit, "an integer of minor units, or null")
FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "minimum": LIMIT,
    "maximum": LIMIT,
    "status": (lambda value: type(value) is int and 0 <= value <= 2, "0, 1 or 2"),
    "owner": (lambda value: type(value) is str, "text"),
    "metadata": (lambda value: type(value) is bytes, "bytes"),
    "if_version": (lambda value: type(value) is int and 0 <= value < 2**64, "an integer of 0 to 2^64 - 1"),
}
"""What an update may change: which values, and in words."""


def check_accounts(body: Body) -> None:
    """`[[id, currency, minimum, maximum, owner, metadata], ...]`."""
    expect(1 <= len(body) <= TRANSFERS_MAX, f"1 to {TRANSFERS_MAX} accounts")
    for row in body:
        expect(type(row) is list and len(row) == 6, "[id, currency, minimum, maximum, owner, metadata] an account")
        identifier, currency, minimum, maximum, owner, metadata = row
        expect(all(type(text) is str for text in (identifier, currency, owner)), "id, currency and owner as text")
        expect(_is_limit(minimum) and _is_limit(maximum), "limits as integers of minor units, or null")
        expect(type(metadata) is bytes, "metadata as bytes")


def check_split(body: Body) -> None:
    """`[id, currency, minimum, maximum, owner, metadata]`."""
    check_accounts([body])


def check_update(body: Body) -> None:
    """`[account id, {field: value}, id, id of the update that it follows]`."""
    expect(len(body) == 4 and type(body[0]) is str and type(body[1]) is dict, "[account id, {field: value}, id, after]")
    expect(is_id(body[2]) and any(body[2]), "an id of 16 bytes that are not all 0, another one for each update")
    is_after = body[3] == b"" or is_id(body[3])
    expect(is_after or (body[3] is None and bool(body[1].get("if_version"))), "the id that it follows, or a version")
    for name, value in body[1].items():
        expect(name in FIELDS, f"a field of {', '.join(FIELDS)}, not {name}")
        holds, expected = FIELDS[name]
        expect(holds(value), f"{name} as {expected}")


def check_transfers(body: Body) -> None:
    """`Transfers.pack()`. Names that no account can have would be kept in the record, so their length is bounded, if only in sum."""
    batch = Transfers.unpack(body)
    short = len(batch) * (ACCOUNT_ID_BYTES_MAX + 1)
    expected = f"account ids of at most {ACCOUNT_ID_BYTES_MAX} bytes"
    expect(len(batch.debit) < short and len(batch.credit) < short, expected)


def check_outcome(body: Body) -> None:
    """`[id, debit account]`."""
    expect(len(body) == 2 and is_id(body[0]) and type(body[1]) is str, "[id of 16 bytes, debit account]")


def check_balances(body: Body) -> None:
    """`[account id, ...]`, each read by itself, so that more of them are several requests."""
    check_ids(body, BALANCES_MAX)


def check_ids(body: Body, most: int) -> None:
    """`[account id, ...]`, up to so many."""
    expect(1 <= len(body) <= most, f"1 to {most} account ids")
    expect(all(type(identifier) is str for identifier in body), "account ids as text")


def check_history(body: Body) -> None:
    """`[account id, cursor or null, rows, newest first]`, and the group of a split account's part."""
    expect(len(body) in (4, 5) and type(body[0]) is str, "[account id, cursor, rows, newest first]")
    expect(len(body) == 4 or (type(body[4]) is int and 0 < body[4] <= SHARDS_MAX), "the group of a part")
    expect(body[1] is None or (type(body[1]) is int and body[1] >= 0), "a cursor from an earlier page, or null")
    expect(type(body[2]) is int and 1 <= body[2] <= HISTORY_ROWS_MAX, f"1 to {HISTORY_ROWS_MAX} rows")
    expect(type(body[3]) is bool, "newest first as true or false")


def check_find(body: Body) -> None:
    """`[id]` of a transfer whose debit account is not known."""
    expect(len(body) == 1 and is_id(body[0]), "[id of 16 bytes]")


def bytes_of_accounts(body: Body) -> int:
    """What an answer with so many accounts may weigh."""
    return ACCOUNT_BYTES * len(body)


def _bytes_of_page(body: Body) -> int:
    rows = body[2] if len(body) > 2 and type(body[2]) is int else 1
    return SEARCH_BYTES + ENTRY_BYTES * max(1, min(rows, HISTORY_ROWS_MAX))


def _both_sides(body: Body) -> list[str]:
    batch = Transfers.unpack(body)
    return [*batch.debits(), *batch.credits()]


def _first_found(answers: Sequence[Body]) -> Body:
    """What happened comes before what was refused or cancelled under the same id in another shard."""
    found = [answer for answer in answers if answer != [None]]
    return min(found, key=lambda answer: TransferRow(*answer[0]).status, default=[None])


def _length(body: Body) -> int:
    return sum(map(len, body[1]))


def _ends_in_chain(body: Body) -> bool:
    flags: bytes = body[1][4] if len(body[1]) > 4 else b""
    return bool(flags) and bool(int(np.frombuffer(flags[-2:], "<u2")[0]) & Flag.linked)


def _merge(bodies: Sequence[Body]) -> Body:
    return ["transfers", Transfers.concatenate([Transfers.of_checked(body[1]) for body in bodies]).pack()]


OPERATIONS: tuple[Served, ...] = (
    Served(
        Operation.accounts, LEDGER, True, check_accounts, lambda body: [row[0] for row in body],
        lambda body: ["accounts", body], lambda answer: list(answer[1]), is_work=True,
    ),
    Served(
        Operation.update, LEDGER, True, check_update, lambda body: body[:1], lambda body: ["update", *body], after_first,
        is_work=True, is_conflict=lambda answer: bool(answer[0] == AccountStatus.version_conflict),
    ),
    Served(
        Operation.transfers, LEDGER, True, check_transfers, _both_sides, lambda body: ["transfers", body], after_first,
        is_work=True, size=lambda body: len(body[3]) // 8, merging=Merging(_length, _ends_in_chain, _merge),
    ),
    Served(
        Operation.outcome, LEDGER, True, check_outcome, lambda body: body[1:], lambda body: ["cancel", *body], after_first,
        is_work=True,
    ),
    Served(
        Operation.balances, LEDGER, False, check_balances, lambda body: body, lambda body: ["accounts", body],
        lambda answer: list(answer[1]), answer_bytes=bytes_of_accounts, is_heavy=lambda body: len(body) > LIGHT_ROWS,
    ),
    Served(
        Operation.history, LEDGER, False, check_history, lambda body: body[:1] if len(body) == 4 else [],
        lambda body: ["history", *body[:4]], after_first, answer_bytes=_bytes_of_page, is_heavy=lambda _: True,
        group=lambda body: int(body[4]),
    ),
    Served(
        Operation.transfer, LEDGER, False, check_outcome, lambda body: body[1:], lambda body: ["transfer", body[0]],
        after_first, answer_bytes=lambda _: SEARCH_BYTES,
    ),
    Served(
        Operation.find_by_id, LEDGER, False, check_find, lambda _: [], lambda body: ["transfer", body[0]], after_first,
        answer_bytes=lambda _: SHARDS_ASKED * SEARCH_BYTES, merge_all=_first_found,
    ),
)  # fmt: skip
