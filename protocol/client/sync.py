"""The synchronous client: the calls of `Client`, written out, each with its arguments, its types and its guide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from protocol.client.background import Background
from protocol.client.balancing import Balancing
from protocol.client.client import HISTORY_PAGE, LOCK_TTL_SECONDS, TIMEOUT_SECONDS, Client
from protocol.client.events import Kind
from protocol.client.guards import Guard
from protocol.client.legs import Leg
from protocol.client.locks import LockOwner
from protocol.client.sync_events import SyncSubscription
from protocol.client.sync_locks import SyncLock, documented_as
from protocol.client.updates import Fields
from protocol.errors import ProtocolError
from protocol.events import OLDEST
from protocol.ids import IdGenerator
from protocol.metadata import Metadata
from protocol.status import AccountStatus, AllowanceStatus, Status
from protocol.views import (
    Account,
    Allowance,
    ClusterStatus,
    Entry,
    Receipt,
    Report,
    Trace,
    TransactionReceipt,
    Undecided,
)


class SyncClient:
    """The same calls as `Client`, without await. Owns a thread with an event loop, until `close` or the end of its `with`.

    It connects when it is made, and raises then what a first call would. Threads may share it; a process that was forked off
    needs one of its own. An interrupt (Ctrl-C) cancels the call that is waited for, and is raised when that has ended; a change
    that had left by then may have happened.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        token: str = "",
        timeout: float = TIMEOUT_SECONDS,
        within: float | None = None,
        cluster: str = "",
        ids: IdGenerator | None = None,
    ) -> None:
        self._client = Client(addresses, token=token, timeout=timeout, within=within, cluster=cluster, ids=ids)
        self._background = Background()
        self._run = self._background.run
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    @documented_as(Client.cluster_name)
    def cluster_name(self) -> str:
        return self._client.cluster_name

    @documented_as(Client.close)
    def close(self) -> None:
        if self._background.why_not() is None:
            with suppress(ProtocolError):  # another thread closes it, too
                self._run(self._client.close())
            self._background.end()

    # -- accounts -------------------------------------------------------------------------------------------------

    @documented_as(Client.create_account)
    def create_account(
        self,
        id: str,
        currency: str,
        *,
        minimum_balance: int | None = 0,
        maximum_balance: int | None = None,
        owner: str = "",
        metadata: bytes = b"",
        split: bool = False,
        timeout: float | None = None,
    ) -> AccountStatus:
        opening = self._client.create_account(
            id, currency, minimum_balance=minimum_balance, maximum_balance=maximum_balance, owner=owner,
            metadata=metadata, split=split, timeout=timeout,
        )  # fmt: skip
        return self._run(opening)

    @documented_as(Client.create_accounts)
    def create_accounts(self, rows: Sequence[Sequence[Any]], *, timeout: float | None = None) -> list[AccountStatus]:
        return self._run(self._client.create_accounts(rows, timeout=timeout))

    @documented_as(Client.update_account)
    def update_account(
        self, id: str, *, if_version: int | None = None, timeout: float | None = None, **fields: Unpack[Fields]
    ) -> AccountStatus:
        return self._run(self._client.update_account(id, if_version=if_version, timeout=timeout, **fields))

    @documented_as(Client.set_allowance)
    def set_allowance(
        self, account: str, amount: int | None, *, zone: str | None = None, timeout: float | None = None
    ) -> AllowanceStatus:
        return self._run(self._client.set_allowance(account, amount, zone=zone, timeout=timeout))

    @documented_as(Client.allowance)
    def allowance(self, account: str, *, timeout: float | None = None) -> Allowance | None:
        return self._run(self._client.allowance(account, timeout=timeout))

    @documented_as(Client.account)
    def account(self, id: str, *, timeout: float | None = None) -> Account:
        return self._run(self._client.account(id, timeout=timeout))

    @documented_as(Client.accounts)
    def accounts(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Account | None]:
        return self._run(self._client.accounts(ids, timeout=timeout))

    @documented_as(Client.history)
    def history(
        self,
        id: str,
        *,
        newest_first: bool = False,
        page: int = HISTORY_PAGE,
        limit: int | None = None,
        timeout: float | None = None,
        page_timeout: float | None = None,
    ) -> Iterator[Entry]:
        pages = self.history_pages(
            id, newest_first=newest_first, page=page, limit=limit, timeout=timeout, page_timeout=page_timeout
        )
        for entries in pages:
            yield from entries

    def history_pages(
        self,
        id: str,
        *,
        newest_first: bool = False,
        page: int = HISTORY_PAGE,
        limit: int | None = None,
        timeout: float | None = None,
        page_timeout: float | None = None,
    ) -> Iterator[list[Entry]]:
        """As `history`, in lists of `page` entries, the last one shorter."""
        entries = self._client.history(
            id, newest_first=newest_first, page=page, limit=limit, timeout=timeout, page_timeout=page_timeout
        )
        while found := self._run(_next(entries, page)):
            yield found

    # -- transfers ------------------------------------------------------------------------------------------------

    @documented_as(Client.new_id)
    def new_id(self) -> int:
        return self._client.new_id()

    @documented_as(Client.transfer)
    def transfer(
        self,
        debit: str,
        credit: str,
        amount: int | None = None,
        *,
        balancing: Balancing | None = None,
        id: int | None = None,
        code: int = 0,
        reference: str = "",
        currency: str | None = None,
        metadata: Metadata | None = None,
        reverses: int | None = None,
        if_version: int | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        payment = self._client.transfer(
            debit, credit, amount, balancing=balancing, id=id, code=code, reference=reference, currency=currency,
            metadata=metadata, reverses=reverses, if_version=if_version,
            lock=lock, commit=commit, timeout=timeout,
        )  # fmt: skip
        return self._run(payment)

    @documented_as(Client.hold)
    def hold(
        self,
        debit: str,
        credit: str,
        amount: int,
        *,
        ttl: int,
        id: int | None = None,
        code: int = 0,
        reference: str = "",
        currency: str | None = None,
        metadata: Metadata | None = None,
        if_version: int | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        holding = self._client.hold(
            debit, credit, amount, ttl=ttl, id=id, code=code, reference=reference, currency=currency, metadata=metadata,
            if_version=if_version, lock=lock, commit=commit, timeout=timeout,
        )  # fmt: skip
        return self._run(holding)

    @documented_as(Client.capture)
    def capture(
        self,
        hold: int,
        amount: int | None = None,
        *,
        final: bool = False,
        debit: str | None = None,
        credit: str | None = None,
        id: int | None = None,
        reference: str = "",
        if_version: int | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        capturing = self._client.capture(
            hold, amount, final=final, debit=debit, credit=credit, id=id, reference=reference, if_version=if_version,
            lock=lock, commit=commit, timeout=timeout,
        )  # fmt: skip
        return self._run(capturing)

    @documented_as(Client.void)
    def void(
        self,
        hold: int,
        *,
        debit: str | None = None,
        credit: str | None = None,
        amount: int | None = None,
        id: int | None = None,
        if_version: int | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        voiding = self._client.void(
            hold, debit=debit, credit=credit, amount=amount, id=id, if_version=if_version, lock=lock, commit=commit,
            timeout=timeout,
        )  # fmt: skip
        return self._run(voiding)

    @documented_as(Client.transfer_many)
    def transfer_many(
        self,
        debit: Sequence[str],
        credit: Sequence[str],
        amount: Sequence[int] | NDArray[np.int64],
        *,
        ids: bytes | Sequence[int] | None = None,
        code: Sequence[int] | None = None,
        flags: Sequence[int] | None = None,
        reference: Sequence[str] | None = None,
        currency: str | Sequence[str] | None = None,
        metadata: Metadata | Sequence[Metadata] | None = None,
        reverses: Sequence[int] | None = None,
        ttl: Sequence[int] | None = None,
        if_version: int | Sequence[int] | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> list[Status]:
        payments = self._client.transfer_many(
            debit, credit, amount, ids=ids, code=code, flags=flags, reference=reference, currency=currency, metadata=metadata,
            reverses=reverses, ttl=ttl,
            if_version=if_version, lock=lock, commit=commit, timeout=timeout,
        )  # fmt: skip
        return self._run(payments)

    @documented_as(Client.transaction)
    def transaction(
        self,
        legs: Sequence[Leg],
        *,
        ids: Sequence[int] | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> TransactionReceipt:
        return self._run(self._client.transaction(legs, ids=ids, lock=lock, commit=commit, timeout=timeout))

    @documented_as(Client.outcome)
    def outcome(self, id: int, debit: str, *, timeout: float | None = None) -> Status:
        return self._run(self._client.outcome(id, debit, timeout=timeout))

    @documented_as(Client.find)
    def find(self, id: int, debit: str | None = None, *, timeout: float | None = None) -> Entry | None:
        return self._run(self._client.find(id, debit, timeout=timeout))

    @documented_as(Client.trace)
    def trace(self, id: int, debit: str | None = None, *, timeout: float | None = None) -> Trace:
        return self._run(self._client.trace(id, debit, timeout=timeout))

    @documented_as(Client.undecided)
    def undecided(self, *, timeout: float | None = None) -> Undecided:
        return self._run(self._client.undecided(timeout=timeout))

    # -- events ---------------------------------------------------------------------------------------------------

    @documented_as(Client.subscribe)
    def subscribe(
        self,
        kinds: Kind | Sequence[Kind],
        *,
        prefix: str = "",
        cursor: str = OLDEST,
        follow: bool = True,
        timeout: float | None = None,
    ) -> SyncSubscription:
        events = self._client.subscribe(kinds, prefix=prefix, cursor=cursor, follow=follow, timeout=timeout)
        return SyncSubscription(events, self._run)

    # -- locks ----------------------------------------------------------------------------------------------------

    @documented_as(Client.lock)
    def lock(
        self,
        name: str,
        *,
        ttl: float = LOCK_TTL_SECONDS,
        wait: float | None = None,
        owner: LockOwner | None = None,
        must_hold: bool = False,
    ) -> SyncLock:
        lock = self._client.lock(name, ttl=ttl, wait=wait, owner=owner, must_hold=must_hold)
        return SyncLock(lock, self._run)

    @documented_as(Client.lock_owner)
    def lock_owner(self) -> LockOwner:
        return self._client.lock_owner()

    # -- the cluster ----------------------------------------------------------------------------------------------

    @documented_as(Client.snapshot)
    def snapshot(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Account]:
        return self._run(self._client.snapshot(ids, timeout=timeout))

    @documented_as(Client.audit)
    def audit(self, *, timeout: float | None = None) -> Report:
        return self._run(self._client.audit(timeout=timeout))

    @documented_as(Client.cluster)
    def cluster(self, *, timeout: float | None = None) -> ClusterStatus:
        return self._run(self._client.cluster(timeout=timeout))


async def _next(entries: AsyncIterator[Entry], count: int) -> list[Entry]:
    """So many more, fewer at the end."""
    page: list[Entry] = []
    async for entry in entries:
        page.append(entry)
        if len(page) == count:
            break
    return page


def connect(
    addresses: str | Sequence[str],
    *,
    token: str = "",
    timeout: float = TIMEOUT_SECONDS,
    within: float | None = None,
    cluster: str = "",
    ids: IdGenerator | None = None,
) -> SyncClient:
    """A synchronous client that has found a node; the arguments are those of `Client`, which tells of them."""
    return SyncClient(addresses, token=token, timeout=timeout, within=within, cluster=cluster, ids=ids)
