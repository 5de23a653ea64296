"""Replays the published interaction scenarios on replicas of this package, with the order of steps of their harness."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from random import Random

from node.core.raft import (
    Entry,
    HardState,
    Membership,
    MembershipChange,
    Message,
    MessageKind,
    NodeId,
    Persist,
    ProposalDropped,
    Raft,
    RaftConfig,
    Ready,
    Restored,
    Role,
    SnapshotMeta,
    Transition,
)
from node.core.raft.reconfigure import applied_to, apply_changes
from tests.core.raft.datadriven import Case
from tests.core.raft.rendering import (
    NAMES,
    ROLES,
    STATES,
    indent,
    show_entries,
    show_entry,
    show_message,
    show_snapshot,
    show_steps,
)
from tests.core.raft.test_membership import parse_steps

REPLIES = (
    MessageKind.append_reply,
    MessageKind.vote_reply,
    MessageKind.pre_vote_reply,
    MessageKind.heartbeat_reply,
)
ELECTION_TICKS, HEARTBEAT_TICKS = 3, 1


@dataclass(frozen=True, slots=True)
class Local:
    """An answer of the append or apply thread, or a change handed on to the leader, on its way to a replica."""

    to: NodeId
    text: str
    kind: str
    persist: Persist | None = None
    applied: int = 0
    change: MembershipChange | None = None


@dataclass(slots=True)
class Node:
    """A replica with its storage and the work that its threads have not done yet."""

    raft: Raft
    is_async: bool
    base: SnapshotMeta
    stored: list[Entry] = field(default_factory=list)
    latest: SnapshotMeta = field(default_factory=SnapshotMeta)
    hard: HardState = field(default_factory=HardState)
    soft: tuple[NodeId, Role] = (NodeId(0), Role.follower)
    peeked: Ready | None = None
    handed_on: list[Local] = field(default_factory=list)
    append_work: list[tuple[Persist, str]] = field(default_factory=list)
    apply_work: list[tuple[tuple[Entry, ...], str]] = field(default_factory=list)

    @property
    def id(self) -> NodeId:
        return self.raft.state.id

    def has_ready(self) -> bool:
        if self.peeked is None:
            self.peeked = self.raft.ready()
        return self.peeked is not None or bool(self.handed_on)

    def store(self, persist: Persist) -> None:
        """What the disk does with a write."""
        if persist.snapshot is not None:
            self.base, self.stored, self.latest = persist.snapshot, [], persist.snapshot
        if persist.entries:
            keep = persist.entries[0].index - self.base.index - 1
            self.stored[keep:] = persist.entries

    def apply(self, entries: Iterable[Entry]) -> None:
        """What the machine does with committed entries; a snapshot is on offer after each."""
        state = self.raft.state
        for entry in entries:
            apply_changes(state, entry.index)
            self.latest = SnapshotMeta(entry.index, entry.term, entry.checksum, state.membership)
            state.offered_snapshot = self.latest


class Cluster:
    """Runs the commands of a file; every command returns its output."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.messages: list[Message | Local] = []
        self.is_silent = False

    def run(self, case: Case) -> str:
        """The output of a command, `ok` if it says nothing."""
        command = getattr(self, case.name.replace("-", "_"))
        try:
            output = "\n".join(line for line in command(case) if line)
        except ProposalDropped:
            output = "raft proposal dropped"
        return output or "ok"

    def node(self, word: str) -> Node:
        return self.nodes[int(word) - 1]

    def add_nodes(self, case: Case) -> list[str]:
        options = case.options
        voters = tuple(NodeId(number) for number in case.numbers("voters"))
        learners = tuple(NodeId(number) for number in case.numbers("learners"))
        index = int(options.get("index", "0"))
        members = Membership(voters, (), learners)
        snapshot = SnapshotMeta(index, 1, 0, members) if index else SnapshotMeta()
        is_async = options.get("async-storage-writes") == "true"
        for _ in range(int(case.words[0])):
            config = RaftConfig(
                id=NodeId(len(self.nodes) + 1), membership=members,
                election_ticks=ELECTION_TICKS, heartbeat_ticks=HEARTBEAT_TICKS, random=Random(len(self.nodes)),
                pre_vote=options.get("prevote") == "true", check_quorum=options.get("checkquorum") == "true",
                step_down_on_removal=options.get("step-down-on-removal") == "true", apply_unstable=not is_async,
                message_bytes_max=1 << 40, inflight_messages_max=int(options.get("inflight", 1 << 30)),
                inflight_bytes_max=1 << 40,
            )  # fmt: skip
            raft = Raft(config, Restored(HardState(commit=index), (), snapshot, index))
            raft.offer_snapshot(snapshot)
            self.nodes.append(Node(raft, is_async, snapshot, latest=snapshot, hard=HardState(commit=index)))
        return []

    def log_level(self, case: Case) -> list[str]:
        self.is_silent = case.words[0] == "none"
        return []

    def campaign(self, case: Case) -> list[str]:
        self.node(case.words[0]).raft.campaign()
        return []

    def propose(self, case: Case) -> list[str]:
        self.node(case.words[0]).raft.propose([case.words[1].encode()])
        return []

    def propose_conf_change(self, case: Case) -> list[str]:
        node = self.node(case.words[0])
        transition = Transition[case.options.get("transition", "auto")]
        change = MembershipChange(parse_steps(case.input), transition)
        leader = node.raft.state.leader
        if leader in (node.id, 0):
            self._propose_change(node, change)
        else:
            text = f"{node.id}->{leader} MsgProp Term:0 Log:0/0 Entries:[0/0 EntryConfChange {show_steps(change)}"
            node.handed_on.append(Local(leader, text.rstrip() + "]", "MsgProp", change=change))
        return []

    def _propose_change(self, node: Node, change: MembershipChange) -> None:
        try:
            node.raft.propose_change(change)
        except ProposalDropped as dropped:
            if not dropped.reason.startswith("change refused"):
                raise
            node.raft.propose([b""])  # the published core appends an empty entry in place of a refused change

    def transfer_leadership(self, case: Case) -> list[str]:
        self.node(case.options["from"]).raft.transfer_leadership(NodeId(int(case.options["to"])))
        return []

    def forget_leader(self, case: Case) -> list[str]:
        self.node(case.words[0]).raft.forget_leader()
        return []

    def report_unreachable(self, case: Case) -> list[str]:
        self.node(case.words[0]).raft.report_unreachable(NodeId(int(case.words[1])))
        return []

    def set_randomized_election_timeout(self, case: Case) -> list[str]:
        self.node(case.words[0]).raft.state.election_timeout = int(case.options["timeout"])
        return []

    def tick_election(self, case: Case) -> list[str]:
        for _ in range(ELECTION_TICKS):
            self.node(case.words[0]).raft.tick()
        return []

    def tick_heartbeat(self, case: Case) -> list[str]:
        for _ in range(HEARTBEAT_TICKS):
            self.node(case.words[0]).raft.tick()
        return []

    def compact(self, case: Case) -> list[str]:
        node, index = self.node(case.words[0]), int(case.words[1])
        node.raft.compact(index)
        entry = node.stored[index - node.base.index - 1]
        del node.stored[: index - node.base.index]
        node.base = SnapshotMeta(index, entry.term, entry.checksum)
        return self.raft_log(case)

    def send_snapshot(self, case: Case) -> list[str]:
        node, to = self.node(case.words[0]), NodeId(int(case.words[1]))
        message = Message(MessageKind.snapshot, to, node.id, node.raft.state.term, snapshot=node.latest)
        self.messages.append(message)
        return [show_message(message)]

    def raft_log(self, case: Case) -> list[str]:
        node = self.node(case.words[0])
        last = node.base.index + len(node.stored)
        empty = f"log is empty: first index={node.base.index + 1}, last index={last}"
        return [show_entry(entry) for entry in node.stored] or [empty]

    def raft_state(self, _: Case) -> list[str]:
        lines = []
        for node in self.nodes:
            state = node.raft.state
            voter = "Voter" if node.id in state.membership.all_voters else "Non-Voter"
            lines.append(f"{node.id}: {ROLES[state.role.kind]} ({voter}) Term:{state.term} Lead:{state.leader}")
        return lines

    def status(self, case: Case) -> list[str]:
        lines = []
        for peer in self.node(case.words[0]).raft.status().peers:
            text = f"{peer.node}: {STATES[peer.state]} match={peer.match} next={peer.next}"
            text += " learner" * peer.is_learner + " paused" * peer.is_paused
            text += f" pendingSnap={peer.pending_snapshot}" if peer.pending_snapshot else ""
            text += " inactive" * (not peer.recent_active)
            text += f" inflight={peer.inflight_messages}" if peer.inflight_messages else ""
            lines.append(text + "[full]" * peer.inflight_full)
        return lines

    def process_ready(self, case: Case) -> list[str]:
        return self._each(case, "handling Ready", self._process_ready)

    def process_append_thread(self, case: Case) -> list[str]:
        return self._each(case, "processing append thread", self._process_append)

    def process_apply_thread(self, case: Case) -> list[str]:
        return self._each(case, "processing apply thread", self._process_apply)

    def _each(self, case: Case, title: str, process: object) -> list[str]:
        assert callable(process)
        if len(case.words) == 1:
            return [process(self.node(case.words[0]))]
        lines = []
        for word in case.words:
            lines += [f"> {word} {title}", indent(process(self.node(word)))]
        return lines

    def deliver_msgs(self, case: Case) -> list[str]:
        lines = []
        for word in case.words:
            lines.append(self._deliver(NodeId(int(word)), case.options.get("type")))
        for number in case.numbers("drop"):
            dropped = [message for message in self.messages if message.to == number]
            self.messages = [message for message in self.messages if message.to != number]
            lines += [f"dropped: {self._show(message)}" for message in dropped]
        return lines

    def stabilize(self, case: Case) -> list[str]:
        nodes = [self.node(word) for word in case.words] or self.nodes
        lines: list[str] = []
        is_done = False
        while not is_done:
            before = len(lines)
            for node in nodes:
                if node.has_ready():
                    lines += [f"> {node.id} handling Ready", indent(self._process_ready(node))]
            for node in nodes:
                if any(message.to == node.id for message in self.messages):
                    lines += [f"> {node.id} receiving messages", indent(self._deliver(node.id, None))]
            for node in nodes:
                if node.append_work:
                    lines.append(f"> {node.id} processing append thread")
                while node.append_work:
                    lines.append(indent(self._process_append(node)))
            for node in nodes:
                if node.apply_work:
                    lines.append(f"> {node.id} processing apply thread")
                while node.apply_work:
                    lines.append(indent(self._process_apply(node)))
            is_done = len(lines) == before
        return lines

    def _show(self, message: Message | Local) -> str:
        return message.text if isinstance(message, Local) else show_message(message)

    def _deliver(self, to: NodeId, kind: str | None) -> str:
        def matches(message: Message | Local) -> bool:
            name = message.kind if isinstance(message, Local) else NAMES[message.kind]
            return message.to == to and (kind is None or name == kind)

        due = [message for message in self.messages if matches(message)]
        self.messages = [message for message in self.messages if not matches(message)]
        node, lines = self.nodes[to - 1], []
        for message in due:
            lines.append(self._show(message))
            if isinstance(message, Message):
                if message.kind in REPLIES and message.sender not in node.raft.state.membership.everyone:
                    lines.append("raft: cannot step as peer not found")
                node.raft.step(message)
            elif message.change is not None:
                self._propose_change(node, message.change)
            elif message.persist is not None:
                self._complete(node, message.persist)
            else:
                applied_to(node.raft.state, message.applied)
        return "\n".join(lines)

    def _complete(self, node: Node, persist: Persist) -> None:
        node.raft.persisted(replace(persist, number=node.raft._durable + 1))

    def _process_ready(self, node: Node) -> str:
        node.has_ready()
        ready, node.peeked = node.peeked, None
        handed_on, node.handed_on = node.handed_on, []
        self.messages += handed_on
        texts = [local.text for local in handed_on]
        if ready is None:
            return "\n".join(["Ready MustSync=false:", "Messages:", *texts]) if texts else "<empty Ready>"
        persist = ready.persist
        head = self._show_head(node, ready)
        messages = list(ready.messages)
        if not node.is_async and persist is not None:
            messages += [message for message in persist.responses if message.to != node.id]
        self.messages += messages
        texts += [show_message(message) for message in messages]
        if node.is_async:
            texts += self._start_threads(node, ready)
        else:
            self._write_and_apply(node, ready)
        return "\n".join([*head, *(["Messages:", *texts] if texts else [])])

    def _show_head(self, node: Node, ready: Ready) -> list[str]:
        persist = ready.persist
        lines = []
        soft = (ready.leader, ready.role)
        if soft != node.soft:
            lines.append(f"Lead:{soft[0]} State:{ROLES[soft[1]]}")
            node.soft = soft
        hard = persist.hard_state if persist is not None else None
        entries = persist.entries if persist is not None else ()
        must_sync = bool(entries)
        if hard is not None:
            must_sync |= (hard.term, hard.vote) != (node.hard.term, node.hard.vote)
            node.hard = hard
            lines.append(f"HardState Term:{hard.term}{f' Vote:{hard.vote}' if hard.vote else ''} Commit:{hard.commit}")
        if persist is not None and persist.snapshot is not None:
            lines.append(f"Snapshot {show_snapshot(persist.snapshot)}")
        if entries:
            lines += ["Entries:", *map(show_entry, entries)]
        if ready.committed:
            lines += ["CommittedEntries:", *map(show_entry, ready.committed)]
        assert persist is None or persist.must_sync == (must_sync or persist.snapshot is not None)
        return [f"Ready MustSync={str(must_sync).lower()}:", *lines]

    def _write_and_apply(self, node: Node, ready: Ready) -> None:
        if ready.persist is not None:
            node.store(ready.persist)
        node.apply(ready.committed)
        if ready.persist is not None:
            node.raft.persisted(ready.persist)
            if ready.persist.snapshot is not None:
                node.raft.offer_snapshot(ready.persist.snapshot)
        if ready.committed:
            applied_to(node.raft.state, ready.committed[-1].index)

    def _start_threads(self, node: Node, ready: Ready) -> list[str]:
        texts, persist = [], ready.persist
        if persist is not None:
            hard = persist.hard_state
            text = f"{node.id}->AppendThread MsgStorageAppend Term:{hard.term if hard else 0} Log:0/0"
            text += f" Commit:{hard.commit}" if hard and hard.commit else ""
            text += f" Vote:{hard.vote}" if hard and hard.vote else ""
            text += show_entries(persist.entries)
            answers = [show_message(message) for message in persist.responses]
            if persist.mark is not None:
                answers.append(self._stored_text(node, persist))
            node.append_work.append((persist, text))
            texts.append(text + self._answers(answers))
        if ready.committed:
            text = f"{node.id}->ApplyThread MsgStorageApply Term:0 Log:0/0{show_entries(ready.committed)}"
            node.apply_work.append((ready.committed, text))
            texts.append(text + self._answers([self._applied_text(node, ready.committed)]))
        return texts

    def _answers(self, answers: list[str]) -> str:
        return " Responses:[\n" + "\n".join(map(indent, answers)) + "\n]" if answers else ""

    def _stored_text(self, node: Node, persist: Persist) -> str:
        assert persist.mark is not None
        term, index, log_term = persist.mark
        return f"AppendThread->{node.id} MsgStorageAppendResp Term:{term} Log:{log_term}/{index}"

    def _applied_text(self, node: Node, entries: tuple[Entry, ...]) -> str:
        return f"ApplyThread->{node.id} MsgStorageApplyResp Term:0 Log:0/0{show_entries(entries)}"

    def _process_append(self, node: Node) -> str:
        persist, text = node.append_work.pop(0)
        node.store(persist)
        lines = ["Processing:", text, "Responses:", *map(show_message, persist.responses)]
        self.messages += persist.responses
        if persist.mark is not None or persist.snapshot is not None:
            answer = self._stored_text(node, persist)
            self.messages.append(Local(node.id, answer, "MsgStorageAppendResp", replace(persist, responses=())))
            lines.append(answer)
        return "\n".join(lines)

    def _process_apply(self, node: Node) -> str:
        entries, text = node.apply_work.pop(0)
        node.apply(entries)
        answer = self._applied_text(node, entries)
        self.messages.append(Local(node.id, answer, "MsgStorageApplyResp", applied=entries[-1].index))
        return "\n".join(["Processing:", text, "Responses:", answer])
