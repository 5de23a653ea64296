"""The demo's customers: they send payments, one a request, and keep every receipt."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from protocol.client import Client
from protocol.errors import Busy, OutcomeUnknown, Refused, RingpayError, Unreachable
from protocol.status import Status
from scripts.load.payments import Payment

PATIENCE_SECONDS = 30.0  # with a payment that no node takes; twice the longest fail-over on a very slow machine
RETRY_SECONDS = 0.05  # between two attempts when no node answers


def customer_account(name: str) -> str:
    """The account of a customer."""
    return f"customers:{name}"


def terminal_account(name: str) -> str:
    """The account of a terminal."""
    return f"terminals:{name}"


@dataclass(slots=True)
class Receipts:
    """What the senders know in the end."""

    accepted: dict[int, Payment] = field(default_factory=dict)  # by transfer id
    refused: dict[int, Payment] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    settled: int = 0  # payments whose outcome was asked for by id
    latencies_ms: list[float] = field(default_factory=list)
    gaps_ms: dict[int, float] = field(default_factory=dict)  # longest time without an answer, by client

    @property
    def done(self) -> int:
        """Payments with a definite outcome."""
        return len(self.accepted) + len(self.refused)


async def send_all(payments: Sequence[Payment], clients: Sequence[Client], in_flight: int, receipts: Receipts) -> None:
    """Sends each payment once, `in_flight` at a time for each client. Raises RingpayError where no node answers."""
    queue = iter(payments)
    async with asyncio.TaskGroup() as tasks:
        for number, client in enumerate(clients):
            sender = _Sender(number, client, receipts)
            for _ in range(in_flight):
                tasks.create_task(sender.work(queue))


class _Sender:
    """One client and what it has seen."""

    def __init__(self, number: int, client: Client, receipts: Receipts) -> None:
        self._number = number
        self._client = client
        self._receipts = receipts
        self._answered = time.monotonic()
        receipts.gaps_ms[number] = 0.0

    async def work(self, queue: Iterator[Payment]) -> None:
        for payment in queue:
            began = time.monotonic()
            await self._pay(payment)
            now = time.monotonic()
            gaps_ms = self._receipts.gaps_ms
            gaps_ms[self._number] = max(gaps_ms[self._number], (now - self._answered) * 1000)
            self._answered = now
            self._receipts.latencies_ms.append((now - began) * 1000)

    async def _pay(self, payment: Payment) -> None:
        id = self._client.new_id()
        debit, credit = customer_account(payment.customer), terminal_account(payment.terminal)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                await self._client.transfer(debit, credit, payment.amount_cents, id=id)
                self._receipts.accepted[id] = payment
                return
            except Refused as refused:
                self._refuse(id, payment, refused.status)
                return
            except OutcomeUnknown:
                await self._settle(id, debit, payment)
                return
            except (Busy, Unreachable) as error:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(error.retry_after if isinstance(error, Busy) else RETRY_SECONDS)

    async def _settle(self, id: int, debit: str, payment: Payment) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        status: Status | None = None
        while status is None:
            try:
                status = await self._client.outcome(id, debit)
            except RingpayError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
        self._receipts.settled += 1
        if status is Status.created:
            self._receipts.accepted[id] = payment
        else:
            self._refuse(id, payment, status.name)

    def _refuse(self, id: int, payment: Payment, reason: str) -> None:
        self._receipts.refused[id] = payment
        self._receipts.reasons[reason] += 1
