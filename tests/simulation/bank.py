"""The bank: payments in and across shards, chains, transactions, holds, reversals, all of it sent again; reads, cuts, audits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from random import Random

from protocol.client import Capture, Client, Hold, Leg, Report, Void
from protocol.client import Transfer as Payment
from protocol.columns import Flag
from protocol.errors import Busy, OutcomeUnknown, Refused, RingpayError, Unreachable
from tests.simulation.histories import LINKED, check_times
from tests.simulation.loop import SimLoop
from tests.simulation.records import ACCEPTED, BUSY, NOT_SENT, UNKNOWN, Attempt, Read, Records, Transfer
from tests.simulation.snapshots import Row, Snapshot
from tests.simulation.worker import CALL_SECONDS, Question, Work

CUSTOMERS = 5  # a currency: few, so that they meet
CURRENCIES = ("EUR", "USD")
FUNDS = 1_000
AMOUNT_MAX = 300  # large enough to be refused now and then
OVERTIME_SECONDS = 3.0  # that a call may take beyond its time-out: one attempt to connect
HOLD_TTL_SECONDS = (2, 3_600)
TWICE = 0.3  # probability that a batch is sent from two sides at once
TWICE_SECONDS = 0.01  # at most, between them: about a round
NOBODY = 0.2  # probability that a credit account does not exist: its shard refuses, whoever has the debit
SOURCES = ("world", "source")  # of all money: they never freeze
SPENDER = "spender"  # one a currency has an allowance
ALLOWANCE = 1_000  # a few payments fill it
SPENDER_FUNDS = 20 * ALLOWANCE  # so that nothing else refuses
DEBTOR = "debtor"  # one a currency is often below 0
OVERDRAFT = 500
UNBOUNDED = 0.2  # probability that a balancing payment has no limit
ZONE = "Pacific/Auckland"  # where it is noon when a run begins


class Bank:
    """A `Workload`."""

    def __init__(self, loop: SimLoop, client: Client, records: Records, random: Random) -> None:
        self.client = client
        self._loop = loop
        self._records = records
        self._random = random
        self._batches: list[tuple[list[Transfer], list[int]]] = []
        self._transactions: list[list[Transfer]] = []
        self._frozen: list[str] = []
        self.works: list[Work] = [
            (self._pay, 40), (self._pay_batch, 12), (self._hold, 8), (self._end_hold, 10), (self._read, 25),
            (self._again, 10), (self._ask, 4), (self._misuse, 4), (self._audit, 3), (self._history, 2),
            (self._snapshot, 10), (self._batch_again, 5), (self._freeze, 10), (self._spend, 4), (self._reverse, 8),
            (self._balance, 8), (self._transact, 10), (self._transact_again, 4),
        ]  # fmt: skip

    async def open(self) -> None:
        """Opens the accounts and puts money on them."""
        rows: list[list[object]] = []
        for currency in CURRENCIES:
            rows.append([f"world:{currency}", currency, None, None, "", b""])
            rows += [[f"customer{number}:{currency}", currency, 0, None, "", b""] for number in range(CUSTOMERS)]
            rows.append([f"{DEBTOR}:{currency}", currency, -OVERDRAFT, None, "", b""])
            self._records.unlimited[f"world:{currency}"] = None
            self._records.overdrafts[f"{DEBTOR}:{currency}"] = OVERDRAFT
        for row in rows:
            await self.client.create_account(str(row[0]), str(row[1]), minimum_balance=row[2])  # type: ignore[arg-type]
            self._records.accounts[str(row[0])] = str(row[1])
        for name, currency in self._records.accounts.items():
            if not name.startswith(("world", DEBTOR)):
                await self._send(Transfer(self.client.new_id(), f"world:{currency}", name, FUNDS))
        for currency in CURRENCIES:
            await self._open_spender(f"{SPENDER}:{currency}", currency)

    async def _open_spender(self, name: str, currency: str) -> None:
        await self.client.create_account(name, currency)
        await self.client.set_allowance(name, ALLOWANCE, zone=ZONE)
        self._records.accounts[name] = currency
        self._records.allowances[name] = ALLOWANCE
        await self._send(Transfer(self.client.new_id(), f"world:{currency}", name, SPENDER_FUNDS))

    # -- calls ----------------------------------------------------------------------------------------------------

    def _pair(self) -> tuple[str, str]:
        currency = self._random.choice(CURRENCIES)
        names = [name for name, other in self._records.accounts.items() if other == currency]
        debit, credit = self._random.sample(names, 2)
        return debit, credit

    def _new(self, kind: str = "plain") -> Transfer:
        debit, credit = self._pair()
        if kind == "hold" and debit in self._records.allowances:  # what it gives back, nobody could tell here
            debit, credit = credit, debit
        if self._random.random() < NOBODY:
            credit = f"nobody{self._random.randrange(CUSTOMERS)}:{self._records.accounts[debit]}"
        ttl = self._random.choice(HOLD_TTL_SECONDS) if kind == "hold" else 0
        return Transfer(self.client.new_id(), debit, credit, self._random.randint(1, AMOUNT_MAX), kind, ttl=ttl)

    async def _send(self, transfer: Transfer, client: Client | None = None) -> None:
        """One attempt at a transfer."""
        client = client or self.client
        match transfer.kind:
            case "hold":
                call = client.hold(
                    transfer.debit,
                    transfer.credit,
                    transfer.amount,
                    ttl=transfer.ttl,
                    id=transfer.id,
                    timeout=CALL_SECONDS,
                )
            case "capture":
                amount = None if transfer.balancing else transfer.amount
                call = client.capture(
                    transfer.hold, amount, final=transfer.is_final, id=transfer.id, timeout=CALL_SECONDS
                )
            case "void":
                call = client.void(transfer.hold, id=transfer.id, timeout=CALL_SECONDS)
            case _:
                amount = transfer.limit or None if transfer.balancing else transfer.amount
                call = client.transfer(
                    transfer.debit, transfer.credit, amount, id=transfer.id, timeout=CALL_SECONDS,
                    currency=self._records.accounts[transfer.debit], reverses=transfer.reverses or None,
                    balancing=transfer.balancing or None,  # type: ignore[arg-type]
                )  # fmt: skip
        attempt = Attempt(self._loop.time())
        self._records.transfers[transfer.id] = transfer
        transfer.attempts.append(attempt)
        try:
            receipt = await call
            attempt.outcome = receipt.status.name
            self._records.told(transfer, receipt.amount)
        except Refused as refused:
            attempt.outcome = refused.status
        except Busy:
            attempt.outcome = BUSY
        except Unreachable:
            attempt.outcome = NOT_SENT
        except OutcomeUnknown:
            pass
        attempt.returned = self._loop.time()
        if attempt.returned - attempt.invoked > CALL_SECONDS + OVERTIME_SECONDS:
            self._records.broken.append(f"a call took {attempt.returned - attempt.invoked:.1f} s")

    async def _pay(self) -> None:
        transfer = self._new()
        await self._send(transfer)
        while not transfer.attempts[-1].is_definite and self._random.random() < 0.6:
            await self._send(transfer)

    async def _spend(self) -> None:
        """Several payments at once out of an account with an allowance, of which not all fit."""
        names = list(self._records.allowances)
        if not names:
            return
        debit = self._random.choice(names)
        currency = self._records.accounts[debit]
        credits = [name for name, other in self._records.accounts.items() if other == currency and name != debit]
        amounts = [self._random.randint(1, ALLOWANCE // 2) for _ in range(4)]
        rows = [Transfer(self.client.new_id(), debit, self._random.choice(credits), amount) for amount in amounts]
        await asyncio.gather(*map(self._send, rows))

    async def _pay_batch(self) -> None:
        """Several rows, some of them in chains."""
        batch: list[Transfer] = []
        flags: list[int] = []
        while len(batch) < self._random.randint(2, 8):
            length = self._random.choice((1, 1, 2, 3))
            self._records.chains += 1
            for place in range(length):
                transfer = self._new()
                transfer.chain = self._records.chains if length > 1 else 0
                batch.append(transfer)
                flags.append(Flag.linked if place + 1 < length else Flag.none)
        self._batches.append((batch, flags))
        if self._random.random() < TWICE:
            await asyncio.gather(self._send_batch(batch, flags), self._send_late(batch, flags))
        else:
            await self._send_batch(batch, flags)
        if not batch[0].attempts[-1].is_definite and self._random.random() < 0.5:
            await self._send_batch(batch, flags)

    async def _send_batch(self, batch: list[Transfer], flags: list[int]) -> None:
        attempts = [Attempt(self._loop.time()) for _ in batch]
        for transfer, attempt in zip(batch, attempts, strict=True):
            self._records.transfers[transfer.id] = transfer
            transfer.attempts.append(attempt)
        try:
            statuses = await self.client.transfer_many(
                [one.debit for one in batch], [one.credit for one in batch], [one.amount for one in batch],
                ids=[one.id for one in batch], flags=flags, timeout=CALL_SECONDS,
            )  # fmt: skip
            for attempt, status in zip(attempts, statuses, strict=True):
                attempt.outcome = status.name
        except (Busy, OutcomeUnknown, Unreachable):
            pass
        for attempt in attempts:
            attempt.returned = self._loop.time()

    async def _send_late(self, batch: list[Transfer], flags: list[int]) -> None:
        """When the same batch is on its way through a round already."""
        await asyncio.sleep(self._random.uniform(0, TWICE_SECONDS))
        await self._send_batch(batch, flags)

    async def _batch_again(self) -> None:
        """An old batch once more: its chains too must be answered as they were."""
        if self._batches:
            await self._send_batch(*self._random.choice(self._batches[-8:]))

    async def _freeze(self) -> None:
        """An account takes and gives nothing for a while: refusals that must stay when it is open again."""
        names = [name for name in self._records.accounts if not name.startswith(SOURCES)]
        status = "open" if self._frozen else "frozen"
        name = self._frozen.pop() if self._frozen else self._random.choice(names)
        self._frozen += [name] if status == "frozen" else []
        with suppress(RingpayError):
            await self.client.update_account(name, status=status, timeout=CALL_SECONDS)

    async def _hold(self) -> None:
        await self._send(self._new("hold"))

    async def _end_hold(self) -> None:
        """Captures a part of an accepted hold, or what is left of it, for good or not; or voids it."""
        if (transfer := self._new_end()) is None:
            return
        try:
            await self.client._holds.accounts(transfer.hold)
        except (Unreachable, Busy):
            return
        await self._send(transfer)

    def _new_end(self) -> Transfer | None:
        """Of a hold that was accepted; None where there is none."""
        now, known = self._loop.time(), self._records.transfers.values()
        holds = [one for one in known if one.kind == "hold" and one.accepted_at < now]
        if not holds:
            return None
        hold = self._random.choice(holds[-10:])
        kind = self._random.choice(("capture", "capture", "capture", "void"))
        end = Transfer(self.client.new_id(), hold.debit, hold.credit, 0, kind, hold.id)
        if kind == "capture":
            end.is_final = self._random.random() < 0.3
            if self._random.random() < 0.3:
                end.balancing = "rest"
            else:
                end.amount = self._random.randint(1, hold.amount)
        return end

    async def _reverse(self) -> None:
        """Gives back parts of a payment that has happened, or may have, several at once, of which not all fit."""
        if (origin := self._origin()) is not None:
            rows = [self._new_reversal(origin) for _ in range(self._random.randint(1, 4))]
            await asyncio.gather(*map(self._send, rows))

    def _origin(self) -> Transfer | None:
        """Something that can be given back."""
        known, names = self._records.transfers.values(), self._records.accounts
        paid = [one for one in known if one.kind in ("plain", "capture") and not one.reverses and one.amount]
        paid = [one for one in paid if one.credit in names and one.credit not in self._records.allowances]
        return self._random.choice(paid[-10:]) if paid else None

    def _new_reversal(self, origin: Transfer) -> Transfer:
        amount = self._random.randint(1, origin.amount)
        return Transfer(self.client.new_id(), origin.credit, origin.debit, amount, reverses=origin.id)

    async def _balance(self) -> None:
        """Moves what is there or owed, perhaps from two sides at once."""
        transfer = self._new_balancing()
        times = 2 if self._random.random() < TWICE else 1
        await asyncio.gather(*(self._send(transfer) for _ in range(times)))
        if not transfer.attempts[-1].is_definite:
            await self._send(transfer)

    def _new_balancing(self) -> Transfer:
        transfer = self._new()
        transfer.amount, transfer.balancing = 0, self._random.choice(("debit", "credit", "both"))
        debtor = f"{DEBTOR}:{self._records.accounts[transfer.debit]}"
        if transfer.balancing != "debit" and debtor in self._records.accounts and debtor != transfer.debit:
            transfer.credit = debtor
        transfer.limit = 0 if self._random.random() < UNBOUNDED else self._random.randint(1, 2 * AMOUNT_MAX)
        return transfer

    # -- transactions ---------------------------------------------------------------------------------------------

    async def _transact(self) -> None:
        """Legs of all kinds, perhaps from two sides at once."""
        rows: list[Transfer] = []
        count = self._random.randint(2, 5)
        while len(rows) < count:
            match self._random.choice(("plain", "plain", "balancing", "hold", "hold", "end", "reversal")):
                case "plain":
                    rows.append(self._new())
                case "balancing":
                    rows.append(self._new_balancing())
                case "hold":
                    rows.append(self._new("hold"))
                case "end":
                    rows += filter(None, [self._new_end()])
                case "reversal":
                    rows += [] if (origin := self._origin()) is None else [self._new_reversal(origin)]
        self._records.chains += 1
        for row in rows:
            row.chain = self._records.chains
        self._transactions.append(rows)
        if self._random.random() < TWICE:
            await asyncio.gather(self._send_legs(rows), self._send_legs_late(rows))
        else:
            await self._send_legs(rows)
        if not rows[0].attempts[-1].is_definite and self._random.random() < 0.5:
            await self._send_legs(rows)

    async def _transact_again(self) -> None:
        """An old transaction once more."""
        if self._transactions:
            await self._send_legs(self._random.choice(self._transactions[-8:]))

    async def _send_legs_late(self, rows: list[Transfer]) -> None:
        await asyncio.sleep(self._random.uniform(0, TWICE_SECONDS))
        await self._send_legs(rows)

    async def _send_legs(self, rows: list[Transfer]) -> None:
        attempts = [Attempt(self._loop.time()) for _ in rows]
        for transfer, attempt in zip(rows, attempts, strict=True):
            self._records.transfers[transfer.id] = transfer
            transfer.attempts.append(attempt)
        try:
            legs = [self._leg(one) for one in rows]
            receipt = await self.client.transaction(legs, ids=[one.id for one in rows], timeout=CALL_SECONDS)
            outcomes = [leg.status.name for leg in receipt.legs]
            for transfer, leg in zip(rows, receipt.legs, strict=True):
                self._records.told(transfer, leg.amount)
        except Refused as refused:
            outcomes = [refused.status if place == refused.leg else LINKED for place in range(len(rows))]
        except Busy:
            outcomes = [BUSY] * len(rows)
        except Unreachable:
            outcomes = [NOT_SENT] * len(rows)
        except OutcomeUnknown:
            outcomes = [UNKNOWN] * len(rows)
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            attempt.outcome, attempt.returned = outcome, self._loop.time()

    def _leg(self, one: Transfer) -> Leg:
        match one.kind:
            case "hold":
                return Hold(one.debit, one.credit, one.amount, ttl=one.ttl)
            case "capture":
                return Capture(one.hold, None if one.balancing else one.amount, final=one.is_final)
            case "void":
                return Void(one.hold)
            case _:
                return Payment(
                    one.debit, one.credit, one.limit or None if one.balancing else one.amount,
                    balancing=one.balancing or None, reverses=one.reverses or None,  # type: ignore[arg-type]
                )  # fmt: skip

    # -- once more ------------------------------------------------------------------------------------------------

    async def _again(self) -> None:
        """An old transfer once more, perhaps from two sides at once."""
        lone = [one for one in self._records.transfers.values() if not one.chain]
        if not lone:
            return
        transfer = self._random.choice(lone[-30:])
        if self._random.random() < 0.5:
            await asyncio.gather(self._send(transfer), self._send(transfer))
        else:
            await self._send(transfer)

    async def _misuse(self) -> None:
        """The id of an accepted transfer with another amount, or to another account, must be refused."""
        accepted = [one for one in self._records.transfers.values() if one.accepted_at <= self._loop.time()]
        accepted = [one for one in accepted if one.kind == "plain" and not one.chain and not one.reverses]
        accepted = [one for one in accepted if not one.balancing]
        if not accepted:
            return
        transfer = self._random.choice(accepted[-30:])
        what, credit, amount = "amount", transfer.credit, transfer.amount + 1
        if self._random.random() < 0.5:
            what, amount = "credit_account", transfer.amount
            credit = self._random.choice([x for x in self._records.accounts if x not in (transfer.debit, credit)])
        try:
            await self.client.transfer(transfer.debit, credit, amount, id=transfer.id, timeout=CALL_SECONDS)
            self._records.broken.append(f"transfer {transfer.id:032x} was accepted again with another {what}")
        except Refused as refused:
            if refused.status != f"exists_with_different_{what}":
                self._records.broken.append(f"transfer {transfer.id:032x} with another {what}: {refused.status}")
        except (Busy, OutcomeUnknown, Unreachable):
            pass

    async def _ask(self) -> None:
        """What became of a transfer; a definite answer like any other. A chain's row would be cancelled alone."""
        transfers = [one for one in self._records.transfers.values() if not one.chain]
        if transfers:
            await self.settle(self._random.choice(transfers[-40:]))

    def questions(self) -> list[Question]:
        """What became of each transfer, what each account holds, and a cut."""
        found: list[Question] = [("outcome", partial(self.settle, one)) for one in self._records.transfers.values()]
        found += [("read", partial(self.read, name)) for name in self._records.accounts]
        return [*found, ("snapshot", self.snapshot)]

    async def settle(self, transfer: Transfer) -> bool:
        """Asks for the outcome once; whether there was an answer."""
        try:
            status = await self.client.outcome(transfer.id, transfer.debit, timeout=CALL_SECONDS)
            if transfer.balancing and status.name in ACCEPTED:
                await self._find(transfer)
        except (Busy, OutcomeUnknown, Unreachable):
            return False
        if transfer.final not in ("", status.name):
            self._records.broken.append(f"transfer {transfer.id:032x}: outcome {transfer.final}, later {status.name}")
        transfer.final = status.name
        return True

    async def _find(self, transfer: Transfer) -> None:
        """What a balancing row has moved, out of the books."""
        found = await self.client.find(transfer.id, timeout=CALL_SECONDS)
        if found is None:
            self._records.broken.append(f"transfer {transfer.id:032x} has happened, and is not found")
        else:
            self._records.told(transfer, found.amount)

    async def _read(self) -> None:
        await self.read(self._random.choice(list(self._records.accounts)))

    async def read(self, name: str) -> bool:
        """Reads an account once; whether there was an answer."""
        invoked = self._loop.time()
        try:
            found = await self.client.account(name, timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return False
        except Refused as refused:
            self._records.broken.append(f"account {name}: {refused.status}")
            return False
        self._records.reads.append(Read(name, invoked, self._loop.time(), found.posted, found.held, found.version))
        return True

    async def _snapshot(self) -> None:
        await self.snapshot()

    async def snapshot(self) -> bool:
        """Reads all accounts at one cut; whether there was an answer."""
        invoked = self._loop.time()
        try:
            found = await self.client.snapshot(list(self._records.accounts), timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return False
        returned = self._loop.time()
        rows = {one.id: Row(one.currency, one.posted, one.minimum_balance, one.version) for one in found}
        self._records.snapshots.append(Snapshot(invoked, returned, rows))
        self._records.reads += [Read(one.id, invoked, returned, one.posted, None, one.version) for one in found]
        return True

    async def _history(self) -> None:
        """Every transfer that was accepted before is in a history read after it, and all are in order of time."""
        name = self._random.choice(list(self._records.accounts))
        expected = [one.id for one in self._records.created() if name in (one.debit, one.credit)]
        try:
            found = [entry async for entry in self.client.history(name, page=50)]
        except (Busy, Unreachable):
            return
        known = dict.fromkeys(entry.id for entry in found)
        self._records.broken += [f"history of {name} lacks {id:032x}" for id in expected if id not in known]
        self._records.broken += check_times(name, found, is_split=name in self._records.split)

    async def _audit(self) -> None:
        await self.audit()

    async def audit(self) -> Report | None:
        """Audits; None without an answer."""
        try:
            report = await self.client.audit(timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return None
        self._records.audits += 1
        for row in report.currencies.values():
            if not row.balanced:
                self._records.broken.append(f"audit: {row}")
        for shard in report.shards:
            if len({digest for digest in shard.digests.values() if digest is not None}) > 1:
                self._records.broken.append(f"audit: replicas differ: {shard}")
        return report
