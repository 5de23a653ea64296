"""The asynchronous client."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from protocol import ids as transfer_ids
from protocol.answers import accounts_of, status_of, trace_of
from protocol.client import allowances
from protocol.client.arguments import (
    account_ids,
    account_rows,
    check_bool,
    check_limit,
    check_reversed,
    check_text,
    count_of,
    id_bytes,
    id_column,
    named_amount,
)
from protocol.client.balancing import Balancing, amount_and_flags, capture_amount
from protocol.client.batches import send
from protocol.client.calls import Calls, Deed
from protocol.client.events import Following
from protocol.client.guards import Guard, Guards, pack_guards
from protocol.client.history import Pages, read_history
from protocol.client.legs import Leg, check_ids, check_legs, transact
from protocol.client.locks import Lock, LockOwner, OpenLocks
from protocol.client.opened import OpenedHolds
from protocol.client.payments import pack_payment, pack_payments, send_one
from protocol.client.pieces import open_accounts, read_accounts
from protocol.client.settling import settle
from protocol.client.survey import survey
from protocol.client.updates import Fields, pack_fields, update
from protocol.columns import Flag
from protocol.errors import Refused
from protocol.expected import expected_of_name
from protocol.messages import PROTOCOL_VERSION, Hello, Role, split_full_name
from protocol.metadata import Metadata
from protocol.operations import Operation
from protocol.placement import COORDINATOR
from protocol.requests import EmptyRequest, SnapshotRequest, SplitRequest, TraceRequest
from protocol.rows import NewAccount
from protocol.status import REPEATED, AccountStatus, AllowanceStatus, Status
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

TIMEOUT_SECONDS = 10.0  # of a call: twenty times the longest fail-over
LOCK_TTL_SECONDS = 10.0  # of a lease: renewed three times meanwhile; so long does a dead owner keep others waiting
HISTORY_PAGE = 500  # rows of a request: an answer of some tens of kilobytes
_STATUS_OF = {status.value: status for status in Status}
STATUSES = [_STATUS_OF.get(number & ~REPEATED) for number in range(256)]


class Client(Following):
    """A client of one cluster. `addresses` are any of its nodes, as "host:port,host:port" or a list; it finds the others.

    `cluster` is the name that it must have, or `name/identity` (as `cluster_name` tells it): nodes of another cluster are refused.
    A client that has met one never takes another for it.
    `timeout` bounds one call, unless that has its own, `within` all calls together, counted from the first; both are in seconds.
    All calls raise `RingpayError`s: `Refused` by the books, `Busy` when a node sheds load, `OutcomeUnknown` when what changes
    something got no definite answer in time, `Unreachable` when nothing has happened, `ProtocolError` on nonsense.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        token: str = "",
        timeout: float = TIMEOUT_SECONDS,
        within: float | None = None,
        cluster: str = "",
        ids: transfer_ids.IdGenerator | None = None,
    ) -> None:
        name, identity = split_full_name(check_text(cluster, "cluster"))
        hello = Hello(PROTOCOL_VERSION, name, Role.client, 0, check_text(token, "token"), 0, identity)
        self._calls = Calls(addresses, hello, timeout, within)
        self._ids = ids or transfer_ids.IdGenerator(lambda: time.time_ns() // 1_000_000, secrets.randbits)
        self._holds = OpenedHolds(self._calls)
        self._locks = OpenLocks()

    async def __aenter__(self) -> Client:
        await self._calls.connect(self._calls.deadline(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def cluster_name(self) -> str:
        """The cluster, as `name/identity`, to be given to a later client as `cluster`; empty before the first connection."""
        return self._calls.cluster_name

    async def close(self) -> None:
        """Gives back all locks that are held, as far as a node answers in a moment, and closes all connections."""
        try:
            await self._locks.leave()
        finally:
            await self._calls.close()

    # -- accounts -------------------------------------------------------------------------------------------------

    async def create_account(
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
        """Opens an account; `exists` if it had been opened alike. Raises Refused.

        `split`: it lives as one share a shard, so that payments to it, a merchant's or platform's, stay in the shard of the payer;
        it has no maximum balance.
        """
        row = NewAccount(id, currency, minimum_balance, maximum_balance, owner, metadata)
        if check_bool(split, "split"):
            (checked,) = account_rows([row])
            body, deed = SplitRequest(checked).pack(), Deed("opening an account")
            answer = await self._calls.call(Operation.split_account, COORDINATOR, body, timeout, deed)
            status = AccountStatus(status_of(answer))
            if status <= AccountStatus.exists:
                self._calls.split[id] = None
        else:
            (status,) = await self.create_accounts([row], timeout=timeout)
        if status > AccountStatus.updated:
            raise Refused(status.name, expected_of_name(status, id))
        return status

    async def create_accounts(
        self, rows: Sequence[Sequence[Any]], *, timeout: float | None = None
    ) -> list[AccountStatus]:
        """Opens accounts, each a `NewAccount` or its (id, currency, minimum, maximum, owner, metadata); one status each.

        Raises Busy or Unreachable if none was opened, OutcomeUnknown where some may be; repeated, those that were opened alike are
        `exists`.
        """
        return await open_accounts(self._calls, account_rows(rows), timeout)

    async def update_account(
        self, id: str, *, if_version: int | None = None, timeout: float | None = None, **fields: Unpack[Fields]
    ) -> AccountStatus:
        """Changes `minimum_balance`, `maximum_balance`, `owner`, `metadata` or `status` (open, frozen, closed).

        With `if_version` only if the account's version is that. Happens once: a late copy of it changes nothing. Raises Refused, and
        OutcomeUnknown, after which the account's `last_update` is the error's `id` if it has happened and none has followed.
        """
        packed, number = pack_fields(fields, if_version), id_bytes(self._ids.next())
        return await update(self._calls, check_text(id, "account"), packed, number, self._calls.deadline(timeout))

    async def set_allowance(
        self, account: str, amount: int | None, *, zone: str | None = None, timeout: float | None = None
    ) -> AllowanceStatus:
        """How much the account may pay out a day, in minor units, from now on; None: as much as it has.

        A day ends at midnight in `zone` of the tz database, such as Europe/Berlin; None leaves it as it is, at first UTC. What was paid out
        today counts; what a void or final capture gives back counts no more, a reversal changes nothing. Happens once. Raises Refused.
        """
        number, limit = id_bytes(self._ids.next()), check_limit(amount, "amount")
        name, deadline = check_text(account, "account"), self._calls.deadline(timeout)
        wanted = None if zone is None else check_text(zone, "zone")
        return await allowances.change(self._calls, name, limit, wanted, number, deadline)

    async def allowance(self, account: str, *, timeout: float | None = None) -> Allowance | None:
        """What the account may pay out a day, and has paid out today; None if it has no allowance."""
        return await allowances.read(self._calls, check_text(account, "account"), self._calls.deadline(timeout))

    async def account(self, id: str, *, timeout: float | None = None) -> Account:
        """One account, as of now. Raises Refused(account_not_found)."""
        (found,) = await self.accounts([id], timeout=timeout)
        if found is None:
            raise Refused(AccountStatus.account_not_found.name, "an account that was created")
        return found

    async def accounts(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Account | None]:
        """Several accounts, each as of now (`snapshot` reads them at one cut); None for unknown ones."""
        names = account_ids(ids)
        rows = await read_accounts(self._calls, names, timeout) if names else []
        return [None if row is None else Account.of(row) for row in rows]

    async def history(
        self,
        id: str,
        *,
        newest_first: bool = False,
        page: int = HISTORY_PAGE,
        limit: int | None = None,
        timeout: float | None = None,
        page_timeout: float | None = None,
    ) -> AsyncIterator[Entry]:
        """The account's transfers in order of time, at most `limit`, by pages of `page` rows, each read when it is asked for, within
        `page_timeout` seconds; all within `timeout`.

        Without these limits a page has the client's own, and all of them have none. A split account's shares are merged by the
        clocks of their shards' leaders; moves between them are left out.

        The time is that at which the account's shard carried it out. Of a payment over several shards that may be after its
        acknowledgement, so that one within the shard that was sent later stands before it; balances show both from the acknowledgement on.
        """
        deadline = None if timeout is None else self._calls.deadline(timeout)
        is_backward = check_bool(newest_first, "newest_first")
        pages = Pages(check_text(id, "account"), is_backward, page, limit, page_timeout, deadline)
        count = 0
        async for entry in read_history(self._calls, pages):
            yield entry
            count += 1
            if count == limit:
                return

    # -- transfers ------------------------------------------------------------------------------------------------

    def new_id(self) -> int:
        """A transfer id to give to `transfer`, so that it is known before anything is sent."""
        return self._ids.next()

    async def transfer(
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
        """Moves money. Raises Refused, Busy or OutcomeUnknown. With an `id` it can be sent again: the id keeps its outcome.

        It happens only between accounts kept in `currency`, if the debit account's version is `if_version`, and while `lock` is held
        by its token. `commit` is the protocol ("2pc" or "3pc") that decides it where it spans shards; None: the cluster's.
        `metadata` is recorded with it: up to 8 keys with text, integers of 64 bits, true or false. `reverses` is the id of an earlier
        transfer between the same accounts, the other way round, that this one gives back: in part, or in several parts, never more.

        `balancing` moves up to what the debit account has available ("debit"), up to what the credit account is below 0 ("credit"),
        or up to both; `amount` is the limit then, None for none, and the receipt tells the amount.
        """
        guards = pack_guards(1, if_version, lock, commit)
        given: dict[str, Any] = {"code": code, "reference": reference, "currency": currency, "metadata": metadata}
        number, flags = amount_and_flags(amount, balancing)
        if reverses is not None:
            flags |= Flag.reversal
            given["names"] = check_reversed(reverses)
        return await self._one(debit, credit, number, id, flags, **given, guards=guards, timeout=timeout)

    async def hold(
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
        """Puts money aside for at most `ttl` seconds. The rest is as for `transfer`."""
        guards = pack_guards(1, if_version, lock, commit)
        given: dict[str, Any] = {"code": code, "reference": reference, "currency": currency, "metadata": metadata}
        receipt = await self._one(
            debit, credit, amount, id, Flag.hold, **given, ttl=ttl, guards=guards, timeout=timeout
        )
        self._holds.remember(receipt.id, debit, credit)
        return receipt

    async def capture(
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
        """Moves a part of a hold, or (None) all that is left; may be called until nothing is. The guards are those of `transfer`.

        With `final` the rest is given back with it. `debit` and `credit`, where given, must be the hold's accounts.
        """
        guards, (number, flags) = pack_guards(1, if_version, lock, commit), capture_amount(amount, final=final)
        deadline = self._calls.deadline(timeout)
        accounts = await self._holds.accounts(hold, debit, credit, timeout)
        given: dict[str, Any] = {"reference": reference, "guards": guards, "timeout": self._calls.left(deadline)}
        return await self._one(*accounts, number, id, flags, names=hold, **given)

    async def void(
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
        """Gives back what is left of a hold. The guards are those of `transfer`.

        `debit`, `credit` and `amount`, where given, must be what the hold was opened with.
        """
        guards = pack_guards(1, if_version, lock, commit)
        deadline, named = self._calls.deadline(timeout), named_amount(amount)
        accounts = await self._holds.accounts(hold, debit, credit, timeout)
        return await self._one(
            *accounts, named, id, Flag.void, names=hold, guards=guards, timeout=self._calls.left(deadline)
        )

    async def _one(
        self,
        debit: str,
        credit: str,
        amount: int,
        id: int | None,
        flag: Flag,
        *,
        guards: Guards,
        timeout: float | None,
        **carried: Any,
    ) -> Receipt:
        deadline = self._calls.deadline(timeout)
        number = self._ids.next() if id is None else id
        batch = pack_payment(number, debit, credit, amount, flag, guards, **carried)
        return await send_one(self._calls, batch, number, deadline, is_new=id is None)

    async def transfer_many(
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
        """Up to 8,192 transfers as columns; one status each. A row with `Flag.linked` happens only with the next one.

        `ids` are integers or packed 16-byte ids; without them, new ones are made. `currency` and `metadata` are one for all rows, or
        one a row, perhaps empty. Nothing is raised for refused rows. The guards are those of `transfer`, for all rows; `if_version`
        may also have one number a row, 0 for any version. Where a row is answered `version_conflict`, `accounts` reads the versions
        that the accounts have now. What a balancing row has moved is told by `find` of its id, which is to be given then.
        """
        deadline, count = self._calls.deadline(timeout), count_of(amount, "amount")
        guards = pack_guards(count, if_version, lock, commit)
        packed = self._ids.take(count) if ids is None else id_column(ids, count)
        batch = pack_payments(
            packed, debit, credit, amount, guards, code=code, flags=flags, reference=reference, currency=currency,
            metadata=metadata, reverses=reverses, ttl=ttl,
        )  # fmt: skip
        statuses = await send(self._calls, batch, deadline)
        return [STATUSES[status] for status in statuses]  # type: ignore[misc]  # nodes send known ones only

    async def transaction(
        self,
        legs: Sequence[Leg],
        *,
        ids: Sequence[int] | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> TransactionReceipt:
        """Up to 8,192 legs (`Transfer`, `Hold`, `Capture`, `Void`), all or none, over any number of shards, in order.

        Raises Refused with the `.leg` that was refused and why, and OutcomeUnknown with the ids of all: `outcome` of the first one
        settles it for all. With `ids`, one a leg, the same legs can be sent again and happen once. The guards are those of `transfer`.
        The receipt tells the amount of each leg, as `transfer` does.
        """
        deadline, checked = self._calls.deadline(timeout), check_legs(legs)
        guards = pack_guards(len(checked), None, lock, commit)
        numbers = [self._ids.next() for _ in checked] if ids is None else check_ids(ids, len(checked))
        return await transact(self._calls, self._holds, checked, numbers, guards, deadline)

    async def outcome(self, id: int, debit: str, *, timeout: float | None = None) -> Status:
        """Settles what became of a transfer: `created`, the reason why it was refused, or `cancelled`; `find` tells the amount.

        An id that no node has seen is cancelled by this call, so that a copy still on its way can never happen later. `debit` is
        the payment's own debit account: if the id happened with one of another shard, this raises
        Refused(exists_with_different_debit_account), which names it, and OutcomeUnknown where not all shards could say.
        """
        return await settle(self._calls, self._holds, id, debit, self._calls.deadline(timeout))

    async def find(self, id: int, debit: str | None = None, *, timeout: float | None = None) -> Entry | None:
        """The transfer, hold, capture or void that happened under an id, and what is left of a hold; None if none did. Changes nothing.

        Every shard is asked, and must answer; with `debit` only that of this debit account.
        """
        return await self._holds.find(id, timeout, debit)

    async def trace(self, id: int, debit: str | None = None, *, timeout: float | None = None) -> Trace:
        """What became of a transfer: round, coordinator, participants, their votes, the decision, and when each phase was.

        `debit` tells apart what was paid from different shards under the same id. Records last, rounds are remembered for a while.
        Raises Refused(transfer_not_found), and Busy where a shard that may have seen the id does not answer.
        """
        asked = TraceRequest(id_bytes(id), check_text(debit or "", "debit account"))
        trace = trace_of(id, await self._calls.call(Operation.trace, -1, asked.pack(), timeout))
        if trace is None:
            raise Refused("transfer_not_found", "the id of a transfer that some shard has seen")
        return trace

    async def undecided(self, *, timeout: float | None = None) -> Undecided:
        """The rounds between shards that are not decided now, the oldest first."""
        return Undecided.unpack(await self._calls.call(Operation.undecided, -1, EmptyRequest().pack(), timeout))

    # -- locks ----------------------------------------------------------------------------------------------------

    def lock(
        self,
        name: str,
        *,
        ttl: float = LOCK_TTL_SECONDS,
        wait: float | None = None,
        owner: LockOwner | None = None,
        must_hold: bool = False,
    ) -> Lock:
        """Entering its block waits at most `wait` seconds (None: without end), leaving it releases the lock.

        In between it is renewed every third of `ttl` seconds. `owner` is shared by locks that are taken together. With `must_hold`
        the end of the block raises Refused(lock_not_held) if the lease was lost meanwhile. Raises ProtocolError(bad_request) for a
        name, a wait or an owner that cannot be.
        """
        return self._locks.add(Lock(self._calls, name, ttl, wait, owner, must_hold))

    def lock_owner(self) -> LockOwner:
        """An owner for several locks."""
        return LockOwner()

    # -- the cluster ----------------------------------------------------------------------------------------------

    async def snapshot(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Account]:
        """Several accounts at one consistent cut: of each transaction all of it or nothing. Raises Refused(account_not_found)."""
        names = account_ids(ids)
        if not names:
            return []
        accounts = []
        answer = await self._calls.call(Operation.snapshot, COORDINATOR, SnapshotRequest(names).pack(), timeout)
        for name, row in zip(names, accounts_of(answer), strict=True):
            if row is None:
                raise Refused(AccountStatus.account_not_found.name, f"accounts that were created, unlike {name}")
            accounts.append(Account.of(row))
        return accounts

    async def audit(self, *, timeout: float | None = None) -> Report:
        """Adds up all shards at one consistent cut and compares all replicas that answer, on the running cluster."""
        seconds = 3 * self._calls.timeout if timeout is None else timeout
        return Report.unpack(await self._calls.call(Operation.audit, COORDINATOR, EmptyRequest().pack(), seconds))

    async def cluster(self, *, timeout: float | None = None) -> ClusterStatus:
        """Who answers, who leads, who recovers: asks every node, all at once. Raises Unreachable where none answers."""
        return await survey(self._calls, timeout)
