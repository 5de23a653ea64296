"""The asynchronous client."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol import ids as transfer_ids
from protocol.client.batches import send
from protocol.client.calls import Calls
from protocol.client.guards import Guard, Guards, check_version, pack_guards
from protocol.client.history import read_history
from protocol.client.locks import Lock, LockOwner
from protocol.client.pieces import open_accounts, read_accounts
from protocol.client.survey import survey
from protocol.columns import SEPARATOR, Flag, Transfers
from protocol.errors import ErrorCode, ProtocolError, Refused, RingpayError
from protocol.expected import EXPECTED, EXPECTED_OF_ACCOUNT, expected_of_name
from protocol.messages import PROTOCOL_VERSION, Hello, Role
from protocol.operations import Operation
from protocol.placement import COORDINATOR
from protocol.status import TRANSFERS_MAX, AccountStatus, Status
from protocol.views import (
    ACCOUNT_STATES,
    Account,
    ClusterStatus,
    CurrencyTotals,
    Entry,
    Receipt,
    Report,
    ShardDigest,
    Trace,
    Undecided,
)

TIMEOUT_SECONDS = 10.0  # of a call: twenty times the longest fail-over
LOCK_TTL_SECONDS = 10.0  # of a lease: renewed three times meanwhile; so long does a dead owner keep others waiting
STATUSES = [Status(number) if number in Status._value2member_map_ else None for number in range(256)]


class Client:
    """A client of one cluster. `addresses` are any of its nodes, as "host:port,host:port" or a list; it finds the others.

    All calls raise `RingpayError`s: `Refused` by the books, `Busy` when a node sheds load, `OutcomeUnknown` when transfers got
    no answer in time, `Unreachable` when anything else did not, `ProtocolError` on nonsense.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        token: str = "",
        timeout: float = TIMEOUT_SECONDS,
        cluster: str = "",
        ids: transfer_ids.IdGenerator | None = None,
    ) -> None:
        hello = Hello(PROTOCOL_VERSION, cluster, Role.client, 0, token, 0)
        self._calls = Calls(addresses, hello, timeout)
        self._ids = ids or transfer_ids.IdGenerator(lambda: time.time_ns() // 1_000_000, secrets.randbits)
        self._holds: dict[int, tuple[str, str]] = {}

    async def __aenter__(self) -> Client:
        await self._calls.any_connection(self._calls.now() + self._calls.timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
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

        `split`: it lives as one part a shard, so that payments with it, a merchant's or platform's, stay in the shard of the other
        account; it has no maximum balance.
        """
        row = [id, currency, minimum_balance, maximum_balance, owner, metadata]
        if split:
            (number,) = await self._calls.call(Operation.split_account, COORDINATOR, row, timeout, None)
            status = AccountStatus(number)
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
        """Opens accounts, rows of (id, currency, minimum, maximum, owner, metadata); one status each.

        Raises Busy if none was opened, Unreachable where some may be; repeated, those that were opened alike are `exists`.
        """
        return [AccountStatus(status) for status in await open_accounts(self._calls, rows, timeout)]

    async def update_account(
        self, id: str, *, if_version: int | None = None, timeout: float | None = None, **fields: Any
    ) -> AccountStatus:
        """Changes `minimum_balance`, `maximum_balance`, `owner`, `metadata` or `status` (open, frozen, closed).

        With `if_version` only if the account's version is that. Raises Refused.
        """
        names = {"minimum_balance": "minimum", "maximum_balance": "maximum"}
        if "status" in fields:
            if fields["status"] not in ACCOUNT_STATES:
                expected = ", ".join(ACCOUNT_STATES)
                raise ProtocolError(f"status {fields['status']!r}: expected one of {expected}", ErrorCode.bad_request)
            fields["status"] = ACCOUNT_STATES.index(fields["status"])
        values = {names.get(name, name): value for name, value in fields.items()}
        if if_version is not None:
            values["if_version"] = check_version(if_version)
        number, version = await self._calls.ask(Operation.update, [id], [id, values], timeout)
        status = AccountStatus(number)
        if status > AccountStatus.updated:
            is_conflict = status == AccountStatus.version_conflict
            raise Refused(status.name, EXPECTED_OF_ACCOUNT.get(status, ""), version if is_conflict else None)
        return status

    async def account(self, id: str, *, timeout: float | None = None) -> Account:
        """One account, as of now. Raises Refused(account_not_found)."""
        (found,) = await self.accounts([id], timeout=timeout)
        if found is None:
            raise Refused(AccountStatus.account_not_found.name, "an account that was created")
        return found

    async def accounts(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Account | None]:
        """Several accounts, each as of now (`snapshot` reads them at one cut); None for unknown ones."""
        _check_accounts(ids)
        rows = await read_accounts(self._calls, ids, timeout)
        return [None if row is None else Account.unpack(row) for row in rows]

    async def history(self, id: str, *, newest_first: bool = False, page: int = 500) -> AsyncIterator[Entry]:
        """The account's transfers in order of time, read page by page.

        A split account's parts are merged by the clocks of their shards' leaders; moves between them are left out.
        """
        async for entry in read_history(self._calls, id, newest_first, page):
            yield entry

    # -- transfers ------------------------------------------------------------------------------------------------

    def new_id(self) -> int:
        """A transfer id to give to `transfer`, so that it is known before anything is sent."""
        return self._ids.next()

    async def transfer(
        self,
        debit: str,
        credit: str,
        amount: int,
        *,
        id: int | None = None,
        code: int = 0,
        reference: str = "",
        if_version: int | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Moves money. Raises Refused, Busy or OutcomeUnknown.

        It happens only if the debit account's version is `if_version`, and while `lock` is held by its token. `commit` is the
        protocol ("2pc" or "3pc") that decides it where it spans shards; None: the cluster's.
        """
        guards = pack_guards(1, if_version, lock, commit)
        return await self._one(
            debit, credit, amount, id, Flag.none, code=code, reference=reference, guards=guards, timeout=timeout
        )

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
        if_version: int | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Puts money aside for at most `ttl` seconds. The guards are those of `transfer`."""
        guards = pack_guards(1, if_version, lock, commit)
        given: dict[str, Any] = {"code": code, "reference": reference, "ttl": ttl, "guards": guards, "timeout": timeout}
        receipt = await self._one(debit, credit, amount, id, Flag.hold, **given)
        self._remember_hold(receipt.id, debit, credit)
        return receipt

    async def capture(
        self,
        hold: int,
        amount: int,
        *,
        id: int | None = None,
        reference: str = "",
        if_version: int | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Moves a part of a hold, or all of it; may be called until nothing is left. The guards are those of `transfer`."""
        guards = pack_guards(1, if_version, lock, commit)
        deadline = self._deadline(timeout)
        debit, credit = await self._accounts_of_hold(hold, timeout)
        given: dict[str, Any] = {"reference": reference, "guards": guards, "timeout": deadline - self._calls.now()}
        return await self._one(debit, credit, amount, id, Flag.capture, hold=hold, **given)

    async def void(
        self,
        hold: int,
        *,
        id: int | None = None,
        if_version: int | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Gives back what is left of a hold. The guards are those of `transfer`."""
        guards = pack_guards(1, if_version, lock, commit)
        deadline = self._deadline(timeout)
        debit, credit = await self._accounts_of_hold(hold, timeout)
        left = deadline - self._calls.now()
        return await self._one(debit, credit, 0, id, Flag.void, hold=hold, guards=guards, timeout=left)

    def _remember_hold(self, hold: int, debit: str, credit: str) -> None:
        self._holds[hold] = debit, credit
        if len(self._holds) > TRANSFERS_MAX:
            del self._holds[next(iter(self._holds))]

    async def _accounts_of_hold(self, hold: int, timeout: float | None = None) -> tuple[str, str]:
        if hold not in self._holds and await self.find(hold, timeout=timeout) is None:
            raise Refused(Status.hold_not_found.name, "the id of an accepted hold")
        return self._holds[hold]

    def _deadline(self, timeout: float | None) -> float:
        return self._calls.now() + (self._calls.timeout if timeout is None else timeout)

    async def _one(
        self,
        debit: str,
        credit: str,
        amount: int,
        id: int | None,
        flag: Flag,
        *,
        code: int = 0,
        reference: str = "",
        hold: int = 0,
        ttl: int = 0,
        guards: Guards,
        timeout: float | None,
    ) -> Receipt:
        deadline = self._deadline(timeout)
        number = self._ids.next() if id is None else id
        batch = Transfers(
            _id(number), _one_text(debit, "debit"), _one_text(credit, "credit"),
            _clamp(amount).to_bytes(8, "little", signed=True), _fixed("flags", int(flag), 2) if flag else b"",
            _fixed("code", code, 4) if code else b"", _one_text(reference, "reference"),
            _id(hold) if hold else b"", _fixed("ttl", ttl, 4) if ttl else b"", *guards,
        )  # fmt: skip
        (number_of_status,) = await send(self._calls, batch, timeout)
        status = Status(number_of_status)
        if status > Status.exists:
            version = await self._version_now(debit, deadline) if status == Status.version_conflict else None
            raise Refused(status.name, EXPECTED.get(status, ""), version)
        return Receipt(number, status)

    async def _version_now(self, account: str, deadline: float) -> int | None:
        """None if it cannot be told in time."""
        try:
            return (await self.account(account, timeout=deadline - self._calls.now())).version
        except RingpayError:
            return None

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
        ttl: Sequence[int] | None = None,
        if_version: int | Sequence[int] | None = None,
        lock: Guard | None = None,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> list[Status]:
        """Up to 8,192 transfers as columns; one status each. A row with `Flag.linked` happens only with the next one.

        `ids` are integers or packed 16-byte ids; without them, new ones are made. Nothing is raised for refused rows. The guards
        are those of `transfer`, for all rows; `if_version` may also have one number a row, 0 for any version. Where a row is answered
        `version_conflict`, `accounts` reads the versions that the accounts have now.
        """
        amounts = _pack_amounts(amount)
        if not len(amounts):
            raise ProtocolError("transfers: expected at least one transfer", ErrorCode.bad_request)
        versions, names, tokens, protocol = pack_guards(len(amounts), if_version, lock, commit)
        batch = Transfers(
            self._pack_ids(ids, len(amounts)), SEPARATOR.join(debit), SEPARATOR.join(credit), amounts.tobytes(),
            b"" if flags is None else np.asarray(flags, "<u2").tobytes(),
            b"" if code is None else np.asarray(code, "<u4").tobytes(),
            "" if reference is None else SEPARATOR.join(reference),
            ttl=b"" if ttl is None else np.asarray(ttl, "<u4").tobytes(),
            if_version=versions, lock=names, token=tokens, commit=protocol,
        )  # fmt: skip
        statuses = await send(self._calls, Transfers.unpack(batch.pack()), timeout)
        return [STATUSES[status] for status in statuses]  # type: ignore[misc]  # nodes send known ones only

    def _pack_ids(self, ids: bytes | Sequence[int] | None, count: int) -> bytes:
        if ids is None:
            return self._ids.take(count)
        return ids if isinstance(ids, bytes) else b"".join(map(_id, ids))

    async def outcome(self, id: int, debit: str, *, timeout: float | None = None) -> Status:
        """Settles what became of a transfer: `created`, the reason why it was refused, or `cancelled`.

        An id that no node has seen is cancelled by this call, so that a copy still on its way can never happen later. `debit` is
        the payment's own debit account: if the id happened with one of another shard, as far as can be told in time, this raises
        Refused(exists_with_different_debit_account), which names it.
        """
        deadline = self._deadline(timeout)
        answer = await self._calls.ask(Operation.outcome, [debit], [_id(id), debit], timeout)
        status = Status(answer[0])
        if status == Status.cancelled and (other := await self._debit_now(id, deadline)) not in (None, debit):
            expected = f"{other}, the debit account that this id happened with; with {debit} it is cancelled"
            raise Refused(Status.exists_with_different_debit_account.name, expected)
        return status

    async def _debit_now(self, id: int, deadline: float) -> str | None:
        """The debit account that an id happened with; None if it did not, or if it cannot be told in time."""
        try:
            found = await self.find(id, timeout=deadline - self._calls.now())
        except RingpayError:
            return None
        return None if found is None else found.debit

    async def find(self, id: int, *, timeout: float | None = None) -> Entry | None:
        """The transfer, hold, capture or void that happened under an id; None if none did. Every shard is asked, and must answer."""
        (row,) = await self._calls.ask(Operation.find_by_id, [], [_id(id)], timeout)
        if row is None or row[8] != Status.created:
            return None
        entry = Entry(id, *row[1:8])
        self._remember_hold(id, entry.debit, entry.credit)
        return entry

    async def trace(self, id: int, debit: str | None = None, *, timeout: float | None = None) -> Trace:
        """What became of a transfer: round, coordinator, participants, their votes, the decision, and when each phase was.

        `debit` tells apart what was paid from different shards under the same id. Records last, rounds are remembered for a while.
        Raises Refused(transfer_not_found), and Busy where a shard that may have seen the id does not answer.
        """
        (row,) = await self._calls.call(Operation.trace, -1, [_id(id), debit or ""], timeout, None)
        if row is None:
            raise Refused("transfer_not_found", "the id of a transfer that some shard has seen")
        return Trace.unpack(id, row)

    async def undecided(self, *, timeout: float | None = None) -> Undecided:
        """The rounds between shards that are not decided now, the oldest first."""
        return Undecided.unpack(await self._calls.call(Operation.undecided, -1, [], timeout, None))

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
        """`async with` it: waits at most `wait` seconds (None: without end), renews itself every third of `ttl` seconds, releases.

        `owner` is shared by locks that are taken together. With `must_hold` the end of the block raises
        Refused(lock_not_held) if the lease was lost meanwhile. Raises ProtocolError(bad_request) for a wait or an owner that
        cannot be.
        """
        return Lock(self._calls, name, ttl, wait, owner, must_hold)

    def lock_owner(self) -> LockOwner:
        """An owner for several locks."""
        return LockOwner()

    # -- the cluster ----------------------------------------------------------------------------------------------

    async def snapshot(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Account]:
        """Several accounts at one consistent cut: of each transaction all of it or nothing. Raises Refused(account_not_found)."""
        _check_accounts(ids)
        rows = await self._calls.call(Operation.snapshot, COORDINATOR, list(ids), timeout, None)
        missing = [id for id, row in zip(ids, rows, strict=True) if row is None]
        if missing:
            raise Refused(AccountStatus.account_not_found.name, f"accounts that were created, unlike {missing[0]}")
        return [Account.unpack(row) for row in rows]

    async def audit(self, *, timeout: float | None = None) -> Report:
        """Adds up all shards at one consistent cut and compares all replicas that answer, on the running cluster."""
        totals, groups = await self._calls.call(
            Operation.audit, COORDINATOR, [], timeout or 3 * self._calls.timeout, None
        )
        currencies = {
            code: CurrencyTotals(code, debits, credits, held, incoming, posted, posted == 0 and debits == credits)
            for code, posted, held, incoming, debits, credits in ([row[0], *map(int, row[1:])] for row in totals)
        }
        shards = tuple(ShardDigest(group, index, dict(digests)) for group, index, _, digests in groups)
        return Report(currencies, shards)

    async def cluster(self, *, timeout: float | None = None) -> ClusterStatus:
        """Who answers, who leads, who recovers: asks every node, all at once. Raises Unreachable where none answers."""
        return await survey(self._calls, timeout)


def _check_accounts(ids: Sequence[str]) -> None:
    if isinstance(ids, str) or len(ids) > TRANSFERS_MAX:
        got = repr(ids) if isinstance(ids, str) else len(ids)
        raise ProtocolError(f"expected a list of at most {TRANSFERS_MAX} account ids, got {got}", ErrorCode.bad_request)


def _pack_amounts(amount: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    if isinstance(amount, np.ndarray):
        if amount.dtype.kind not in "iu":
            raise ProtocolError(f"amounts: expected integers of minor units, got {amount.dtype}", ErrorCode.bad_request)
        return amount.astype("<i8")
    return np.array([_clamp(value) for value in amount], "<i8")


def _clamp(amount: object) -> int:
    """An amount that no ledger takes still travels, to be refused with its status. Only integers are amounts."""
    if not isinstance(amount, (int, np.integer)) or isinstance(amount, bool):
        raise ProtocolError(f"amount {amount!r}: expected an integer of minor units", ErrorCode.bad_request)
    amount = int(amount)
    return max(-(2**63), min(amount, 2**63 - 1))


def _fixed(name: str, number: object, width: int) -> bytes:
    if not isinstance(number, (int, np.integer)) or not 0 <= number < 1 << 8 * width:
        text = f"{name} {number!r}: expected an integer of 0 to {(1 << 8 * width) - 1}"
        raise ProtocolError(text, ErrorCode.bad_request)
    return int(number).to_bytes(width, "little")


def _id(number: object) -> bytes:
    return _fixed("id", number, 16)[::-1]


def _one_text(text: object, name: str) -> str:
    if not isinstance(text, str) or SEPARATOR in text:
        raise ProtocolError(f"{name} {text!r:.80}: expected one line of text", ErrorCode.bad_request)
    return text
