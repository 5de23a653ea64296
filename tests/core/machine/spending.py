"""An example of a second part: how much each user may still spend. The ledger knows nothing of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import msgpack
import numpy as np

from node.core.machine import NO_ROWS, Answer, At, Body, Change, Int32s, Loaded, Need, Rows, Statuses
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


@dataclass(slots=True)
class Spending:
    """Implements `Part`: `["limit", user, amount]`, in a round `["spend", [[transaction, user, amount], ...]]`.

    Question: `["spent", user]`, answered by `["spent", spent, reserved, limit]`.
    """

    name: str = "spending"
    tables: tuple[str, ...] = (TABLE,)
    archive_tables: tuple[str, ...] = ()
    sequence_tables: tuple[str, ...] = ()
    users: dict[str, User] = field(default_factory=dict)
    rounds: dict[int, list[list[object]]] = field(default_factory=dict)
    dirty: dict[str, None] = field(default_factory=dict)

    def resolve(self, body: Body, loaded: Loaded) -> Body | Need:
        """Commands are logged as they come."""
        return body

    def apply(self, body: Body, at: At) -> Answer:
        """Sets a limit."""
        _, name, amount = body
        self.users.setdefault(name, User(len(self.users) + 1, 0)).limit = amount
        self.dirty[name] = None
        return Answer(["limit", amount])

    def prepare(self, round_id: int, body: Body, count: int, at: At) -> tuple[Statuses, bytes]:
        """Reserves what is still allowed."""
        votes = np.zeros(count, np.uint8)
        for transaction, name, amount in body[1]:
            user = self.users.get(name)
            if user is None or user.spent + user.reserved + amount > user.limit:
                votes[transaction] = OVER_LIMIT
                continue
            user.reserved += amount
            self.rounds.setdefault(round_id, []).append([transaction, name, amount])
            self.dirty[name] = None
        return votes, b""

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """Spends what committed and gives back the rest."""
        for transaction, name, amount in self.rounds.pop(round_id, []):
            assert isinstance(transaction, int) and isinstance(name, str) and isinstance(amount, int)
            user = self.users[name]
            user.reserved -= amount
            user.spent += amount if statuses[transaction] == 0 else 0
            self.dirty[name] = None

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """What a user has spent."""
        user = self.users[body[1]]
        return Answer(["spent", user.spent, user.reserved, user.limit], is_undecided=user.reserved > 0)

    def due(self, elapsed_ns: int) -> Body | None:
        """Nothing here depends on the time."""
        return None

    def totals(self) -> Body:
        """Everything that was ever spent."""
        return [sum(user.spent for user in self.users.values())]

    def digest(self, seed: int) -> int:
        """Over all users and open rounds."""
        return zlib.crc32(msgpack.packb([self._rows(list(self.users)), sorted(self.rounds.items())]), seed)

    def saved(self) -> None:
        """Nothing is kept for the sake of a checkpoint."""

    def changes(self) -> list[Change]:
        """A row a changed user, and one for the open rounds."""
        rows = [Change(TABLE, self.users[row[0]].key, msgpack.packb(row)) for row in self._rows(list(self.dirty))]
        self.dirty.clear()
        return [*rows, Change(TABLE, 0, msgpack.packb(sorted(self.rounds.items())))]

    def _rows(self, names: list[str]) -> list[tuple[str, int, int, int, int]]:
        users = [(name, self.users[name]) for name in sorted(names)]
        return [(name, user.key, user.limit, user.spent, user.reserved) for name, user in users]

    def restore(self, rows: Rows) -> None:
        """Loads users and open rounds."""
        for key, value in rows(TABLE):
            if key == 0:
                self.rounds = dict(msgpack.unpackb(value))
            else:
                name, *numbers = msgpack.unpackb(value)
                self.users[name] = User(*numbers)
