"""Opening accounts."""

from __future__ import annotations

from collections.abc import Sequence

from node.core.ledger.books import Books
from node.core.ledger.commands import AccountsCommand, ShareCommand
from node.core.ledger.facts import AccountOpened
from node.core.ledger.limits import currency_code
from node.core.ledger.terms import Terms, ceiling_of, floor_of, form_status
from node.core.machine.part import At
from protocol.placement import group_of
from protocol.rows import NewAccount
from protocol.status import AccountState, AccountStatus


def resolve_accounts(accounts: list[NewAccount]) -> AccountsCommand:
    """With the rows' form judged."""
    statuses = ((place, form_status(account)) for place, account in enumerate(accounts))
    return AccountsCommand(accounts, {place: status for place, status in statuses if status})


def apply_accounts(books: Books, command: AccountsCommand, at: At) -> bytes:
    """One `AccountStatus` a row."""
    accounts = books.accounts
    statuses = bytearray(len(command.accounts))
    fresh: dict[str, NewAccount] = {}
    for position, account in enumerate(command.accounts):
        if position in command.wrong:
            statuses[position] = command.wrong[position]
        elif (row := accounts.rows.get(account.id)) is not None:
            status = _existing_status(books, row, account)
            is_share = status == AccountStatus.exists and accounts.is_share[row]
            statuses[position] = AccountStatus.exists_with_different_split if is_share else status
        elif account.id in fresh:
            statuses[position] = Terms.wanted(fresh[account.id]).difference(Terms.wanted(account))
        else:
            fresh[account.id] = account
    if fresh:
        _create(books, list(fresh.values()), at)
    return bytes(statuses)


def _create(
    books: Books, opened: Sequence[NewAccount], at: At, *, is_share: bool = False, is_home: bool = True
) -> None:
    """A split account is told of where its home share is."""
    accounts = books.accounts
    codes = {currency: currency_code(currency) for currency in dict.fromkeys(account.currency for account in opened)}
    first = accounts.add(
        [account.id for account in opened], [codes[account.currency] for account in opened],
        [floor_of(account.minimum) for account in opened], [ceiling_of(account.maximum) for account in opened],
    )  # fmt: skip
    accounts.version[first : accounts.count] = at.index
    for row, account in enumerate(opened, first):
        if account.owner:
            accounts.owners[row] = account.owner
        if account.metadata:
            accounts.metadata[row] = account.metadata
    if is_home:
        books.untold += [
            AccountOpened(
                account.id, account.currency, account.minimum, account.maximum, AccountState.open.name, account.owner,
                account.metadata, at.index, is_share,
            )
            for account in opened
        ]  # fmt: skip


def _existing_status(books: Books, row: int, account: NewAccount) -> AccountStatus:
    """Whoever repeats how an account was opened has opened it, whatever has been changed since."""
    accounts, wanted = books.accounts, Terms.wanted(account)
    last = accounts.updates.get(row)
    is_repeat = last is not None and last.opened == wanted.digest()
    return AccountStatus.exists if is_repeat else Terms.now(accounts, row).difference(wanted)


def apply_share(books: Books, command: ShareCommand, at: At) -> AccountStatus:
    """Opens this shard's share of a split account."""
    accounts, account = books.accounts, command.account
    status = form_status(account)
    if account.maximum is not None and (status is None or status > AccountStatus.split_account_must_have_no_maximum):
        status = AccountStatus.split_account_must_have_no_maximum
    if status is not None:
        return status
    if (row := accounts.rows.get(account.id)) is not None:
        is_share = bool(accounts.is_share[row])
        return _existing_status(books, row, account) if is_share else AccountStatus.exists_with_different_split
    is_home = group_of(account.id, command.shards) == command.shard
    _create(books, [account], at, is_share=True, is_home=is_home)
    accounts.is_share[accounts.count - 1] = accounts.has_shares = True
    accounts.only_takes[accounts.count - 1] = not is_home
    return AccountStatus.created
