"""Group 0's part that lists the split accounts."""

from __future__ import annotations

from node.core.machine import At, BasePart, Body, Change, Rows, digest_of
from protocol.status import SPLIT_ACCOUNTS_MAX, AccountStatus

TABLE = "split"


def add_command(id: str) -> Body:
    """For `Splits`: this account is split."""
    return ["add", id]


def status_of(answer: Body) -> AccountStatus:
    """What became of it: `created`, `exists` or `too_many_split_accounts`."""
    _, number = answer
    return AccountStatus(number)


class Splits(BasePart):
    """Ids of split accounts in the order in which they were listed; none is ever taken back.

    Command: `add_command`, answered by `["added", AccountStatus]`.
    """

    name = "splits"
    tables: tuple[str, ...] = (TABLE,)

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self._saved = 0

    def apply(self, body: Body, at: At) -> Body:
        """Lists an account; repeating it changes nothing."""
        kind, id = body
        assert kind == "add", f"unknown command {kind}"
        return ["added", int(self._add(id))]

    def _add(self, id: str) -> AccountStatus:
        if id in self.ids:
            return AccountStatus.exists
        if len(self.ids) >= SPLIT_ACCOUNTS_MAX:
            return AccountStatus.too_many_split_accounts
        self.ids[id] = None
        return AccountStatus.created

    def totals(self) -> Body:
        """How many there are."""
        return [len(self.ids)]

    def digest(self, seed: int) -> int:
        """Over the ids in their order."""
        return digest_of(list(self.ids), seed)

    def changes(self) -> list[Change]:
        """One row an account."""
        fresh = list(self.ids)[self._saved :]
        changes = [Change(TABLE, key, id.encode()) for key, id in enumerate(fresh, self._saved)]
        self._saved = len(self.ids)
        return changes

    def restore(self, rows: Rows) -> None:
        """Loads the list."""
        for _, id in rows(TABLE):
            self.ids[id.decode()] = None
        self._saved = len(self.ids)
