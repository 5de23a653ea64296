"""Guards: transactions of a round that happen only while a token holds its lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from node.core.locks.claims import Claim
from node.core.machine import At, Failure, Guard, Marks, Payments, Statuses
from protocol.status import Status


class Pins(Protocol):
    """What guards ask of the part that holds the locks."""

    def guard(self, round_id: int, name: str, token: int, at: At) -> tuple[Status, Claim | None]:
        """Whether the token holds its lock, and the claim that has been pinned for the round now."""
        ...

    def unpin(self, round_id: int, claim: Claim, at: At) -> None:
        """Takes back a pin that `guard` has just made."""
        ...


class GuardsDocket:
    """Implements `Docket`. Closed, it gives one status a guard."""

    def __init__(self, locks: Pins, round_id: int, guards: Sequence[Guard], at: At) -> None:
        self._locks = locks
        self._round_id = round_id
        self._guards = guards
        self._at = at
        self._statuses = bytearray(len(guards))
        self._rows: dict[int, list[int]] = {}  # by transaction
        self._pinned: list[Claim] = []  # by the transaction judged last
        for row, guard in enumerate(guards):
            self._rows.setdefault(guard.number, []).append(row)

    def few(self) -> None:
        """See `Docket`."""

    def sort(self, statuses: Statuses) -> Marks | None:
        """See `Docket`: nothing of it can be told by columns."""
        marks = np.zeros(len(statuses), np.bool_)
        marks[list(self._rows)] = True
        return marks

    def take(self, chosen: Marks | None) -> None:
        """See `Docket`."""

    def judge(self, number: int, *, may_be_given_back: bool) -> Failure | None:
        """See `Docket`. A lock that is not held comes before one of which that cannot be told yet."""
        self._pinned = []
        failure: Failure | None = None
        for row in self._rows.get(number, ()):
            guard = self._guards[row]
            status, pinned = self._locks.guard(self._round_id, guard.lock, guard.token, self._at)
            if pinned is not None:
                self._pinned.append(pinned)
            if status and (failure is None or status < failure[1]):
                failure = row, int(status)
        if failure is not None:
            self.give_back(number)
        return failure

    def give_back(self, number: int) -> None:
        """See `Docket`."""
        for claim in self._pinned:
            self._locks.unpin(self._round_id, claim, self._at)
        self._pinned = []

    def refuse(self, number: int, failure: Failure) -> None:
        """See `Docket`."""
        row, status = failure
        if row in self._rows.get(number, ()):
            self._statuses[row] = status

    def close(self, statuses: Statuses) -> bytes:
        """See `Docket`."""
        return bytes(self._statuses)

    def payments(self) -> Payments | None:
        """See `Docket`: guards move nothing."""
        return None
