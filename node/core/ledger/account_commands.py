"""Opening accounts."""

from __future__ import annotations

from typing import Any

from node.core.ledger.books import Books
from node.core.ledger.facts import AccountOpened
from node.core.ledger.limits import currency_code
from node.core.ledger.terms import ceiling_of, difference, digest_of, floor_of, form_status, is_typed, terms_of
from node.core.machine.operation import Body
from node.core.machine.part import At
from protocol.errors import ProtocolError
from protocol.placement import group_of
from protocol.status import TRANSFERS_MAX, AccountState, AccountStatus


def resolve_accounts(body: Body) -> Body:
    """["accounts", rows] with the rows' form judged: ["accounts", rows, [position, status, ...]]."""
    rows = body[1]
    if not isinstance(rows, list) or not 1 <= len(rows) <= TRANSFERS_MAX:
        raise ProtocolError(f"accounts: expected 1 to {TRANSFERS_MAX} rows")
    hints: list[int] = []
    for position, row in enumerate(rows):
        if not isinstance(row, (list, tuple)) or len(row) != 6 or not is_typed(row):
            raise ProtocolError("accounts: expected [id, currency, minimum, maximum, owner, metadata] in each row")
        if status := form_status(*row):
            hints += (position, int(status))
    return ["accounts", rows, hints]


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
            is_share = status == AccountStatus.exists and accounts.is_share[accounts.rows[id]]
            statuses[position] = AccountStatus.exists_with_different_split if is_share else status
        elif id in fresh:
            statuses[position] = difference(tuple(fresh[id][1:]), tuple(row[1:]))
        else:
            fresh[id] = row
    if fresh:
        _create(books, list(fresh.values()), at)
    return bytes(statuses)


def _create(books: Books, rows: list[Any], at: At, *, is_share: bool = False, is_home: bool = True) -> None:
    """A split account is told of where its home share is."""
    accounts = books.accounts
    codes = {currency: currency_code(currency) for currency in dict.fromkeys(row[1] for row in rows)}
    first = accounts.add(
        [row[0] for row in rows], [codes[row[1]] for row in rows], [floor_of(row[2]) for row in rows],
        [ceiling_of(row[3]) for row in rows],
    )  # fmt: skip
    accounts.version[first : accounts.count] = at.index
    for number, row in enumerate(rows, first):
        if row[4]:
            accounts.owners[number] = row[4]
        if row[5]:
            accounts.metadata[number] = row[5]
    if is_home:
        books.untold += [
            AccountOpened(id, currency, minimum, maximum, AccountState.open.name, owner, metadata, at.index, is_share)
            for id, currency, minimum, maximum, owner, metadata in rows
        ]


def _existing_status(books: Books, row: int, wanted: Any) -> AccountStatus:
    """Whoever repeats how an account was opened has opened it, whatever has been changed since."""
    accounts, terms = books.accounts, tuple(wanted[1:])
    status = difference(terms_of(accounts, row), terms)
    last = accounts.updates.get(row)
    is_repeat = last is not None and last.opened == digest_of(terms)
    return AccountStatus.exists if is_repeat else status


def resolve_share(body: Body) -> Body:
    """["share", [id, currency, minimum, maximum, owner, metadata], shard, shards], as it is logged."""
    row = body[1] if len(body) == 4 else None
    if not isinstance(row, list) or len(row) != 6 or not is_typed(row):
        raise ProtocolError(
            "share: expected [id, currency, minimum, maximum, owner, metadata], a shard and their count"
        )
    return body


def apply_share(books: Books, body: Body, at: At) -> AccountStatus:
    """Opens this shard's share of a split account."""
    _, row, number, count = body
    accounts = books.accounts
    status = form_status(*row)
    if row[3] is not None and (status is None or status > AccountStatus.split_account_must_have_no_maximum):
        status = AccountStatus.split_account_must_have_no_maximum
    if status is not None:
        return status
    if (found := accounts.rows.get(row[0])) is not None:
        is_share = bool(accounts.is_share[found])
        return _existing_status(books, found, row) if is_share else AccountStatus.exists_with_different_split
    is_home = group_of(row[0], count) == number
    _create(books, [row], at, is_share=True, is_home=is_home)
    accounts.is_share[accounts.count - 1] = accounts.has_shares = True
    accounts.only_takes[accounts.count - 1] = not is_home
    return AccountStatus.created
