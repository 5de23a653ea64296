"""Where a call goes, and what happens until it is answered."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from protocol.client.connection import Address, Connection
from protocol.errors import Busy, ErrorCode, OutcomeUnknown, ProtocolError, Unreachable, error_code
from protocol.messages import Failure, Hello, Reply, Request
from protocol.operations import Operation
from protocol.placement import Placement, shards_of
from protocol.status import AccountStatus

CONNECT_SECONDS = 1.0  # a local node answers in milliseconds; a paused one not at all
RETRY_SECONDS = 0.01  # between two attempts; a new leader is there within tenths of a second
ATTEMPT_SECONDS = 3.0  # with one node: a leader that is cut off never answers, and the others have elected one by then
SILENT_SECONDS = 5.0  # who did not answer is asked last for so long: every call would wait for it anew
PATIENT = (Operation.audit, Operation.snapshot)  # what may rightly take longer: never asked twice
SAMPLE = 8  # accounts that are hashed to guess where a request belongs


class Calls:
    """Connections to a cluster's nodes, and calls that are repeated until they are answered or time is up."""

    def __init__(self, addresses: str | Sequence[str], hello: Hello, timeout: float) -> None:
        given = addresses.split(",") if isinstance(addresses, str) else list(addresses)
        self.timeout = timeout
        self.placement: Placement | None = None
        self.split: dict[str, None] = {}  # the split accounts that are known
        self._addresses = [_parse_address(address.strip()) for address in given]
        self._hello = hello
        self._connections: dict[Address, Connection] = {}
        self._connecting: dict[Address, asyncio.Task[Connection]] = {}
        self._silent: dict[Address, float] = {}  # until when
        self._leaders: list[int] = []
        self._numbers = itertools.count(1)
        self._turn = itertools.count()

    async def close(self) -> None:
        """Closes all connections."""
        for task in self._connecting.values():
            task.cancel()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        await asyncio.sleep(0)

    def group_of(self, accounts: list[str]) -> int:
        """The group of all these accounts, 0 where there are several."""
        assert self.placement is not None
        groups = shards_of(accounts, self.placement.shards)
        return 0 if (groups != groups[0]).any() else int(groups[0]) + 1

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def deadline(self, timeout: float | None) -> float:
        """When a call that begins now is given up; None: after the client's own time."""
        return self.now() + (self.timeout if timeout is None else timeout)

    async def ask(self, operation: Operation, accounts: list[str], body: list[Any], timeout: float | None) -> list[Any]:
        """A call to the one group of the accounts, or to any node."""
        group = -1
        if accounts and self.placement is not None and len(accounts) <= SAMPLE:
            group = self.group_of(accounts) or -1
        return await self.call(operation, group, body, timeout, None)

    async def call(
        self, operation: Operation, group: int, body: list[Any], timeout: float | None, change: int | None
    ) -> list[Any]:
        """Asks until there is an answer or time is up. `change` is the id to name when the outcome stays unknown."""
        deadline = self.deadline(timeout)
        uncertain = False
        target = group
        reason = "no answer in time"
        while self.now() < deadline:
            try:
                connection, strict = await self._connection_for(target, deadline)
                number = next(self._numbers)
                limit = deadline if operation in PATIENT else min(deadline, self.now() + ATTEMPT_SECONDS)
                left_ms = max(1, int((limit - self.now()) * 1000))
                request = Request(number, operation.value, group if strict else -1, left_ms, 0, body)
                answer = await self._ask(connection, request, limit)
            except (Unreachable, ProtocolError) as error:
                if change is None or not uncertain:
                    raise
                raise OutcomeUnknown(change, str(error)) from error
            except (OSError, TimeoutError):
                uncertain = True
                target = -1  # another node finds the leader
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if isinstance(answer, Reply):
                if uncertain and operation is Operation.update and answer.body[0] == AccountStatus.version_conflict:
                    raise Unreachable("update: the account has changed, perhaps by an earlier attempt of this call")
                return answer.body
            code = error_code(answer.code)
            if code is ErrorCode.internal and change is not None:
                raise OutcomeUnknown(change, answer.message)
            if not code.is_transient:
                raise ProtocolError(answer.message, code)
            if code is ErrorCode.busy and not uncertain:
                raise Busy(max(answer.retry_after_ms, 1) / 1000, answer.message)
            uncertain = uncertain or code is not ErrorCode.busy
            reason = answer.message
            self._note_leader(group, answer.hint)
            await asyncio.sleep(RETRY_SECONDS)
        if change is not None and uncertain:
            raise OutcomeUnknown(change, reason)
        raise Unreachable(f"{operation}: {reason}")

    async def ask_node(self, address: Address, operation: Operation, body: list[Any], seconds: float) -> list[Any]:
        """Asks this one node, once. Raises OSError, TimeoutError or ProtocolError."""
        limit = self.now() + seconds
        async with asyncio.timeout_at(limit):
            connection = await self._connection(address)
        answer = await self._ask(
            connection, Request(next(self._numbers), operation, -1, int(seconds * 1000), 0, body), limit
        )
        if isinstance(answer, Failure):
            raise ProtocolError(answer.message, error_code(answer.code))
        return answer.body

    async def _ask(self, connection: Connection, request: Request, limit: float) -> Reply | Failure:
        try:
            async with asyncio.timeout_at(limit):
                return await connection.ask(request)
        except TimeoutError:
            self._note_silence(connection.address)
            raise

    def _note_silence(self, address: Address) -> None:
        self._silent[address] = self.now() + SILENT_SECONDS

    def _note_leader(self, group: int, hint: int) -> None:
        if 0 <= group < len(self._leaders):
            self._leaders[group] = hint

    async def _connection_for(self, group: int, deadline: float) -> tuple[Connection, bool]:
        """A connection, and whether it leads to the group's leader itself."""
        if 0 <= group < len(self._leaders) and self.placement is not None and self._leaders[group]:
            address = self.placement.address(self._leaders[group])
            if address is not None:
                try:
                    return await self._connection((address.host, address.port)), True
                except (OSError, ProtocolError) as error:
                    _pass_over(error)
                    self._leaders[group] = 0
        return await self.any_connection(deadline), False

    async def any_connection(self, deadline: float) -> Connection:
        """A connection to any node, taken in turn, those last that did not answer a moment ago.

        Raises Unreachable; ProtocolError(wrong_cluster) if no node answers but of another cluster than before.
        """
        reason = "no address"
        while self.now() < deadline:
            known = [(node.host, node.port) for node in self.placement.nodes] if self.placement else []
            candidates = list(dict.fromkeys([*self._addresses, *known]))
            start = next(self._turn) % len(candidates)
            in_turn = [*candidates[start:], *candidates[:start]]
            other: ProtocolError | None = None
            for address in sorted(in_turn, key=lambda address: self._silent.get(address, 0.0) > self.now()):
                try:
                    return await self._connection(address)
                except (OSError, ProtocolError) as error:
                    other = _pass_over(error) or other
                    reason = f"{address[0]}:{address[1]}: {error}"
            if other is not None:
                raise other
            await asyncio.sleep(RETRY_SECONDS)
        raise Unreachable(f"no node answers ({reason})")

    async def _connection(self, address: Address) -> Connection:
        """The open connection to an address; many callers share one attempt."""
        open_one = self._connections.get(address)
        if open_one is not None and open_one.is_open:
            return open_one
        if address not in self._connecting:
            task = asyncio.ensure_future(self._open(address))
            self._connecting[address] = task
            task.add_done_callback(lambda _: self._connecting.pop(address, None))
        return await asyncio.shield(self._connecting[address])

    async def _open(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(address, self._hello, self._on_placed)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: connection, *address)
                welcome = await connection.welcome
        except TimeoutError as error:
            connection.close()
            self._note_silence(address)
            raise ConnectionResetError("does not answer") from error
        # What answers later must be of this cluster.
        self._hello = replace(self._hello, cluster=welcome.cluster, identity=welcome.identity)
        self._connections[address] = connection
        return connection

    def _on_placed(self, placement: Placement, leaders: Sequence[int], split: Sequence[str]) -> None:
        self.split.update(dict.fromkeys(split))
        if self.placement is None or placement.version >= self.placement.version:
            self.placement = placement
        if len(self._leaders) != len(leaders):
            self._leaders = [0] * len(leaders)
        for group, leader in enumerate(leaders):
            if leader:
                self._leaders[group] = leader


def _pass_over(error: OSError | ProtocolError) -> ProtocolError | None:
    """A node that is gone, or belongs to another cluster (which is returned), is passed over; anything else is raised."""
    if isinstance(error, OSError):
        return None
    if error.code is not ErrorCode.wrong_cluster:
        raise error
    return error


def _parse_address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise ProtocolError(f"address {text!r}: expected host:port", ErrorCode.bad_request)
    return host.strip("[]"), int(port)
