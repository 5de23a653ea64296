"""Notes: accounts' metadata and state, changed by updates that name no version, by several clients at once."""

from __future__ import annotations

from functools import partial
from random import Random

from protocol.client import Client
from protocol.errors import Busy, OutcomeUnknown, Refused, Unreachable
from tests.simulation.linearizability import Operation, Outcome
from tests.simulation.loop import SimLoop
from tests.simulation.records import NEVER, Records
from tests.simulation.worker import CALL_SECONDS, Question, Work

NOTES = ("note0", "note1", "note2")
STATES = ("open", "frozen")
CURRENCY = "EUR"


class Notes:
    """A `Workload`. A note's value is a number that nobody else writes, twice, and one more while the account is frozen."""

    def __init__(self, loop: SimLoop, client: Client, records: Records, random: Random) -> None:
        self.client = client
        self._loop = loop
        self._records = records
        self._random = random
        self.works: list[Work] = [(self._read, 25), (self._write, 40)]

    async def open(self) -> None:
        """Opens the accounts."""
        for name in NOTES:
            await self.client.create_account(name, CURRENCY)

    def questions(self) -> list[Question]:
        """What is there at the end."""
        return [("note", partial(self._read_one, name)) for name in NOTES]

    def _note(self, name: str, operation: Operation) -> None:
        self._records.registers.setdefault(name, []).append(operation)

    async def _read(self) -> None:
        await self._read_one(self._random.choice(NOTES))

    async def _read_one(self, name: str) -> bool:
        invoked = self._loop.time()
        try:
            account = await self.client.account(name, timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return False
        value = 2 * int.from_bytes(account.metadata, "big") + STATES.index(account.status)
        self._note(name, Operation("read", invoked, self._loop.time(), value))
        return True

    async def _write(self) -> None:
        name, number, state = self._random.choice(NOTES), self._records.number(), self._random.randrange(2)
        invoked, outcome = self._loop.time(), Outcome.done
        metadata, status = number.to_bytes(4, "big"), STATES[state]
        try:
            await self.client.update_account(name, metadata=metadata, status=status, timeout=CALL_SECONDS)
        except (Busy, Unreachable):
            return
        except Refused as refused:
            self._records.broken.append(f"{name}: update refused with {refused.status}")
            return
        except OutcomeUnknown:
            outcome = Outcome.unknown
        returned = NEVER if outcome is Outcome.unknown else self._loop.time()
        self._note(name, Operation("write", invoked, returned, 2 * number + state, outcome=outcome))
