"""Drives a machine in a test as a replica would: resolves, packs entries, applies, keeps a store."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np

from node.core.ledger import Ledger
from node.core.machine import Answer, Body, Kind, Loaded, Machine, Need, Part, pack_decision, pack_entry
from protocol.status import REPEATED
from tests.core.ledger.driving import START_NS, columns
from tests.core.ledger.model import Transfer
from tests.core.machine.spending import Spending


def legs(rows: Sequence[Transfer]) -> Body:
    """The ledger's body of a PREPARE."""
    numbers = struct.pack(f"<{len(rows)}i", *(row.number for row in rows))
    return ["legs", columns(rows).pack(), numbers, bytes(row.side for row in rows), b""]


def decision(*statuses: int) -> bytes:
    """A packed decision, one status a transaction."""
    return pack_decision(np.array(statuses, np.uint8))


class Shard:
    """A machine with its log and its store."""

    def __init__(self, *parts: Part) -> None:
        self.machine = Machine(parts or [Ledger(), Spending()])
        self.log: list[bytes] = []
        self.store: dict[str, dict[int, bytes]] = {table: {} for table in self.machine.tables}
        self.now_ns = START_NS

    def entry(self, *requests: Body) -> list[Body]:
        """One entry of these requests; an answer each."""
        self.now_ns += 1_000_000
        return self.apply(pack_entry(self.now_ns, self.elapsed_ns, list(requests)))

    @property
    def elapsed_ns(self) -> int:
        """What the log has counted: another number than the wall's time, so that nobody takes one for the other."""
        return self.now_ns - START_NS

    def apply(self, data: bytes) -> list[Body]:
        """The next entry of the log."""
        self.log.append(data)
        return self.machine.apply(self.machine.applied + 1, data)

    def request(self, part: str, body: Body) -> Body:
        """As the leader logs a command."""
        return self._resolved(lambda loaded: self.machine.resolve(part, body, self.now_ns, loaded))

    def _resolved(self, resolve: Callable[[Loaded], Body | Need]) -> Body:
        loaded: Loaded = {}
        while isinstance(resolved := resolve(loaded), Need):
            loaded = resolved.fill(loaded, {key: self.store[key[0]].get(key[1]) for key in resolved.missing(loaded)})
        return resolved

    def command(self, part: str, body: Body) -> Body:
        """One command in an entry of its own."""
        (answer,) = self.entry(self.request(part, body))
        return answer

    def accounts(self, *ids: str, minimum: int | None = 0, currency: str = "EUR") -> None:
        """Opens accounts."""
        answer = self.command("ledger", ["accounts", [[id, currency, minimum, None, "", b""] for id in ids]])
        assert set(answer[1]) == {0}

    def transfers(self, *rows: Transfer) -> list[int]:
        """A status a row."""
        return [
            int(answered) & ~REPEATED for answered in self.command("ledger", ["transfers", columns(rows).pack()])[1]
        ]

    def prepare(
        self,
        round_id: int,
        count: int,
        command: tuple[str, Body],
        epoch: int = 1,
        over: tuple[int, ...] = (0, 0),
        protocol: str = "2pc",
        groups: tuple[int, ...] = (1, 2),
        leg_layout: bytes = b"",
    ) -> Body:
        """A PREPARE without decisions; its answer."""
        prepare = self.prepared(round_id, count, command, protocol=protocol, groups=groups, leg_layout=leg_layout)
        (answer,) = self.entry(self.round([Kind.round, epoch, list(over), [], [], prepare]))
        return answer

    def round(self, request: Body) -> Body:
        """As the leader logs a coordinator's request."""
        return self._resolved(lambda loaded: self.machine.resolve_round(request, self.now_ns, loaded))

    def prepared(
        self,
        round_id: int,
        count: int,
        command: tuple[str, Body],
        protocol: str = "2pc",
        groups: tuple[int, ...] = (1, 2),
        leg_layout: bytes = b"",
    ) -> Body:
        """A PREPARE as the coordinator sends it."""
        return [round_id, count, protocol, list(groups), leg_layout, [list(command)]]

    def precommit(
        self,
        round_id: int,
        packed: bytes,
        epoch: int = 1,
        groups: tuple[int, ...] = (1, 2),
        over: tuple[int, ...] = (0, 0),
    ) -> Body:
        """A PRECOMMIT alone; the answer."""
        (answer,) = self.entry([Kind.round, epoch, list(over), [], [[round_id, list(groups), packed]], None])
        return answer

    def decide(self, *decisions: tuple[int, bytes], epoch: int = 1, over: tuple[int, ...] = (0, 0)) -> Body:
        """Decisions without a PREPARE; the answer."""
        (answer,) = self.entry([Kind.round, epoch, list(over), [list(each) for each in decisions], [], None])
        return answer

    def mark(self, name: str, epoch: int = 1, questions: tuple[Body, ...] = (), is_audit: bool = True) -> Body:
        """A marker without decisions; the answer."""
        (answer,) = self.entry([Kind.marker, epoch, [0, 0], [], name, is_audit, list(questions)])
        return answer

    def query(self, part: str, *body: object) -> Answer:
        """A question that needs no stored rows."""
        answer = self.machine.query(part, list(body), {})
        assert isinstance(answer, Answer)
        return answer

    def balances(self, id: str) -> tuple[int, int, int]:
        """Posted, held, incoming."""
        (row,) = self.query("ledger", "accounts", [id]).body[1]
        return row[2], row[3], row[4]

    def save(self) -> None:
        """Makes a checkpoint."""
        for change in self.machine.changes():
            if change.value is None:
                self.store[change.table].pop(change.key, None)
            else:
                self.store[change.table][change.key] = change.value

    def restored(self, *parts: Part) -> Shard:
        """A new process with this store."""
        other = Shard(*parts)
        other.store = {table: dict(rows) for table, rows in self.store.items()}
        other.now_ns = self.now_ns
        other.machine.restore(lambda table: sorted(other.store[table].items()))
        return other


def votes(answer: Body) -> list[int]:
    """The votes in an answer, one a transaction."""
    assert answer[0] == "votes", answer
    return list(answer[1])
