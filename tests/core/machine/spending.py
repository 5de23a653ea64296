"""An example of a part with transactions of its own: how much each user may still spend. The ledger knows nothing of it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgpack
import numpy as np

from node.core.machine import (
    NO_ROWS,
    Alone,
    Answer,
    Asking,
    At,
    BasePart,
    Body,
    Change,
    Docket,
    Failure,
    Int32s,
    Judged,
    Loaded,
    Marks,
    Need,
    Payments,
    Rows,
    Statuses,
)
from protocol.status import Status

TABLE = "spending"
OVER_LIMIT = Status.exceeds_maximum_balance


@dataclass(slots=True)
class User:
    """One user's counter, in minor units."""

    key: int  # of the checkpoint row
    limit: int
    spent: int = 0
    reserved: int = 0


class Spending(BasePart):
    """`["limit", user, amount]`; `["buy", user, a command of the ledger's]`: each of its transactions counts for the user.

    Question: `["spent", user]`, answered by `["spent", spent, reserved, limit]`.
    """

    name = "spending"
    tables: tuple[str, ...] = (TABLE,)

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.rounds: dict[int, list[tuple[int, str, int]]] = {}
        self._dirty: dict[str, None] = {}

    def resolve(self, body: Body, asking: Asking) -> Alone | Judged | Need:
        """What is bought is a command of two parts."""
        if body[0] == "limit":
            return Alone(body)
        _, user, bought = body
        resolved = asking.resolve("ledger", bought)
        if not isinstance(resolved, Judged):
            return resolved
        return Judged((*resolved.commands, (self.name, [user])), resolved.payments, resolved.count)

    def apply(self, body: Body, at: At) -> Body:
        """Sets a limit."""
        _, name, amount = body
        self.users.setdefault(name, User(len(self.users) + 1, 0)).limit = amount
        self._dirty[name] = None
        return ["limit", amount]

    def join(self, payments: Payments, body: Body | None, at: At, round_id: int | None) -> Docket | None:
        """Only where it has logged a user."""
        return None if body is None else SpendingDocket(self, payments, body[0], round_id)

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """Spends what committed and gives back the rest."""
        for transaction, name, amount in self.rounds.pop(round_id, []):
            user = self.users[name]
            user.reserved -= amount
            user.spent += amount if statuses[transaction] == 0 else 0
            self._dirty[name] = None

    def touch(self, name: str) -> User | None:
        """A user who is about to change."""
        if name in self.users:
            self._dirty[name] = None
        return self.users.get(name)

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """What a user has spent."""
        user = self.users[body[1]]
        return Answer(["spent", user.spent, user.reserved, user.limit], is_undecided=user.reserved > 0)

    def totals(self) -> Body:
        """Everything that was ever spent."""
        return [sum(user.spent for user in self.users.values())]

    def digest(self, seed: int) -> int:
        """Over all users and open rounds."""
        return zlib.crc32(msgpack.packb([self._rows(list(self.users)), sorted(self.rounds.items())]), seed)

    def changes(self) -> list[Change]:
        """A row a changed user, and one for the open rounds."""
        rows = [Change(TABLE, self.users[row[0]].key, msgpack.packb(row)) for row in self._rows(list(self._dirty))]
        self._dirty.clear()
        return [*rows, Change(TABLE, 0, msgpack.packb(sorted(self.rounds.items())))]

    def _rows(self, names: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
        users = [(name, self.users[name]) for name in sorted(names)]
        return [(name, user.key, user.limit, user.spent, user.reserved) for name, user in users]

    def restore(self, rows: Rows) -> None:
        """Loads users and open rounds."""
        for key, value in rows(TABLE):
            if key == 0:
                self.rounds = {number: [tuple(row) for row in kept] for number, kept in msgpack.unpackb(value)}
            else:
                name, *numbers = msgpack.unpackb(value)
                self.users[name] = User(*numbers)


@dataclass(slots=True)
class SpendingDocket:
    """One user's transactions; implements `Docket`."""

    part: Spending
    moves: Payments
    user: str
    round_id: int | None
    spans: dict[int, list[int]] = field(default_factory=dict)  # rows of each transaction

    def __post_init__(self) -> None:
        numbers = self.moves.numbers
        for row, number in enumerate(range(len(self.moves.amounts)) if numbers is None else numbers.tolist()):
            self.spans.setdefault(number, []).append(row)

    def _amount(self, number: int) -> int:
        return int(self.moves.amounts[self.spans[number]].sum()) if number in self.spans else 0

    def few(self) -> None:
        """The ledger opens them."""

    def sort(self, statuses: Statuses) -> Marks | None:
        """Safe as long as all of it would not be too much."""
        user = self.part.users.get(self.user)
        if user is not None and user.spent + user.reserved + int(self.moves.amounts.sum()) <= user.limit:
            return None
        marks = np.zeros(len(statuses), np.bool_)
        marks[list(self.spans)] = True
        return marks

    def take(self, chosen: Marks | None) -> None:
        """By the sum."""
        for number in self.spans:
            if chosen is None or chosen[number]:
                self._take(number, self._amount(number))

    def _take(self, number: int, amount: int) -> None:
        user = self.part.touch(self.user)
        assert user is not None
        if self.round_id is None:
            user.spent += amount
            return
        user.reserved += amount
        self.part.rounds.setdefault(self.round_id, []).append((number, self.user, amount))

    def judge(self, number: int, *, may_be_given_back: bool) -> Failure | None:
        """What is reserved may come back."""
        if number not in self.spans:
            return None
        user, amount, row = self.part.users.get(self.user), self._amount(number), self.spans[number][0]
        if user is None or user.spent + amount > user.limit:
            return row, int(OVER_LIMIT)
        if user.spent + user.reserved + amount > user.limit:
            return row, int(Status.undecided)
        self._take(number, amount)
        return None

    def give_back(self, number: int) -> None:
        """The last one."""
        if number not in self.spans:
            return
        user = self.part.users[self.user]
        if self.round_id is None:
            user.spent -= self._amount(number)
        else:
            user.reserved -= self._amount(number)
            self.part.rounds[self.round_id].pop()

    def refuse(self, number: int, failure: Failure) -> None:
        """Nobody asks for the reason here."""

    def close(self, statuses: Statuses) -> bytes:
        """Nothing to tell."""
        return b""

    def payments(self) -> Payments | None:
        """Nothing that others could join."""
        return None
