"""Creating and changing accounts."""

from __future__ import annotations

from typing import Any

from node.core.ledger.books import Books
from node.core.ledger.limits import (
    CURRENCY_MASK,
    METADATA_BYTES_MAX,
    NO_MAXIMUM,
    NO_MINIMUM,
    NOT_HERE,
    OWNER_BYTES_MAX,
    PAGE_ACCOUNTS,
    STATE_SHIFT,
    currency_code,
)  # fmt: skip
from node.core.machine.part import At, Body
from protocol.errors import ProtocolError
from protocol.money import is_currency
from protocol.names import is_shown
from protocol.status import ACCOUNT_ID_BYTES_MAX, TRANSFERS_MAX, AccountState, AccountStatus

FIELDS = ("minimum", "maximum", "owner", "metadata", "status", "if_version")


def resolve_accounts(body: Body) -> Body:
    """["accounts", rows] with the rows' form judged: ["accounts", rows, [position, status, ...]]."""
    rows = body[1]
    if not isinstance(rows, list) or not 1 <= len(rows) <= TRANSFERS_MAX:
        raise ProtocolError(f"accounts: expected 1 to {TRANSFERS_MAX} rows")
    hints: list[int] = []
    for position, row in enumerate(rows):
        if not isinstance(row, (list, tuple)) or len(row) != 6 or not _is_typed(row):
            raise ProtocolError("accounts: expected [id, currency, minimum, maximum, owner, metadata] in each row")
        if status := _form_status(*row):
            hints += (position, int(status))
    return ["accounts", rows, hints]


def _is_typed(row: Any) -> bool:
    id, currency, minimum, maximum, owner, metadata = row
    texts = isinstance(id, str) and isinstance(currency, str) and isinstance(owner, str)
    return texts and _is_limit(minimum) and _is_limit(maximum) and isinstance(metadata, bytes)


def _is_limit(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def _form_status(
    id: str, currency: str, minimum: int | None, maximum: int | None, owner: str, metadata: bytes
) -> AccountStatus | None:
    if not id:
        return AccountStatus.id_must_not_be_empty
    if len(id.encode(errors="replace")) > ACCOUNT_ID_BYTES_MAX:
        return AccountStatus.id_too_long
    if not is_shown(id):
        return AccountStatus.id_has_invalid_characters
    if not is_currency(currency):
        return AccountStatus.currency_unknown
    if status := _limits_status(_floor(minimum), _ceiling(maximum), 0, 0):
        return status
    return _text_status(owner, metadata)


def _limits_status(floor: int, ceiling: int, lowest: int, highest: int) -> AccountStatus | None:
    """Whether limits hold together and leave room for the balance, from its lowest to its highest."""
    if floor > ceiling:
        return AccountStatus.minimum_exceeds_maximum_balance
    if floor < NO_MINIMUM or ceiling > NO_MAXIMUM:
        return AccountStatus.balance_limit_out_of_range
    if floor > lowest or ceiling < highest:
        return AccountStatus.limit_excludes_balance
    return None


def _text_status(owner: str, metadata: bytes) -> AccountStatus | None:
    if len(owner.encode(errors="replace")) > OWNER_BYTES_MAX:
        return AccountStatus.owner_too_long
    if len(metadata) > METADATA_BYTES_MAX:
        return AccountStatus.metadata_too_large
    return None


def _floor(minimum: int | None) -> int:
    return NO_MINIMUM if minimum is None else minimum


def _ceiling(maximum: int | None) -> int:
    return NO_MAXIMUM if maximum is None else maximum


def apply_accounts(books: Books, body: Body, at: At) -> bytes:
    """One `AccountStatus` a row."""
    _, rows, hints = body
    accounts = books.accounts
    statuses = bytearray(len(rows))
    for position, status in zip(hints[0::2], hints[1::2], strict=True):
        statuses[position] = status
    fresh: dict[str, Any] = {}
    for position, row in enumerate(rows):
        if statuses[position]:
            continue
        id = row[0]
        if id in accounts.rows:
            status = _existing_status(books, accounts.rows[id], row)
            is_part = status == AccountStatus.exists and accounts.is_part[accounts.rows[id]]
            statuses[position] = AccountStatus.exists_with_different_split if is_part else status
        elif id in fresh:
            statuses[position] = _difference(tuple(fresh[id][1:]), tuple(row[1:]))
        else:
            fresh[id] = row
    if fresh:
        _create(books, list(fresh.values()), at)
    return bytes(statuses)


def _create(books: Books, rows: list[Any], at: At) -> None:
    accounts = books.accounts
    codes = {currency: currency_code(currency) for currency in dict.fromkeys(row[1] for row in rows)}
    first = accounts.add(
        [row[0] for row in rows], [codes[row[1]] for row in rows], [_floor(row[2]) for row in rows],
        [_ceiling(row[3]) for row in rows],
    )  # fmt: skip
    accounts.version[first : accounts.count] = at.index
    for number, row in enumerate(rows, first):
        if row[4]:
            accounts.owners[number] = row[4]
        if row[5]:
            accounts.metadata[number] = row[5]


def _existing_status(books: Books, row: int, wanted: Any) -> AccountStatus:
    accounts = books.accounts
    have = (
        accounts.currency(row), int(accounts.minimum[row]), int(accounts.maximum[row]), accounts.owners.get(row, ""),
        accounts.metadata.get(row, b""),
    )  # fmt: skip
    return _difference(have, tuple(wanted[1:]))


def _difference(have: tuple[Any, ...], wanted: tuple[Any, ...]) -> AccountStatus:
    def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
        return row[0], _floor(row[1]), _ceiling(row[2]), row[3], row[4]

    for status, mine, other in zip(
        (
            AccountStatus.exists_with_different_currency, AccountStatus.exists_with_different_minimum_balance,
            AccountStatus.exists_with_different_maximum_balance, AccountStatus.exists_with_different_owner,
            AccountStatus.exists_with_different_metadata,
        ),
        plain(have), plain(wanted), strict=True,
    ):  # fmt: skip
        if mine != other:
            return status
    return AccountStatus.exists


def resolve_part(body: Body) -> Body:
    """["part", [id, currency, minimum, maximum, owner, metadata], shard, shards], as it is logged."""
    row = body[1] if len(body) == 4 else None
    if not isinstance(row, list) or len(row) != 6 or not _is_typed(row):
        raise ProtocolError("part: expected [id, currency, minimum, maximum, owner, metadata], a shard and their count")
    return body


def apply_part(books: Books, body: Body, at: At) -> AccountStatus:
    """Opens this shard's part of a split account."""
    _, row, number, count = body
    accounts = books.accounts
    status = _form_status(*row)
    if row[3] is not None and (status is None or status > AccountStatus.split_account_must_have_no_maximum):
        status = AccountStatus.split_account_must_have_no_maximum
    if status is not None:
        return status
    if (found := accounts.rows.get(row[0])) is not None:
        is_part = bool(accounts.is_part[found])
        return _existing_status(books, found, row) if is_part else AccountStatus.exists_with_different_split
    _create(books, [row], at)
    accounts.is_part[accounts.count - 1] = True
    accounts.part_number, accounts.part_count = number, count
    return AccountStatus.created


def resolve_update(books: Books, body: Body) -> Body:
    """["update", id, fields] with the account's row in place of its id; a last item, true, says that it is meant for a part."""
    if len(body) not in (3, 4) or not isinstance(body[1], str) or not isinstance(body[2], dict):
        raise ProtocolError("update: expected an account id and a map of fields")
    fields = body[2]
    if any(name not in FIELDS for name in fields):
        raise ProtocolError(f"update: expected fields among {', '.join(FIELDS)}")
    typed = (
        _is_limit(fields.get("minimum")) and _is_limit(fields.get("maximum"))
        and isinstance(fields.get("owner", ""), str) and isinstance(fields.get("metadata", b""), bytes)
        and fields.get("status", 0) in tuple(AccountState) and _is_version(fields.get("if_version", 0))
    )  # fmt: skip
    if not typed:
        raise ProtocolError("update: a field has the wrong type")
    return ["update", books.accounts.rows.get(body[1], NOT_HERE), fields, *body[3:]]


def apply_update(books: Books, body: Body, at: At) -> tuple[AccountStatus, int]:
    """Changes the named fields, all or none, and says what version the account has then; `retry`: it waits for a round."""
    _, row, fields, *is_for_part = body
    accounts = books.accounts
    if row == NOT_HERE:
        return AccountStatus.account_not_found, 0
    if accounts.is_part[row] and (status := _part_status(books, row, fields, bool(is_for_part))):
        return status, 0
    wanted = fields.get("if_version", 0)
    if wanted and wanted != accounts.version[row]:
        return AccountStatus.version_conflict, int(accounts.version[row])
    if wanted and (accounts.incoming[row] or accounts.unsettled[row]):
        return AccountStatus.retry, 0
    status = _change(books, row, fields, at)
    return status, int(accounts.version[row])


def _part_status(books: Books, row: int, fields: dict[str, Any], is_for_part: bool) -> AccountStatus | None:
    """What a part refuses because no part can do it alone."""
    if not is_for_part:
        return AccountStatus.elsewhere
    if fields.get("if_version"):
        return AccountStatus.if_version_must_be_zero
    if fields.get("maximum") is not None:
        return AccountStatus.split_account_must_have_no_maximum
    if fields.get("status") == AccountState.closed:
        return AccountStatus.split_account_must_stay_open
    has_minimum = bool(books.accounts.minimum[row] != NO_MINIMUM)
    if "minimum" in fields and (fields["minimum"] is not None) != has_minimum:
        return AccountStatus.split_account_must_keep_having_a_minimum
    return None


def _change(books: Books, row: int, fields: dict[str, Any], at: At) -> AccountStatus:
    accounts = books.accounts
    state = fields.get("status", accounts.state(row))
    if accounts.state(row) == AccountState.closed:
        closes = state == AccountState.closed and "status" in fields
        return AccountStatus.account_already_closed if closes else AccountStatus.account_closed
    posted, held = int(accounts.posted[row]), int(accounts.held[row])
    incoming = int(accounts.incoming[row])
    if state == AccountState.closed and (posted or held or incoming):
        return AccountStatus.account_not_empty
    floor = _floor(fields["minimum"]) if "minimum" in fields else int(accounts.minimum[row])
    ceiling = _ceiling(fields["maximum"]) if "maximum" in fields else int(accounts.maximum[row])
    status = None
    if "minimum" in fields or "maximum" in fields:
        status = _limits_status(floor, ceiling, posted - held, posted + incoming)
    status = status or _text_status(fields.get("owner", ""), fields.get("metadata", b""))
    if status:
        return status
    accounts.minimum[row], accounts.maximum[row] = floor, ceiling
    accounts.kind[row] = int(accounts.kind[row]) & CURRENCY_MASK | state << STATE_SHIFT
    for name, column in (("owner", accounts.owners), ("metadata", accounts.metadata)):
        if name in fields:
            _put(column, row, fields[name])
            accounts.dirty_statics[row // PAGE_ACCOUNTS] = True
    accounts.touch_one(row, at.index)
    return AccountStatus.updated


def _put(column: dict[int, Any], row: int, value: Any) -> None:
    """An empty value is the default and is not kept."""
    if value:
        column[row] = value
    else:
        column.pop(row, None)
