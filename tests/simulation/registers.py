"""Registers, counters and lists: what accounts become for those who update them by version.

A *register* is an account's metadata, changed by `update_account(if_version=)`; a *counter* is an account's balance,
lowered by `transfer(if_version=)`; a *list* is metadata that only grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

from protocol.client import Account, Client
from protocol.errors import Busy, OutcomeUnknown, Refused, Unreachable
from tests.simulation.linearizability import Operation, Outcome
from tests.simulation.list_append import Transaction
from tests.simulation.loop import SimLoop
from tests.simulation.records import ACCEPTED, NEVER, Payment, Records
from tests.simulation.worker import CALL_SECONDS, Question, Work

REGISTERS = ("register0", "register1", "register2")
COUNTERS = ("counter0", "counter1")
SINKS = ("sink0", "sink1", "sink2", "sink3")  # in several shards, most likely
LISTS = ("list0", "list1", "list2", "list3")
CURRENCY = "EUR"
ELEMENT_BYTES = 2
LENGTH_MAX = 500  # of a list: what an account's metadata can hold
TRIES = 3  # of one append, each with the version of a new read
CONFLICT = "version_conflict"


class Versions:
    """Updates of accounts' metadata by version, and the reads they need."""

    def __init__(self, loop: SimLoop, client: Client, records: Records, random: Random) -> None:
        self.client = client
        self._loop = loop
        self._records = records
        self._random = random

    async def _open(self, names: Sequence[str], minimum: int | None = 0) -> None:
        for name in names:
            await self.client.create_account(name, CURRENCY, minimum_balance=minimum)

    async def _account(self, name: str) -> Account | None:
        try:
            return await self.client.account(name, timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return None

    async def _update(self, name: str, metadata: bytes, version: int) -> Outcome | None:
        """One attempt; None if it was never made."""
        try:
            await self.client.update_account(name, metadata=metadata, if_version=version, timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return None
        except Refused as refused:
            if refused.status != CONFLICT:
                self._records.broken.append(f"{name}: update refused with {refused.status}")
            return Outcome.failed
        except OutcomeUnknown:
            return Outcome.unknown
        return Outcome.done


class Registers(Versions):
    """A `Workload`."""

    def __init__(self, loop: SimLoop, client: Client, records: Records, random: Random) -> None:
        super().__init__(loop, client, records, random)
        self._known: dict[str, tuple[int, int]] = {}  # version and value
        self.works: list[Work] = [(self._read, 20), (self._change, 30), (self._look, 10), (self._lower, 20)]

    async def open(self) -> None:
        """Opens the accounts."""
        await self._open(REGISTERS)
        await self._open(COUNTERS, minimum=None)
        await self._open(SINKS)

    def questions(self) -> list[Question]:
        """What is there at the end, and what became of payments."""
        unsettled = [("outcome", partial(self._settle, one)) for one in self._records.payments.values()]
        reads: list[Question] = [("register", partial(self._read_one, name)) for name in REGISTERS]
        return [*unsettled, *reads, *(("counter", partial(self._look_at, name)) for name in COUNTERS)]

    def _note(self, name: str, operation: Operation) -> None:
        self._records.registers.setdefault(name, []).append(operation)

    # -- metadata -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        await self._read_one(self._random.choice(REGISTERS))

    async def _read_one(self, name: str) -> bool:
        invoked = self._loop.time()
        account = await self._account(name)
        if account is None:
            return False
        value = int.from_bytes(account.metadata, "big")
        self._known[name] = account.version, value
        self._note(name, Operation("read", invoked, self._loop.time(), value))
        self._records.versions.setdefault(name, []).append((account.version, value))
        return True

    async def _change(self) -> None:
        """By what was read now, or some time ago."""
        name = self._random.choice(REGISTERS)
        if name not in self._known or self._random.random() < 0.7:
            await self._read_one(name)
        if name not in self._known:
            return
        version, before = self._known[name]
        value = self._records.number()
        invoked = self._loop.time()
        outcome = await self._update(name, value.to_bytes(4, "big"), version)
        if outcome is None:
            return
        returned = NEVER if outcome is Outcome.unknown else self._loop.time()
        self._note(name, Operation("cas", invoked, returned, value, before, outcome))

    # -- balances -------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        await self._look_at(self._random.choice(COUNTERS))

    async def _look_at(self, name: str) -> bool:
        return await self._look_closely(name) is not None

    async def _look_closely(self, name: str) -> Account | None:
        invoked = self._loop.time()
        account = await self._account(name)
        if account is not None:
            self._note(name, Operation("read", invoked, self._loop.time(), account.posted))
        return account

    async def _lower(self) -> None:
        """A payment that happens only to the balance that was read. A refusal says nothing: a round may have come and gone."""
        name = self._random.choice(COUNTERS)
        account = await self._look_closely(name)
        if account is None:
            return
        amount = self._random.randint(1, 9)
        payment = Payment(
            self.client.new_id(), name, self._loop.time(), account.posted, account.posted - amount
        )  # fmt: skip
        try:
            await self.client.transfer(
                name,
                self._random.choice(SINKS),
                amount,
                id=payment.id,
                if_version=account.version,
                timeout=CALL_SECONDS,
            )
        except (Busy, Unreachable):
            return
        except Refused as refused:
            if refused.status != CONFLICT:
                self._records.broken.append(f"{name}: payment refused with {refused.status}")
            return
        except OutcomeUnknown:
            if not await self._settle(payment):
                self._records.payments[payment.id] = payment
            return
        self._happened(payment)

    def _happened(self, payment: Payment) -> None:
        now = self._loop.time()
        self._note(payment.counter, Operation("cas", payment.invoked, now, payment.after, payment.before))

    async def _settle(self, payment: Payment) -> bool:
        try:
            status = await self.client.outcome(payment.id, payment.counter, timeout=CALL_SECONDS)
        except (Busy, OutcomeUnknown, Unreachable):
            return False
        self._records.payments.pop(payment.id, None)
        if status.name in ACCEPTED:
            self._happened(payment)
        return True


class Lists(Versions):
    """A `Workload`."""

    def __init__(self, loop: SimLoop, client: Client, records: Records, random: Random) -> None:
        super().__init__(loop, client, records, random)
        self.works: list[Work] = [(self._read, 20), (self._append, 40), (self._read_all, 15)]

    async def open(self) -> None:
        """Opens the accounts."""
        await self._open(LISTS)

    def questions(self) -> list[Question]:
        """What is there at the end."""
        return [("list", partial(self._read_one, name)) for name in LISTS]

    async def _read(self) -> None:
        await self._read_one(self._random.choice(LISTS))

    async def _read_one(self, name: str) -> bool:
        return await self._find(name) is not None

    async def _find(self, name: str) -> Account | None:
        invoked = self._loop.time()
        account = await self._account(name)
        if account is not None:
            found = {name: _elements(account.metadata)}
            self._records.lists.append(Transaction(invoked, self._loop.time(), read=found))
        return account

    async def _read_all(self) -> None:
        await self._find_in_cut(self._random.choice(LISTS))

    async def _find_in_cut(self, name: str) -> Account | None:
        """A list, read together with others."""
        others = [other for other in LISTS if other != name]
        names = [name, *self._random.sample(others, self._random.randint(1, len(others)))]
        invoked = self._loop.time()
        try:
            accounts = await self.client.snapshot(names, timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return None
        found = {account.id: _elements(account.metadata) for account in accounts}
        self._records.lists.append(Transaction(invoked, self._loop.time(), read=found))
        return accounts[0]

    async def _append(self) -> None:
        """Adds an element to what was read, again if somebody else was faster."""
        name, element = self._random.choice(LISTS), self._records.number()
        started = self._loop.time()
        for _ in range(TRIES):
            account = await (self._find_in_cut(name) if self._random.random() < 0.3 else self._find(name))
            if account is None or len(account.metadata) >= LENGTH_MAX * ELEMENT_BYTES:
                return
            before = _elements(account.metadata)
            invoked = self._loop.time()
            wanted = account.metadata + element.to_bytes(ELEMENT_BYTES, "big")
            outcome = await self._update(name, wanted, account.version)
            if outcome in (Outcome.done, Outcome.unknown):
                returned = NEVER if outcome is Outcome.unknown else self._loop.time()
                self._records.lists.append(Transaction(invoked, returned, {name: element}, {name: before}, outcome))
                return
        refused = Transaction(started, self._loop.time(), {name: element}, outcome=Outcome.failed)
        self._records.lists.append(refused)


def _elements(metadata: bytes) -> tuple[int, ...]:
    places = range(0, len(metadata), ELEMENT_BYTES)
    return tuple(int.from_bytes(metadata[place : place + ELEMENT_BYTES], "big") for place in places)
