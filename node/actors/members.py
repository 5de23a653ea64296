"""Whether this node belongs to the cluster, and with whom it may speak.

A node whose data folder is new compares its settings with its peers first, and takes part in nothing before a majority of the
cluster's nodes, itself among them, has the same ones; what it takes part in when is in `founding`. So nothing is served, voted or
acknowledged by a node that was started with other settings, or with an empty folder in place of one that is known.

A node that most others refuse stops and says why, whatever the reason, unless they are busy; the word of a few, who may be wrong
themselves, is only logged. Whoever refuses says so too, and a node that reaches nobody.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from node.actors.actor import Failed, Outcome, Reply, promised
from node.core.machine import apply_request
from node.core.members import MemberEvent, Members, MemberState, MemberTable, event_command, table_of
from node.notices import Admitted, MemberChanged, PeerRefused, RefusedByPeer, Waiting
from node.ports import Clock, NodeFolder, OperatorLog
from protocol.errors import ErrorCode, ProtocolError
from protocol.messages import PROTOCOL_VERSION, Hello, Role, Welcome

REFUSED_SECONDS = 2.0  # a peer that has not heard of the latest table yet refuses wrongly for a moment
ALONE_SECONDS = 5.0  # without any peer, after which people are told: whoever starts together, or again, has met by then
WAITING_SECONDS = 2.0  # after which people are told what a node waits for: those that start together have met by then

TAKING_PART = (MemberState.member, MemberState.joining)


class NotAdmitted(Exception):
    """Why this node must not take part, in a sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class MembersPorts:
    """What it is connected to."""

    clock: Clock
    propose: Callable[[list[Any], Reply], None]  # a request for group 0's machine
    changed: Callable[[], None]  # the table or the identity has changed
    fail: Callable[[BaseException], None]
    operator: OperatorLog


@dataclass(frozen=True, slots=True)
class MembersStatistics:
    """Who belongs to the cluster, as this node knows it."""

    identity: int  # of the cluster, 0 if not known yet
    version: int  # of the table
    is_admitted: bool
    refused_by: int  # peers that do not let this node in


class MemberDesk:
    """One a node."""

    def __init__(
        self, hello: Hello, nodes: int, folder: NodeFolder, generator: random.Random, ports: MembersPorts
    ) -> None:
        self.table = MemberTable.unpack(folder.table)
        self._hello = hello
        self._majority = nodes // 2 + 1
        self._nodes = nodes
        self._folder = folder
        self._random = generator
        self._ports = ports
        self._alike: dict[int, int] = {}  # peers with the same settings, and the identity that each knows
        self._refused: dict[int, tuple[float, str]] = {}  # by which peers, since when and why
        self._turned_away: dict[tuple[int, ErrorCode], None] = {}  # peers that are not let in, as people were told
        self._waiting = ""  # what for, as people were told last
        self._tell_at = ports.clock.monotonic() + WAITING_SECONDS
        self._alone_since = ports.clock.monotonic()

    @property
    def identity(self) -> int:
        """Of the cluster; 0 as long as this node does not belong to it."""
        return self._folder.identity

    @property
    def is_admitted(self) -> bool:
        """Whether this node belongs to the cluster."""
        return self._folder.identity != 0

    @property
    def is_replacement(self) -> bool:
        """Whether its folder came for another one of the same node."""
        return self._folder.is_replacement

    @property
    def is_alike(self) -> bool:
        """Whether a majority of the nodes, this one among them, has the same settings."""
        return 1 + len(self._alike) >= self._majority

    @property
    def is_founded(self) -> bool:
        """Whether anybody who was met belongs to a cluster."""
        return any(self._alike.values())

    @property
    def may_found(self) -> bool:
        """Whether all other nodes have been met, and none of them belongs to a cluster."""
        return 1 + len(self._alike) == self._nodes and not self.is_founded

    @property
    def has_place(self) -> bool:
        """Whether this node's folder is registered, and each other node has one."""
        row = self.table.rows.get(self._hello.node)
        is_mine = row is not None and row.data_id == self._folder.data_id and row.state in TAKING_PART
        return is_mine and not self._unregistered()

    def _unregistered(self) -> list[int]:
        return [node for node in range(1, self._nodes + 1) if node not in self.table.rows]

    # -- handshakes -----------------------------------------------------------------------------------------------

    def started(self, start: int) -> None:
        """The number of this start is known, before anybody is spoken with."""
        self._hello = replace(self._hello, start=start)

    def hello(self) -> Hello:
        """What this node says to a peer."""
        hello, folder = self._hello, self._folder
        return Hello(
            PROTOCOL_VERSION, hello.cluster, hello.role, hello.node, hello.token, folder.data_id, folder.identity, hello.settings,
            hello.start,
        )  # fmt: skip

    def check_hello(self, hello: Hello) -> ProtocolError | None:
        """Why a peer whose hello fits the cluster is refused all the same, or None."""
        return self._meet(hello.node, hello.data_id, hello.identity)

    def check_welcome(self, welcome: Welcome) -> ProtocolError | None:
        """Why a peer that does not refuse this node must not be spoken with, or None."""
        return self._meet(welcome.node, welcome.data_id, welcome.identity)

    def let_in(self, node: int) -> None:
        """A peer speaks with this node."""
        self._refused.pop(node, None)

    def _meet(self, node: int, data_id: int, identity: int) -> ProtocolError | None:
        if not self.may_speak(node, data_id, identity):
            row = self.table.rows[node]
            if row.state is MemberState.leaving:
                text = f"node {node} is being replaced: start it again when its shards have let it go"
            else:
                names = f"{data_id:016x}, not {row.data_id:016x}"
                text = f"node {node} came back with another data folder ({names}): {self._remedy(node)}"
            return ProtocolError(text, ErrorCode.unknown_peer)
        self._alike[node] = identity
        return None

    def _remedy(self, node: int) -> str:
        """What to do about a node whose data folder is another than the one that it has registered."""
        if self._unregistered():
            return (
                "expected the folder that it had; if that is gone, found the cluster anew, with empty data folders on all "
                "nodes: nothing has been acknowledged yet"
            )
        return (
            "it has lost what it acknowledged; expected the folder that it had registered, "
            f"or scripts/cluster replace {node}"
        )

    def may_speak(self, node: int, data_id: int, identity: int) -> bool:
        """Whether the node may have this data folder, which knows this identity, as far as is known here."""
        row = self.table.rows.get(node)
        return row is None or row.admits(data_id, is_new=identity == 0)

    def refused(self, node: int, error: ProtocolError) -> None:
        """A peer does not let this node in."""
        if node not in self._refused:
            self._ports.operator.tell(RefusedByPeer(node, error.code.value, str(error)))
        self._refused.setdefault(node, (self._ports.clock.monotonic(), f"node {node}: {error}"))

    def turned_away(self, node: int, error: ProtocolError) -> None:
        """This node does not speak with one that has this number, or says so; people are told each reason once, until it is let in."""
        known = (node if 1 <= node <= self._nodes else 0, error.code)
        if known not in self._turned_away:
            self._turned_away[known] = None
            self._ports.operator.tell(PeerRefused(node, error.code.value, str(error)))

    def accepted(self, node: int) -> None:
        """A peer's hello was accepted."""
        self._turned_away = {known: None for known in self._turned_away if known[0] != node}

    def tick(self, *, is_alone: bool) -> None:
        """Stops the node if so many refuse it that the rest is no majority, or if it is new and all that it met refuse it.

        `is_alone`: no other node answers.
        """
        if not is_alone:
            self._alone_since = self._ports.clock.monotonic()
        before = self._ports.clock.monotonic() - REFUSED_SECONDS
        reasons = [reason for since, reason in self._refused.values() if since < before]
        is_outcast = not self.is_admitted and not self._alike and len(reasons) > 1
        if is_outcast or self._nodes - len(reasons) < self._majority:
            self._ports.fail(NotAdmitted("; ".join(reasons)))
        self._tell()

    def _tell(self) -> None:
        """What a node waits for that takes no part, each time it is something else."""
        waiting = self._alone if self.is_admitted else self.waits_for
        if waiting != self._waiting and self._ports.clock.monotonic() >= self._tell_at:
            self._waiting = waiting
            if waiting:
                self._ports.operator.tell(Waiting(waiting))

    @property
    def _alone(self) -> str:
        if self._nodes == 1 or self._ports.clock.monotonic() - self._alone_since < ALONE_SECONDS:
            return ""
        return (
            "no other node answers: this one takes no part; expected them to run where this cluster.toml says, "
            "and the same one on every node"
        )

    @property
    def waits_for(self) -> str:
        """Why this node does not belong to the cluster yet, in a sentence."""
        if self._refused:
            return "; ".join(reason for _, reason in self._refused.values())
        mine = self._hello.node
        unmet = [node for node in range(1, self._nodes + 1) if node not in self._alike and node != mine]
        missing = [] if self.is_founded else unmet or [node for node in self._unregistered() if node != mine]
        if missing:
            return f"a cluster is founded by all of its nodes: expected {_name(missing)} to be started, with the same cluster.toml"
        return f"the data folder of node {mine} is new: expected a majority of the nodes to say that it may come"

    # -- the table ------------------------------------------------------------------------------------------------

    def packed(self) -> list[Any]:
        """The table, as peers are told it."""
        return self.table.pack()

    def hear(self, table: MemberTable) -> None:
        """A table of group 0, by its own replica here, an answer or a peer. Older ones, and another cluster's, are passed over."""
        if table.version <= self.table.version or (self.is_admitted and table.identity != self.identity):
            return
        before, self.table = self.table, table
        self._tell_changes(before)
        if self.is_admitted:
            self._folder.remember(table.pack())
        self._ports.changed()

    def _tell_changes(self, before: MemberTable) -> None:
        for node, row in self.table.rows.items():
            if row != (was := before.rows.get(node)):
                name = None if was is None else was.state.name
                self._ports.operator.tell(MemberChanged(node, row.state.name, name, f"{row.data_id:016x}"))

    def propose(
        self, event: MemberEvent, node: int, data_id: int, reply: Reply = lambda _: None, identity: int = 0
    ) -> None:
        """Tells group 0; the reply comes when the table that followed is known here, or is the failure."""

        def answered(outcome: Outcome) -> None:
            if not isinstance(outcome, Failed):
                self.hear(table_of(outcome))
            reply(outcome)

        command = event_command(event, node, data_id, identity)
        self._ports.propose(apply_request(Members.name, command), answered)

    async def register(self) -> None:
        """Asks group 0 once for a row of the table. Raises NotAdmitted if that says that another folder has it."""
        mine, data_id = self._hello.node, self._folder.data_id
        outcome, reply = promised()
        self.propose(MemberEvent.register, mine, data_id, reply, self._random.getrandbits(62) + 1)
        answer = await outcome
        if isinstance(answer, Failed):
            return
        row = table_of(answer).rows[mine]
        if row.data_id != data_id or row.state not in TAKING_PART:
            raise NotAdmitted(
                f"the data folder of node {mine} is not the one that it has registered: {self._remedy(mine)}"
            )

    def settle_in(self) -> None:
        """Stores that the folder belongs to the cluster, where the table says so."""
        assert self.has_place
        row = self.table.rows[self._hello.node]
        self._folder.remember(self.table.pack())
        self._folder.admit(self.table.identity, row.state is MemberState.joining)
        self._ports.operator.tell(Admitted(f"{self.identity:016x}", self.is_replacement))
        self._ports.changed()

    def statistics(self) -> MembersStatistics:
        """As it is now."""
        return MembersStatistics(self.identity, self.table.version, self.is_admitted, len(self._refused))


def make_hello(cluster: str, node: int, token: str, settings: str) -> Hello:
    """What a node says to a peer, but for what its data folder knows."""
    return Hello(PROTOCOL_VERSION, cluster, Role.peer.value, node, token, 0, 0, settings)


def _name(numbers: list[int]) -> str:
    return f"node {numbers[0]}" if len(numbers) == 1 else f"nodes {', '.join(map(str, numbers))}"
