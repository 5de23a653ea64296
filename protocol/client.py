"""The tiny client: async `Client`, and its synchronous twin from `connect`. The one file of the protocol with I/O.

It knows any nodes of a cluster, learns from them who leads what, sends each request to where it is decided, and asks the
next node when one dies. Every change carries an id, so asking again is safe; when time runs out first, `OutcomeUnknown`
says so and `Client.outcome` settles it.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from protocol import ids as transfer_ids
from protocol.columns import SEPARATOR, Flag, Transfers
from protocol.errors import Busy, ErrorCode, OutcomeUnknown, ProtocolError, Refused, RingpayError, Unreachable
from protocol.frames import FRAME_BYTES_MAX, FrameDecoder, header
from protocol.messages import (
    PROTOCOL_VERSION,
    Failure,
    Goodbye,
    Hello,
    Message,
    Placed,
    Reply,
    Request,
    Role,
    Welcome,
    check_welcome,
    decode,
    encode,
)
from protocol.placement import Placement, shards_of
from protocol.status import TRANSFERS_MAX, AccountStatus, Status

TIMEOUT_SECONDS = 10.0  # of a call: twenty times the longest fail-over
CONNECT_SECONDS = 1.0  # a local node answers in milliseconds; a paused one not at all
RETRY_SECONDS = 0.01  # between two attempts; a new leader is there within tenths of a second
COORDINATOR = 0  # the group whose leader runs commit rounds
ACCOUNT_STATES = ("open", "frozen", "closed")
SAMPLE = 8  # transfers looked at to guess whether a batch stays within one shard
STATUSES = [Status(number) if number in Status._value2member_map_ else None for number in range(256)]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted transfer or hold."""

    id: int
    status: Status  # `created`, or `exists` when it had been accepted before


@dataclass(frozen=True, slots=True)
class Account:
    """An account as of the read. Amounts in minor units."""

    id: str
    currency: str
    posted: int  # credits minus debits
    held: int
    incoming: int  # credits of rounds that are not decided
    minimum_balance: int | None
    maximum_balance: int | None
    status: str  # open, frozen or closed
    owner: str
    metadata: bytes
    version: int

    @property
    def available(self) -> int | None:
        """What can be spent now; None without a lower limit."""
        return None if self.minimum_balance is None else self.posted - self.held - self.minimum_balance


@dataclass(frozen=True, slots=True)
class Entry:
    """One transfer in an account's history."""

    id: int
    debit: str
    credit: str
    amount: int
    code: int
    flags: int
    reference: str
    timestamp_ns: int


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """One currency in an audit."""

    currency: str
    debits: int  # ever posted
    credits: int
    held: int
    in_flight: int
    posted: int  # sum over all accounts
    balanced: bool


@dataclass(frozen=True, slots=True)
class ShardDigest:
    """One group in an audit: each replica's digest at the cut, None for a node that did not answer."""

    group: int
    index: int
    digests: dict[int, int | None]

    @property
    def agrees(self) -> bool:
        """Whether the replicas that answered, a majority at least, are equal."""
        known = [digest for digest in self.digests.values() if digest is not None]
        return len(known) * 2 > len(self.digests) and len(dict.fromkeys(known)) == 1


@dataclass(frozen=True, slots=True)
class Report:
    """An audit at one consistent cut."""

    currencies: dict[str, CurrencyTotals]
    shards: tuple[ShardDigest, ...]

    @property
    def balanced(self) -> bool:
        """Whether every currency balances and all replicas agree."""
        return all(row.balanced for row in self.currencies.values()) and all(shard.agrees for shard in self.shards)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster as one node sees it."""

    placement: Placement
    leaders: tuple[int, ...]  # node of each group's leader, group 0 (the coordinator) first; 0 unknown
    node: int  # who answered
    up: tuple[int, ...]  # nodes it is connected to, itself included
    groups: tuple[tuple[Any, ...], ...]  # its replicas: group, role, term, leader, commit, applied, last index, waiting
    rounds: int  # commit rounds that this node has run

    @property
    def coordinator(self) -> int:
        """The node that runs commit rounds, 0 while there is none."""
        return self.leaders[0]


class _Connection(asyncio.Protocol):
    """One connection to a node; answers go to futures."""

    def __init__(self, hello: Hello, placed: Callable[[Placement, Sequence[int]], None]) -> None:
        self.welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._hello = hello
        self._placed = placed
        self._decoder = FrameDecoder(FRAME_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Reply | Failure]] = {}
        self._error = "connection lost"
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True
        self._write(self._hello)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._decoder.feed(data):
                self._on_message(decode(body))
        except ProtocolError as error:
            self._end(error)

    def _on_message(self, message: Message) -> None:
        match message:
            case Reply() | Failure() if message.id:
                waiter = self._waiting.pop(message.id, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(message)
            case Welcome():
                if (error := check_welcome(message, self._hello.cluster)) is not None:
                    raise error
                self._placed(Placement.unpack(message.placement), message.leaders)
                if not self.welcome.done():
                    self.welcome.set_result(message)
            case Placed():
                self._placed(Placement.unpack(message.placement), message.leaders)
            case Failure():
                raise ProtocolError(message.message, _error_code(message.code))
            case Goodbye():
                self.is_open = False
            case _:
                raise ProtocolError(f"unexpected {type(message).__name__} from a node")

    def _end(self, error: ProtocolError) -> None:
        if not self.welcome.done():
            self.welcome.set_exception(error)
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionResetError(self._error))
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(ConnectionResetError(self._error))
        self._waiting.clear()

    def _write(self, message: Message) -> None:
        if self._transport is not None:
            body = encode(message)
            self._transport.writelines([header(body), body])

    async def ask(self, request: Request) -> Reply | Failure:
        """Raises ConnectionResetError when the connection breaks first."""
        if not self.is_open:
            raise ConnectionResetError(self._error)
        waiter: asyncio.Future[Reply | Failure] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = waiter
        self._write(request)
        try:
            return await waiter
        finally:
            self._waiting.pop(request.id, None)

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.close()


class Client:
    """A client of one cluster. `addresses` are any of its nodes, as "host:port,host:port" or a list; it finds the others.

    All calls raise `RingpayError`s: `Refused` by the books, `Busy` when a node sheds load, `OutcomeUnknown` when a change got
    no answer in time, `Unreachable` when a read did not, `ProtocolError` on nonsense.
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
        given = addresses.split(",") if isinstance(addresses, str) else list(addresses)
        self._addresses = [_parse_address(address.strip()) for address in given]
        self._hello = Hello(PROTOCOL_VERSION, cluster, Role.client, 0, token, 0)
        self._timeout = timeout
        self._ids = ids or transfer_ids.IdGenerator(lambda: time.time_ns() // 1_000_000, secrets.randbits)
        self._connections: dict[tuple[str, int], _Connection] = {}
        self._connecting: dict[tuple[str, int], asyncio.Task[_Connection]] = {}
        self._placement: Placement | None = None
        self._leaders: list[int] = []
        self._numbers = itertools.count(1)
        self._turn = itertools.count()
        self._holds: dict[int, tuple[str, str]] = {}

    async def __aenter__(self) -> Client:
        await self._any_connection(self._now() + self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        for task in self._connecting.values():
            task.cancel()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        await asyncio.sleep(0)

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
        timeout: float | None = None,
    ) -> AccountStatus:
        """Opens an account; `exists` if it had been opened alike. Raises Refused."""
        row = [id, currency, minimum_balance, maximum_balance, owner, metadata]
        (status,) = await self.create_accounts([row], timeout=timeout)
        if status > AccountStatus.updated:
            raise Refused(status.name, _expected_account(status))
        return status

    async def create_accounts(self, rows: Sequence[Sequence[Any]], *, timeout: float | None = None) -> list[AccountStatus]:
        """Opens up to 8,192 accounts, rows of (id, currency, minimum, maximum, owner, metadata); one status each."""
        body = [list(row) for row in rows]
        statuses = await self._ask("accounts", [row[0] for row in body], body, timeout)
        return [AccountStatus(status) for status in statuses]

    async def update_account(self, id: str, *, timeout: float | None = None, **fields: Any) -> AccountStatus:
        """Changes `minimum_balance`, `maximum_balance`, `owner`, `metadata` or `status` (open, frozen, closed). Raises Refused."""
        names = {"minimum_balance": "minimum", "maximum_balance": "maximum"}
        if "status" in fields:
            fields["status"] = ACCOUNT_STATES.index(fields["status"])
        body = [id, {names.get(name, name): value for name, value in fields.items()}]
        (number,) = await self._ask("update", [id], body, timeout)
        status = AccountStatus(number)
        if status > AccountStatus.updated:
            raise Refused(status.name, _expected_account(status))
        return status

    async def account(self, id: str, *, timeout: float | None = None) -> Account:
        """One account, as of now. Raises Refused(account_not_found)."""
        (found,) = await self.accounts([id], timeout=timeout)
        if found is None:
            raise Refused(AccountStatus.account_not_found.name, "an account that was created")
        return found

    async def accounts(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Account | None]:
        """Several accounts, each as of now (one cut over all of them is `audit`'s); None for unknown ones."""
        rows = await self._ask("balances", list(ids), list(ids), timeout)
        return [None if row is None else _account(row) for row in rows]

    async def history(self, id: str, *, newest_first: bool = False, page: int = 500) -> AsyncIterator[Entry]:
        """The account's transfers in order of time, read page by page."""
        cursor: int | None = None
        while True:
            rows, cursor = await self._ask("history", [id], [id, cursor, page, newest_first], None)
            if rows is None:
                raise Refused(AccountStatus.account_not_found.name, "an account that was created")
            for row in rows:
                yield Entry(transfer_ids.unpack(row[0]), *row[1:8])
            if cursor is None:
                return

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
        timeout: float | None = None,
    ) -> Receipt:
        """Moves money. Raises Refused, Busy or OutcomeUnknown."""
        return await self._one(debit, credit, amount, id, Flag.none, code=code, reference=reference, timeout=timeout)

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
        timeout: float | None = None,
    ) -> Receipt:
        """Puts money aside for at most `ttl` seconds."""
        receipt = await self._one(
            debit, credit, amount, id, Flag.hold, code=code, reference=reference, ttl=ttl, timeout=timeout
        )
        self._remember_hold(receipt.id, debit, credit)
        return receipt

    async def capture(
        self, hold: int, amount: int, *, id: int | None = None, reference: str = "", timeout: float | None = None
    ) -> Receipt:
        """Moves a part of a hold, or all of it; may be called until nothing is left."""
        debit, credit = await self._accounts_of_hold(hold)
        return await self._one(debit, credit, amount, id, Flag.capture, hold=hold, reference=reference, timeout=timeout)

    async def void(self, hold: int, *, id: int | None = None, timeout: float | None = None) -> Receipt:
        """Gives back what is left of a hold."""
        debit, credit = await self._accounts_of_hold(hold)
        return await self._one(debit, credit, 0, id, Flag.void, hold=hold, timeout=timeout)

    def _remember_hold(self, hold: int, debit: str, credit: str) -> None:
        self._holds[hold] = debit, credit
        if len(self._holds) > TRANSFERS_MAX:
            del self._holds[next(iter(self._holds))]

    async def _accounts_of_hold(self, hold: int) -> tuple[str, str]:
        if hold not in self._holds:
            (row,) = await self._ask("find", [], [transfer_ids.pack(hold)], None)
            if row is None:
                raise Refused(Status.hold_not_found.name, "the id of an accepted hold")
            self._remember_hold(hold, row[1], row[2])
        return self._holds[hold]

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
        timeout: float | None,
    ) -> Receipt:
        number = self._ids.next() if id is None else id
        batch = Transfers(
            _fixed(number, 16, "big"), _one_text(debit, "debit"), _one_text(credit, "credit"),
            _clamp(amount).to_bytes(8, "little", signed=True), _fixed(int(flag), 2) if flag else b"",
            _fixed(code, 4) if code else b"", _one_text(reference, "reference"),
            _fixed(hold, 16, "big") if hold else b"", _fixed(ttl, 4) if ttl else b"",
        )  # fmt: skip
        (number_of_status,) = await self._transfers(batch, timeout)
        status = Status(number_of_status)
        if status > Status.exists:
            raise Refused(status.name, _expected(status))
        return Receipt(number, status)

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
        timeout: float | None = None,
    ) -> list[Status]:
        """Up to 8,192 transfers as columns; one status each. A row with `Flag.linked` happens only with the next one.

        `ids` are integers or packed 16-byte ids; without them, new ones are made. Nothing is raised for refused rows.
        """
        amounts = np.asarray([_clamp(int(value)) for value in amount] if isinstance(amount, list) else amount, "<i8")
        batch = Transfers(
            self._pack_ids(ids, len(amounts)), SEPARATOR.join(debit), SEPARATOR.join(credit), amounts.tobytes(),
            b"" if flags is None else np.asarray(flags, "<u2").tobytes(),
            b"" if code is None else np.asarray(code, "<u4").tobytes(),
            "" if reference is None else SEPARATOR.join(reference),
            ttl=b"" if ttl is None else np.asarray(ttl, "<u4").tobytes(),
        )  # fmt: skip
        statuses = await self._transfers(Transfers.unpack(batch.pack()), timeout)
        return [STATUSES[status] for status in statuses]  # type: ignore[misc]  # nodes send known ones only

    def _pack_ids(self, ids: bytes | Sequence[int] | None, count: int) -> bytes:
        if ids is None:
            return self._ids.take(count)
        return ids if isinstance(ids, bytes) else b"".join(transfer_ids.pack(number) for number in ids)

    async def _transfers(self, batch: Transfers, timeout: float | None) -> bytes:
        group = self._group_of_batch(batch)
        first = transfer_ids.unpack(batch.ids[:16])
        (statuses,) = await self._call("transfers", group, batch.pack(), timeout, first)
        assert isinstance(statuses, bytes)
        return statuses

    def _group_of_batch(self, batch: Transfers) -> int:
        """The one shard that all rows stay in, or the coordinator's group."""
        assert self._placement is not None
        if self._placement.shards == 1:
            return 1
        debits, credits = batch.debits(), batch.credits()
        group = self._group_of([*debits[:SAMPLE], *credits[:SAMPLE]])
        return self._group_of([*debits, *credits]) if group and len(batch) > SAMPLE else group

    def _group_of(self, accounts: list[str]) -> int:
        """The group of all these accounts, 0 where there are several."""
        assert self._placement is not None
        groups = shards_of(accounts, self._placement.shards)
        return 0 if (groups != groups[0]).any() else int(groups[0]) + 1

    async def outcome(self, id: int, debit: str, *, timeout: float | None = None) -> Status:
        """Settles what became of a transfer: `created`, the reason why it was refused, or `cancelled`.

        An id that no node has seen is cancelled by this call, so that a copy still on its way can never happen later.
        """
        answer = await self._ask("outcome", [debit], [transfer_ids.pack(id), debit], timeout)
        return Status(answer[0])

    # -- the cluster ----------------------------------------------------------------------------------------------

    async def audit(self, *, timeout: float | None = None) -> Report:
        """Adds up all shards at one consistent cut and compares all replicas, on the running cluster."""
        totals, groups = await self._call("audit", COORDINATOR, [], timeout or 3 * self._timeout, None)
        currencies = {
            code: CurrencyTotals(code, debits, credits, held, incoming, posted, posted == 0 and debits == credits)
            for code, posted, held, incoming, debits, credits in ([row[0], *map(int, row[1:])] for row in totals)
        }
        shards = tuple(ShardDigest(group, index, dict(digests)) for group, index, _, digests in groups)
        return Report(currencies, shards)

    async def cluster(self, *, timeout: float | None = None) -> ClusterStatus:
        """What one node knows of the cluster."""
        placement, leaders, node, up, groups, coordinator = await self._call("cluster", -1, [], timeout, None)
        rows = tuple(tuple(row) for row in groups)
        return ClusterStatus(Placement.unpack(placement), tuple(leaders), node, tuple(up), rows, coordinator[3])

    # -- calls ----------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _ask(self, operation: str, accounts: list[str], body: list[Any], timeout: float | None) -> list[Any]:
        """A call to the one group of the accounts, or to any node."""
        group = -1
        if accounts and self._placement is not None and len(accounts) <= SAMPLE:
            group = self._group_of(accounts) or -1
        return await self._call(operation, group, body, timeout, None)

    async def _call(
        self, operation: str, group: int, body: list[Any], timeout: float | None, change: int | None
    ) -> list[Any]:
        """Asks until there is an answer or time is up. `change` is the id to name when the outcome stays unknown."""
        deadline = self._now() + (self._timeout if timeout is None else timeout)
        uncertain = False
        reason = "no answer in time"
        while (left := deadline - self._now()) > 0:
            try:
                connection, strict = await self._connection_for(group, deadline)
                number = next(self._numbers)
                request = Request(number, operation, group if strict else -1, max(1, int(left * 1000)), 0, body)
                async with asyncio.timeout_at(deadline):
                    answer = await connection.ask(request)
            except (OSError, TimeoutError):
                uncertain = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if isinstance(answer, Reply):
                return answer.body
            code = _error_code(answer.code)
            if not code.is_transient:
                raise ProtocolError(answer.message, code)
            if code is ErrorCode.busy and not uncertain:
                raise Busy(max(answer.retry_after_ms, 1) / 1000)
            uncertain = uncertain or code is not ErrorCode.busy
            reason = answer.message
            self._note_leader(group, answer.hint)
            await asyncio.sleep(RETRY_SECONDS)
        if change is not None and uncertain:
            raise OutcomeUnknown(change, reason)
        raise Unreachable(f"{operation}: {reason}")

    def _note_leader(self, group: int, hint: int) -> None:
        if 0 <= group < len(self._leaders):
            self._leaders[group] = hint

    async def _connection_for(self, group: int, deadline: float) -> tuple[_Connection, bool]:
        """A connection, and whether it leads to the group's leader itself."""
        if 0 <= group < len(self._leaders) and self._placement is not None and self._leaders[group]:
            address = self._placement.address(self._leaders[group])
            if address is not None:
                try:
                    return await self._connection(address.host, address.port), True
                except OSError:
                    self._leaders[group] = 0
        return await self._any_connection(deadline), False

    async def _any_connection(self, deadline: float) -> _Connection:
        """A connection to any node, taken in turn. Raises Unreachable."""
        reason = "no address"
        while self._now() < deadline:
            known = [(node.host, node.port) for node in self._placement.nodes] if self._placement else []
            candidates = list(dict.fromkeys([*self._addresses, *known]))
            start = next(self._turn)
            for place in range(len(candidates)):
                host, port = candidates[(start + place) % len(candidates)]
                try:
                    return await self._connection(host, port)
                except OSError as error:
                    reason = f"{host}:{port}: {error}"
            await asyncio.sleep(RETRY_SECONDS)
        raise Unreachable(f"no node answers ({reason})")

    async def _connection(self, host: str, port: int) -> _Connection:
        """The open connection to an address; many callers share one attempt."""
        open_one = self._connections.get((host, port))
        if open_one is not None and open_one.is_open:
            return open_one
        if (host, port) not in self._connecting:
            task = asyncio.ensure_future(self._open(host, port))
            self._connecting[host, port] = task
            task.add_done_callback(lambda _: self._connecting.pop((host, port), None))
        return await asyncio.shield(self._connecting[host, port])

    async def _open(self, host: str, port: int) -> _Connection:
        loop = asyncio.get_running_loop()
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(lambda: _Connection(self._hello, self._on_placed), host, port)
                await connection.welcome
        except TimeoutError as error:
            if connection is not None:
                connection.close()
            raise ConnectionResetError("does not answer") from error
        self._connections[host, port] = connection
        return connection

    def _on_placed(self, placement: Placement, leaders: Sequence[int]) -> None:
        if self._placement is None or placement.version >= self._placement.version:
            self._placement = placement
        if len(self._leaders) != len(leaders):
            self._leaders = [0] * len(leaders)
        for group, leader in enumerate(leaders):
            if leader:
                self._leaders[group] = leader


class SyncClient:
    """The same calls as `Client`, without await; `history` gives a list. Owns a thread with an event loop."""

    def __init__(self, addresses: str | Sequence[str], **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ringpay client", daemon=True)
        self._thread.start()
        self._client = Client(addresses, **options)
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self.close()
            raise

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or not hasattr(Client, name):
            raise AttributeError(f"the client has no {name}")
        method = getattr(self._client, name)
        if name == "new_id":
            return method  # type: ignore[no-any-return]  # by name
        return lambda *arguments, **options: self._run(method(*arguments, **options))

    def history(self, id: str, **options: Any) -> list[Entry]:
        """All of the account's transfers."""

        async def collect() -> list[Entry]:
            return [entry async for entry in self._client.history(id, **options)]

        return self._run(collect())

    def close(self) -> None:
        """Closes the connections and ends the thread."""
        if self._thread.is_alive():
            self._run(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(addresses: str | Sequence[str], **options: Any) -> SyncClient:
    """A synchronous client; `options` are those of `Client`."""
    return SyncClient(addresses, **options)


def _account(row: list[Any]) -> Account:
    """`[id, currency, posted, held, incoming, minimum, maximum, state, owner, metadata, version, undecided]`."""
    state = ACCOUNT_STATES[row[7]]
    return Account(row[0], row[1], row[2], row[3], row[4], row[5], row[6], state, row[8], row[9], row[10])


def _parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise ProtocolError(f"address {text!r}: expected host:port", ErrorCode.bad_request)
    return host.strip("[]"), int(port)


def _error_code(code: str) -> ErrorCode:
    try:
        return ErrorCode(code)
    except ValueError:
        return ErrorCode.internal


def _clamp(amount: int) -> int:
    """An amount that no ledger takes still travels, to be refused with its status."""
    return max(-(2**63), min(amount, 2**63 - 1))


def _fixed(number: int, width: int, order: str = "little") -> bytes:
    try:
        return number.to_bytes(width, "big" if order == "big" else "little")
    except OverflowError as error:
        text = f"{number}: expected 0 to {2 ** (8 * width) - 1}"
        raise ProtocolError(text, ErrorCode.bad_request) from error


def _one_text(text: str, name: str) -> str:
    if SEPARATOR in text:
        raise ProtocolError(f"{name}: expected one line", ErrorCode.bad_request)
    return text


def _expected(status: Status) -> str:
    return _EXPECTED.get(status, "")


def _expected_account(status: AccountStatus) -> str:
    return _EXPECTED_ACCOUNT.get(status, "")


_EXPECTED = {
    Status.amount_must_not_be_zero: "an amount above 0, in minor units",
    Status.amount_must_not_be_negative: "an amount above 0, in minor units",
    Status.accounts_must_be_different: "two different accounts",
    Status.debit_account_not_found: "a debit account that was created",
    Status.credit_account_not_found: "a credit account that was created",
    Status.accounts_must_have_the_same_currency: "two accounts of one currency",
    Status.insufficient_funds: "an amount within the debit account's available balance",
    Status.exceeds_maximum_balance: "an amount that keeps the credit account within its maximum balance",
    Status.hold_not_found: "the id of an accepted hold",
    Status.exceeds_hold_amount: "an amount within what is left of the hold",
    Status.debit_account_frozen: "a debit account that is open",
    Status.credit_account_frozen: "a credit account that is open",
    Status.debit_account_closed: "a debit account that is open",
    Status.credit_account_closed: "a credit account that is open",
    Status.hold_must_have_ttl: "a time to live above 0 seconds",
}
_EXPECTED_ACCOUNT = {
    AccountStatus.id_must_not_be_empty: "an id of 1 to 64 bytes",
    AccountStatus.id_too_long: "an id of 1 to 64 bytes",
    AccountStatus.id_has_invalid_characters: "an id without spaces and control characters",
    AccountStatus.currency_unknown: "an ISO 4217 code",
    AccountStatus.account_not_found: "an account that was created",
    AccountStatus.account_not_empty: "an account without balance, holds and incoming credits",
    AccountStatus.account_closed: "an account that is not closed",
}

__all__ = [
    "Account", "Client", "ClusterStatus", "CurrencyTotals", "Entry", "Receipt", "Report", "RingpayError", "ShardDigest",
    "SyncClient", "connect",
]  # fmt: skip
