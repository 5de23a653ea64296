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
from node.core.ledger.commands import FollowCommand, UpdateAnswer, UpdateCommand
from node.core.ledger.facts import AccountUpdated
from node.core.ledger.limits import NO_MINIMUM, PAGE_ACCOUNTS
from node.core.ledger.terms import Terms, ceiling_of, floor_of, limits_status, text_status
from node.core.machine.part import At
from protocol.status import AccountState, AccountStatus

NEVER = LastUpdate(b"", AccountStatus.updated, 0, b"")  # of an account as it was opened


def apply_update(books: Books, command: UpdateCommand, at: At) -> UpdateAnswer:
    """Changes the named fields, all or none."""
    accounts, asked = books.accounts, command.asked
    row = accounts.rows.get(asked.account)
    if row is None:
        return UpdateAnswer(AccountStatus.account_not_found, 0)
    last = accounts.updates.get(row, NEVER)
    if last.id == asked.id:
        return UpdateAnswer(AccountStatus(last.status), last.version)
    if accounts.is_share[row] and (status := _share_status(books, row, asked.fields, command.is_for_share)):
        return UpdateAnswer(status, 0)
    wanted, version = asked.fields.get("if_version", 0), int(accounts.version[row])
    if (wanted and wanted != version) or (asked.after is not None and asked.after != last.id):
        return UpdateAnswer(AccountStatus.version_conflict, version)
    if wanted and (accounts.incoming[row] or accounts.unsettled[row]):
        return UpdateAnswer(AccountStatus.retry, 0)
    opened = last.opened or Terms.now(accounts, row).digest()
    status = _change(books, row, asked.fields, at)
    _remember(books, row, LastUpdate(asked.id, status, int(accounts.version[row]), opened))
    if status == AccountStatus.updated and not accounts.only_takes[row]:
        books.untold.append(_updated(books, row))
    return UpdateAnswer(status, int(accounts.version[row]))


def _updated(books: Books, row: int) -> AccountUpdated:
    accounts, terms = books.accounts, Terms.now(books.accounts, row)
    return AccountUpdated(
        accounts.names[row], terms.currency, terms.minimum, terms.maximum, accounts.state(row).name, terms.owner,
        terms.metadata, int(accounts.version[row]), bool(accounts.is_share[row]),
    )  # fmt: skip


def _remember(books: Books, row: int, update: LastUpdate) -> None:
    books.accounts.updates[row] = update
    books.accounts.dirty_statics[row // PAGE_ACCOUNTS] = True


def apply_follow(books: Books, command: FollowCommand, at: At) -> AccountStatus:
    """Puts a share into the state that its home share had, unless it has followed a later one."""
    accounts, row = books.accounts, books.accounts.rows.get(command.account)
    if row is None or not accounts.is_share[row]:
        return AccountStatus.account_not_found
    last = accounts.updates.get(row, NEVER)
    if last.version < command.version:
        _remember(books, row, LastUpdate(b"", AccountStatus.updated, command.version, last.opened))
        accounts.put_state(row, command.state)
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
    accounts.put_state(row, state)
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
