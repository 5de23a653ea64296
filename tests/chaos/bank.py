"""The bank of `chaos`: accounts of one currency, clients that move money between them for ever, and readers of it all at once.

Every client knows for each movement that it sent whether it happened, did not, or may have. `proof.py` holds the books
against that.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from protocol.client import Client, Receipt
from protocol.columns import Flag
from protocol.errors import Busy, OutcomeUnknown, Refused, RingpayError, Unreachable
from protocol.status import Status
from scripts.load.accounts import fund, open_accounts

WORLD = "world:EUR"
FUNDING = 1_000  # minor units of each account: little, so that some payments find too little
AMOUNT_MAX = 400
OVERDRAFT = -100  # the lowest balance of some accounts; of the others it is 0
OVERDRAFT_EVERY = 4
HOLD_PERCENT, REPEAT_PERCENT = 12, 4  # of all payments
TTL_SECONDS = 86_400  # of holds: none ends by itself while this runs
TIMEOUTS_SECONDS = (1.0, 3.0, 10.0)  # of a payment, by chance: the impatient leave more outcomes open
READ_SECONDS = 0.2  # between two reads of one reader
AUDIT_EVERY = 8  # reads; an audit also compares the replicas
UNSERVED_SECONDS = 0.05  # a client's pause when no node takes its payment
REASONS = {  # why a movement may be refused here: a hold is captured at most once, and voided only afterwards
    Flag.none: (Status.insufficient_funds.name,),
    Flag.hold: (Status.insufficient_funds.name,),
    Flag.capture: (),
    Flag.void: (Status.hold_already_captured.name,),
}


@dataclass(frozen=True, slots=True)
class Movement:
    """One transfer, hold, capture or void, as sent."""

    id: int
    kind: Flag
    debit: str
    credit: str
    amount: int
    hold: int = 0


@dataclass(slots=True)
class Bank:
    """The accounts, and what the clients and readers know."""

    minimums: dict[str, int]  # the lowest balance of each account
    acknowledged: dict[int, Movement] = field(default_factory=dict)
    refused: dict[int, Movement] = field(default_factory=dict)
    unserved: dict[int, Movement] = field(default_factory=dict)  # no node took it, so it did not happen
    unknown: dict[int, Movement] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)  # of refusals
    repeated: int = 0  # settled movements that were sent again and answered alike
    answered: list[float] = field(default_factory=list)  # when each acknowledgement came
    latencies_ms: list[float] = field(default_factory=list)
    ended: float = 0.0  # when the customers stopped
    snapshots: list[float] = field(default_factory=list)  # when each one came
    audits: list[float] = field(default_factory=list)
    undecided_seconds: float = 0.0  # the longest that a round stayed so while all nodes ran again
    watched_seconds: float = 0.0  # from when they ran again to the last complete look at what was undecided
    failed_reads: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def accounts(self) -> list[str]:
        """All account ids."""
        return list(self.minimums)

    @property
    def total(self) -> int:
        """All money of the accounts together, whatever happens between them."""
        return FUNDING * len(self.minimums)


def make_bank(count: int) -> Bank:
    """A bank that nobody has used yet."""
    return Bank({f"bank:{number:05}": 0 if number % OVERDRAFT_EVERY else OVERDRAFT for number in range(count)})


async def open_bank(client: Client, bank: Bank) -> None:
    """Opens the accounts and funds them from the world, which takes no part in anything later."""
    rows: list[list[object]] = [[WORLD, "EUR", None, None, "", b""]]
    rows += [[account, "EUR", minimum, None, "", b""] for account, minimum in bank.minimums.items()]
    await open_accounts(client, rows)
    await fund(client, WORLD, bank.accounts, FUNDING)


async def send(client: Client, movement: Movement, timeout: float | None = None) -> Receipt:
    """Sends a movement, for the first time or again."""
    match movement.kind:
        case Flag.hold:
            return await client.hold(
                movement.debit, movement.credit, movement.amount, ttl=TTL_SECONDS, id=movement.id, timeout=timeout
            )
        case Flag.capture:
            return await client.capture(movement.hold, movement.amount, id=movement.id, timeout=timeout)
        case Flag.void:
            return await client.void(movement.hold, id=movement.id, timeout=timeout)
        case _:
            return await client.transfer(
                movement.debit, movement.credit, movement.amount, id=movement.id, timeout=timeout
            )


class Customer:
    """Moves random amounts between random accounts, one movement after the other."""

    def __init__(self, bank: Bank, client: Client, seed: str) -> None:
        self._bank = bank
        self._client = client
        self._random = random.Random(seed)
        self._accounts = bank.accounts

    async def work(self) -> None:
        """Until cancelled: what is under way then stays unknown."""
        while True:
            debit, credit = self._random.sample(self._accounts, 2)
            kind = Flag.hold if self._random.randrange(100) < HOLD_PERCENT else Flag.none
            amount = self._random.randint(1, AMOUNT_MAX)
            movement = Movement(self._client.new_id(), kind, debit, credit, amount)
            if await self._settle(movement) and kind is Flag.hold:
                await self._end(movement)

    async def _end(self, hold: Movement) -> None:
        """Captures a part or all of a hold, voids it, does both or neither."""
        plan = self._random.choice(("part", "all", "void", "part and void", "nothing"))
        if plan.startswith("part") or plan == "all":
            amount = hold.amount if plan == "all" else self._random.randint(1, hold.amount)
            capture = Movement(self._client.new_id(), Flag.capture, hold.debit, hold.credit, amount, hold.id)
            await self._settle(capture)
        if plan.endswith("void"):
            await self._settle(Movement(self._client.new_id(), Flag.void, hold.debit, hold.credit, 0, hold.id))

    async def _settle(self, movement: Movement) -> bool:
        """Sends one movement and notes what is known of it; whether it was acknowledged."""
        bank, began = self._bank, time.monotonic()
        bank.unknown[movement.id] = movement
        status = ""
        try:
            await send(self._client, movement, self._random.choice(TIMEOUTS_SECONDS))
        except Refused as refused:
            bank.refused[movement.id] = movement
            bank.reasons[refused.status] += 1
            status = refused.status
            if status not in REASONS[movement.kind]:
                bank.violations.append(
                    f"{movement.kind.name} {movement.id:032x} was refused, which cannot be: {refused}"
                )
        except OutcomeUnknown:
            return False
        except (Busy, Unreachable) as error:
            bank.unserved[bank.unknown.pop(movement.id).id] = movement
            await asyncio.sleep(error.retry_after if isinstance(error, Busy) else UNSERVED_SECONDS)
            return False
        else:
            bank.acknowledged[movement.id] = movement
            bank.answered.append(time.monotonic())
            bank.latencies_ms.append((bank.answered[-1] - began) * 1000)
        del bank.unknown[movement.id]
        if self._random.randrange(100) < REPEAT_PERCENT:
            await self._repeat(movement, status or Status.exists.name)
        return not status

    async def _repeat(self, movement: Movement, expected: str) -> None:
        """The same id again has the same answer, for ever."""
        try:
            answer = (await send(self._client, movement, TIMEOUTS_SECONDS[-1])).status.name
        except Refused as refused:
            answer = refused.status
        except RingpayError:
            return
        self._bank.repeated += 1
        if answer != expected:
            text = f"{movement.kind.name} {movement.id:032x} sent again: {answer}, expected {expected}"
            self._bank.violations.append(text)


class Reader:
    """Reads all accounts at one cut, again and again: the total is exact, no balance too low, no version older than before."""

    def __init__(self, bank: Bank, client: Client) -> None:
        self._bank = bank
        self._client = client
        self._versions: dict[str, int] = {}

    async def work(self) -> None:
        """Until cancelled."""
        for number in range(1, 1 << 62):
            try:
                await (self._audit() if number % AUDIT_EVERY == 0 else self._snapshot())
            except Refused as refused:
                self._bank.violations.append(f"a snapshot was refused: {refused}")
            except RingpayError:
                self._bank.failed_reads += 1
            await asyncio.sleep(READ_SECONDS)

    async def _snapshot(self) -> None:
        bank, versions = self._bank, self._versions
        accounts = await self._client.snapshot(bank.accounts)
        bank.snapshots.append(time.monotonic())
        total = sum(account.posted for account in accounts)
        if total != bank.total:
            bank.violations.append(f"a snapshot's total is {total}, expected {bank.total}")
        if [account.id for account in accounts] != bank.accounts:
            bank.violations.append("a snapshot has other accounts than were asked for")
        for account in accounts:
            minimum = bank.minimums[account.id]
            if account.posted - account.held < minimum:
                text = f"{account.id} has {account.posted}, {account.held} of it held"
                bank.violations.append(f"a snapshot: {text}, expected {minimum} or more")
            if account.version < versions.get(account.id, 0):
                text = f"{account.id} has version {account.version} after {versions[account.id]}"
                bank.violations.append(f"a snapshot: {text}")
            versions[account.id] = account.version

    async def _audit(self) -> None:
        report = await self._client.audit()
        self._bank.audits.append(time.monotonic())
        for row in report.currencies.values():
            if not row.balanced:
                text = f"debits {row.debits}, credits {row.credits}, posted {row.posted}"
                self._bank.violations.append(f"an audit does not balance: {row.currency} {text}")
        for shard in report.shards:
            if shard.differs:
                self._bank.violations.append(f"an audit: replicas of shard {shard.shard} differ: {shard.digests}")
