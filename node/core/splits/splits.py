"""Group 0's part that lists the split accounts."""

from __future__ import annotations

import zlib

from node.core.machine import NO_ROWS, Answer, At, Body, Change, Int32s, Loaded, Need, Rows, Statuses
from protocol.status import SPLIT_ACCOUNTS_MAX, AccountStatus

TABLE = "split"


class Splits:
    """Ids of split accounts in the order in which they were listed; none is ever taken back.

    Command: `["add", id]`, answered by `["added", AccountStatus]`: `created`, `exists` or `too_many_split_accounts`.
    """

    name = "splits"
    tables: tuple[str, ...] = (TABLE,)
    archive_tables: tuple[str, ...] = ()
    sequence_tables: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self._saved = 0

    def resolve(self, body: Body, loaded: Loaded) -> Body | Need:
        """Commands are logged as they come."""
        return body

    def apply(self, body: Body, at: At) -> Answer:
        """Lists an account; repeating it changes nothing."""
        assert body[0] == "add", f"unknown command {body[:1]}"
        if body[1] in self.ids:
            return Answer(["added", int(AccountStatus.exists)])
        if len(self.ids) >= SPLIT_ACCOUNTS_MAX:
            return Answer(["added", int(AccountStatus.too_many_split_accounts)])
        self.ids[body[1]] = None
        return Answer(["added", int(AccountStatus.created)])

    def prepare(self, round_id: int, body: Body, count: int, at: At) -> tuple[Statuses, bytes]:
        """The list takes no part in rounds."""
        raise AssertionError("the list of split accounts takes no part in rounds")

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """The list takes no part in rounds."""
        raise AssertionError("the list of split accounts takes no part in rounds")

    def query(self, body: Body, loaded: Loaded) -> Answer | Need:
        """Nobody asks: the node looks at the applied state itself."""
        raise AssertionError(f"unknown question {body[:1]}")

    def due(self, elapsed_ns: int) -> Body | None:
        """Nothing here depends on the time."""
        return None

    def totals(self) -> Body:
        """How many there are."""
        return [len(self.ids)]

    def digest(self, seed: int) -> int:
        """Over the ids in their order."""
        return zlib.crc32("\n".join(self.ids).encode(), seed)

    def changes(self) -> list[Change]:
        """One row an account."""
        fresh = list(self.ids)[self._saved :]
        changes = [Change(TABLE, key, id.encode()) for key, id in enumerate(fresh, self._saved)]
        self._saved = len(self.ids)
        return changes

    def saved(self) -> None:
        """Nothing is kept for the sake of a checkpoint."""

    def restore(self, rows: Rows) -> None:
        """Loads the list."""
        for _, id in rows(TABLE):
            self.ids[id.decode()] = None
        self._saved = len(self.ids)
