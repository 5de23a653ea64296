"""Changing an account, each change once.

An update has an id of its own, and a condition: the id of the update that it follows, as its sender has read it, or a version.
The account keeps the last update's id with what it was answered. So of the copies of an update that come twice or late, at
whatever node, one is judged; behind it the same id is answered as the first time, and once another update has followed it
conflicts. A version alone would not do: payments change it all the time. An update that was refused counts as one that the next
follows, else a late copy of a refused `close` would close the account when it is empty.

The shares of a split account follow their home share: of what they are told, the home share's version at that update orders what
comes late.
"""

from __future__ import annotations

from typing import Any

from node.core.ledger.accounts import LastUpdate
from node.core.ledger.books import Books
from node.core.ledger.facts import AccountUpdated
from node.core.ledger.limits import CURRENCY_MASK, NO_MAXIMUM, NO_MINIMUM, NOT_HERE, PAGE_ACCOUNTS, STATE_SHIFT
from node.core.ledger.terms import ceiling_of, digest_of, floor_of, limits_status, terms_of, text_status
from node.core.machine.operation import Body
from node.core.machine.part import At
from protocol.errors import ProtocolError
from protocol.ids import ID_BYTES
from protocol.requests.accounts import check_fields
from protocol.requests.checks import is_version
from protocol.status import AccountState, AccountStatus

NEVER = LastUpdate(b"", AccountStatus.updated, 0, b"")  # of an account as it was opened


def resolve_update(books: Books, body: Body) -> Body:
    """["update", account, fields, id, id of the update before it or None] with the account's row in its place.

    A last item, true, says that it is meant for a share.
    """
    if len(body) not in (5, 6) or not isinstance(body[1], str) or not isinstance(body[2], dict):
        raise ProtocolError("update: expected an account id, a map of fields, an id, and that of the update before it")
    fields, id, after = body[2:5]
    check_fields(fields)
    is_conditional = isinstance(after, bytes) or (after is None and fields.get("if_version"))
    if not isinstance(id, bytes) or len(id) != ID_BYTES or not is_conditional:
        raise ProtocolError("update: expected an id of 16 bytes, and the id that it follows or a version")
    return ["update", books.accounts.rows.get(body[1], NOT_HERE), *body[2:]]


def apply_update(books: Books, body: Body, at: At) -> tuple[AccountStatus, int]:
    """Changes the named fields, all or none, and says what version the account has then; `retry`: it waits for a round."""
    _, row, fields, id, after, *is_for_share = body
    accounts = books.accounts
    if row == NOT_HERE:
        return AccountStatus.account_not_found, 0
    last = accounts.updates.get(row, NEVER)
    if last.id == id:
        return AccountStatus(last.status), last.version
    if accounts.is_share[row] and (status := _share_status(books, row, fields, bool(is_for_share))):
        return status, 0
    wanted, version = fields.get("if_version", 0), int(accounts.version[row])
    if (wanted and wanted != version) or (after is not None and after != last.id):
        return AccountStatus.version_conflict, version
    if wanted and (accounts.incoming[row] or accounts.unsettled[row]):
        return AccountStatus.retry, 0
    opened = last.opened or digest_of(terms_of(accounts, row))
    status = _change(books, row, fields, at)
    _remember(books, row, LastUpdate(id, status, int(accounts.version[row]), opened))
    if status == AccountStatus.updated and not accounts.only_takes[row]:
        books.untold.append(_updated(books, row))
    return status, int(accounts.version[row])


def _updated(books: Books, row: int) -> AccountUpdated:
    accounts = books.accounts
    currency, floor, ceiling, owner, metadata = terms_of(accounts, row)
    minimum, maximum = None if floor == NO_MINIMUM else floor, None if ceiling == NO_MAXIMUM else ceiling
    state, version, is_split = accounts.state(row), int(accounts.version[row]), bool(accounts.is_share[row])
    return AccountUpdated(
        accounts.names[row], currency, minimum, maximum, state.name, owner, metadata, version, is_split
    )


def _remember(books: Books, row: int, update: LastUpdate) -> None:
    books.accounts.updates[row] = update
    books.accounts.dirty_statics[row // PAGE_ACCOUNTS] = True


def resolve_follow(books: Books, body: Body) -> Body:
    """["follow", account, state, version] with the account's row in its place."""
    if len(body) != 4 or not isinstance(body[1], str) or body[2] not in tuple(AccountState) or not is_version(body[3]):
        raise ProtocolError("follow: expected an account id, a state and a version")
    return ["follow", books.accounts.rows.get(body[1], NOT_HERE), *body[2:]]


def apply_follow(books: Books, body: Body, at: At) -> AccountStatus:
    """Puts a share into the state that its home share had from a version on, unless it has followed a later one."""
    _, row, state, version = body
    accounts = books.accounts
    if row == NOT_HERE or not accounts.is_share[row]:
        return AccountStatus.account_not_found
    last = accounts.updates.get(row, NEVER)
    if last.version < version:
        _remember(books, row, LastUpdate(b"", AccountStatus.updated, version, last.opened))
        accounts.currency_and_state[row] = int(accounts.currency_and_state[row]) & CURRENCY_MASK | state << STATE_SHIFT
        accounts.touch_one(row, at.index)
    return AccountStatus.updated


def _share_status(books: Books, row: int, fields: dict[str, Any], is_for_share: bool) -> AccountStatus | None:
    """What a share refuses because no share can do it alone."""
    if not is_for_share:
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
    floor = floor_of(fields["minimum"]) if "minimum" in fields else int(accounts.minimum[row])
    ceiling = ceiling_of(fields["maximum"]) if "maximum" in fields else int(accounts.maximum[row])
    status = None
    if "minimum" in fields or "maximum" in fields:
        status = limits_status(floor, ceiling, posted - held, posted + incoming)
    status = status or text_status(fields.get("owner", ""), fields.get("metadata", b""))
    if status:
        return status
    accounts.minimum[row], accounts.maximum[row] = floor, ceiling
    accounts.currency_and_state[row] = int(accounts.currency_and_state[row]) & CURRENCY_MASK | state << STATE_SHIFT
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
