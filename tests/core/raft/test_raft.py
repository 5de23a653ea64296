"""Rules of the core that deserve a test of their own."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from node.core.raft import (
    Entry,
    EntryKind,
    HardState,
    LogEnd,
    Membership,
    MembershipChange,
    Message,
    MessageKind,
    NodeId,
    Persist,
    ProgressState,
    ProposalDropped,
    Raft,
    RaftConfig,
    Ready,
    Restored,
    Role,
    SnapshotMeta,
    Step,
    chain_checksum,
)
from node.core.raft.log import intact_prefix
from tests.core.raft.simulation import Group

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def chain(*terms: int, after: Entry | None = None) -> tuple[Entry, ...]:
    """Entries of the given terms with a valid chain."""
    entries: list[Entry] = []
    previous = after
    for term in terms:
        index = previous.index + 1 if previous else 1
        data = b"entry %d" % index
        checksum = chain_checksum(previous.checksum if previous else 0, term, index, 0, data)
        previous = Entry(term, index, EntryKind.normal, data, checksum)
        entries.append(previous)
    return tuple(entries)


def replica(
    entries: tuple[Entry, ...] = (), *, hard: HardState | None = None, lost: LogEnd | None = None, node: NodeId = ONE
) -> Raft:
    """A replica of a group of three that starts from durable entries."""
    config = RaftConfig(
        id=node, membership=Membership((ONE, TWO, THREE)), election_ticks=10, heartbeat_ticks=2, random=Random(7),
        pre_vote=False, check_quorum=False,
    )  # fmt: skip
    restored = Restored(hard or HardState(), entries, SnapshotMeta(), 0, lost)
    return Raft(config, restored)


def take(raft: Raft) -> Ready:
    """The effects, which must be some, with everything made durable at once."""
    ready = raft.ready()
    assert ready is not None
    if ready.persist is not None:
        raft.persisted(ready.persist)
    return ready


def persist_of(raft: Raft) -> Persist:
    """The write of the next Ready, not yet durable."""
    ready = raft.ready()
    assert ready is not None and ready.persist is not None
    return ready.persist


def append_of(leader: NodeId, term: int, entries: tuple[Entry, ...], commit: int = 0, log_term: int = 0) -> Message:
    """An append of entries behind the index before the first."""
    return Message(MessageKind.append, ONE, leader, term, log_term, entries[0].index - 1, commit, entries)


def reply(raft: Raft, sender: NodeId, index: int) -> None:
    """A peer acknowledges up to an index."""
    raft.step(Message(MessageKind.append_reply, ONE, sender, raft.status().term, index=index))


def elect(raft: Raft) -> None:
    """Makes the replica leader with the vote of node 2."""
    raft.campaign()
    take(raft)
    raft.step(Message(MessageKind.vote_reply, ONE, TWO, raft.status().term))
    assert raft.status().role is Role.leader


def test_an_entry_of_an_old_term_is_not_committed_by_counting() -> None:
    """Figure 8 of the Raft paper: the old entry follows when one of the leader's term is committed."""
    raft = replica(chain(2), hard=HardState(3))
    elect(raft)
    take(raft)
    reply(raft, TWO, 1)
    reply(raft, THREE, 1)
    assert raft.status().commit == 0
    reply(raft, TWO, 2)
    assert raft.status().commit == 2


def test_a_leader_counts_itself_only_once_its_write_is_durable() -> None:
    """One peer is no majority while the leader's own write is under way."""
    raft = replica()
    elect(raft)
    write = persist_of(raft)
    reply(raft, TWO, 1)
    assert raft.status().commit == 0
    raft.persisted(write)
    assert raft.status().commit == 1


def test_a_late_write_does_not_make_its_successor_stable() -> None:
    """The ABA case: an entry replaced by another and then written again looks the same as the first."""
    raft = replica(chain(1), hard=HardState(1))
    before = chain(1)[0]
    first, second = chain(1, after=before), chain(2, after=before)
    raft.step(append_of(TWO, 1, first, log_term=1))
    write_of_first = persist_of(raft)
    raft.step(append_of(THREE, 2, second, log_term=1))
    write_of_second = persist_of(raft)
    raft.step(append_of(TWO, 3, first, log_term=1))
    write_again = persist_of(raft)
    raft.persisted(write_of_first)
    assert raft.status().stable == 1
    raft.persisted(write_of_second)
    assert raft.status().stable == 1
    raft.persisted(write_again)
    assert raft.status().stable == 2


def test_writes_become_durable_in_order() -> None:
    """A shell that reports a later write first is stopped."""
    raft = replica()
    raft.step(append_of(TWO, 1, chain(1)))
    persist_of(raft)
    raft.step(append_of(TWO, 2, chain(2)))
    with pytest.raises(AssertionError, match="in the order"):
        raft.persisted(persist_of(raft))


def test_committed_entries_are_applied_only_when_durable() -> None:
    """What is not on the disk here is not handed out."""
    raft = replica()
    raft.step(append_of(TWO, 1, chain(1, 1), commit=2))
    ready = raft.ready()
    assert ready is not None and ready.persist is not None and ready.committed == ()
    raft.persisted(ready.persist)
    assert [entry.index for entry in take(raft).committed] == [1, 2]


def test_a_broken_chain_is_refused_and_counted() -> None:
    """An append with a flipped bit is answered like a mismatch and never stored."""
    raft = replica()
    good = chain(1, 1)
    bad = (good[0], replace(good[1], data=b"entry 3"))
    raft.step(append_of(TWO, 1, bad))
    (answer,) = [message for message in persist_of(raft).responses if message.to == TWO]
    assert answer.reject and answer.index == 0
    assert raft.status().chain_refused == 1 and raft.status().last_index == 0
    raft.step(append_of(TWO, 1, good))
    assert raft.status().last_index == 2


def test_the_log_is_never_cut_at_or_below_commit() -> None:
    """A leader that contradicts a committed entry stops this node."""
    raft = replica(chain(1, 1), hard=HardState(1, commit=1))
    contradiction = chain(2)
    message = Message(MessageKind.append, ONE, TWO, 2, 1, 1, 0, chain(2, after=chain(1)[0]))
    raft.step(message)
    assert raft.status().last_index == 2
    with pytest.raises(AssertionError, match="commit"):
        raft.state.log.append(contradiction)


def test_a_damaged_log_is_cut_at_the_damage_and_recovers() -> None:
    """A replica that lost a part of what it acknowledged neither campaigns nor counts until it has it back."""
    entries = chain(1, 1, 1)
    damaged = (entries[0], replace(entries[1], data=b"damage"), entries[2])
    intact = tuple(intact_prefix(SnapshotMeta(), damaged))
    raft = replica(intact, hard=HardState(1, commit=1), lost=LogEnd(1, 3))
    assert raft.status().recovering and raft.status().last_index == 1
    raft.campaign()
    for _ in range(40):
        raft.tick()
    assert raft.status().role is Role.follower and raft.status().term == 1
    raft.step(append_of(THREE, 3, entries[1:2], commit=1, log_term=1))
    (answer,) = take(raft).persist.responses  # type: ignore[union-attr]  # an acknowledgement is always written
    assert answer.recovering and answer.index == 2 and raft.status().recovering
    raft.step(append_of(THREE, 3, entries[2:], commit=1, log_term=1))
    (answer,) = take(raft).persist.responses  # type: ignore[union-attr]
    assert not answer.recovering and not raft.status().recovering


def test_a_loss_heals_though_the_lost_entries_never_come_back() -> None:
    """They were never committed: an entry of a later leader's own term settles that, in a quiet group too."""
    raft = replica(chain(1), hard=HardState(1, commit=1), lost=LogEnd(1, 10))
    raft.step(append_of(TWO, 2, chain(1, 2)[1:], commit=2, log_term=1))
    assert not raft.status().recovering and raft.status().last_index == 2


def test_what_was_acknowledged_in_the_leaders_own_term_has_to_come_back() -> None:
    """The leader may have counted on it."""
    raft = replica(chain(1), hard=HardState(2, commit=1), lost=LogEnd(2, 3))
    entries = chain(1, 2, 2)
    raft.step(append_of(TWO, 2, entries[1:2], commit=2, log_term=1))
    assert raft.status().recovering
    raft.step(append_of(TWO, 2, entries[2:], commit=3, log_term=2))
    assert not raft.status().recovering


def test_a_leader_that_comes_into_doubt_resigns() -> None:
    """Peers remember more than its disk does: it neither leads nor votes until it has caught up."""
    raft = replica()
    elect(raft)
    take(raft)
    raft.set_doubted(True)
    raft.trust(1, LogEnd(1, 7))
    assert raft.status().role is Role.follower and raft.status().recovering
    raft.campaign()
    assert raft.status().role is Role.follower


def test_a_replica_in_doubt_follows_and_does_not_vote() -> None:
    """Until the doubt is over: then it is what it was."""
    raft = replica(chain(1), hard=HardState(1))
    raft.set_doubted(True)
    raft.step(Message(MessageKind.vote, ONE, TWO, 2, 1, 3))
    (vote,) = take(raft).persist.responses  # type: ignore[union-attr]  # a vote is always written
    assert vote.reject
    raft.set_doubted(False)
    raft.step(Message(MessageKind.vote, ONE, TWO, 3, 1, 3))
    (vote,) = take(raft).persist.responses  # type: ignore[union-attr]
    assert not vote.reject


def test_a_leader_does_not_count_a_recovering_peer() -> None:
    """Its acknowledgement moves nothing until the flag is gone."""
    raft = replica()
    elect(raft)
    take(raft)
    reply(raft, TWO, 1)
    assert raft.status().commit == 1
    raft.propose([b"x"])
    take(raft)
    term = raft.status().term
    raft.step(Message(MessageKind.append_reply, ONE, TWO, term, index=2, recovering=True))
    peer = raft.status().peers[1]
    assert peer.recovering and peer.match == 2 and raft.status().commit == 1
    raft.step(Message(MessageKind.append_reply, ONE, TWO, term, reject=True, index=2, hint=0, recovering=True))
    assert raft.status().peers[1].match == 0
    context = raft.read_index()
    take(raft)
    beat = Message(MessageKind.heartbeat_reply, ONE, TWO, term, context=context, recovering=True)
    raft.step(beat)
    assert raft.ready() is None or raft.status().reads_pending == 1
    raft.step(Message(MessageKind.append_reply, ONE, TWO, term, index=2))
    assert raft.status().commit == 2


def test_a_recovering_peer_of_a_quiet_leader_is_noticed_and_refilled() -> None:
    """The heartbeat's answer tells the leader, whose belief in the peer's log is void."""
    group = Group(3, 3)
    group.lossy_disks = True
    leader = group.elect(ONE)
    leader.propose([b"a", b"b", b"c"])
    group.settle()
    group.crash(TWO, lost_entries=2)
    group.start(TWO)
    assert group.rafts[TWO].status().recovering
    for _ in range(4):
        leader.tick()
        group.settle()
    status = group.rafts[TWO].status()
    assert not status.recovering and status.last_index == leader.status().last_index


def test_reads_have_unique_contexts_and_need_a_commit_of_the_term() -> None:
    """Refused before, confirmed by a majority, one heartbeat for many, lost with leadership."""
    raft = replica()
    with pytest.raises(ProposalDropped):
        raft.read_index()
    elect(raft)
    with pytest.raises(ProposalDropped, match="in this term"):
        raft.read_index()
    take(raft)
    reply(raft, TWO, 1)
    take(raft)
    contexts = [raft.read_index() for _ in range(3)]
    assert contexts == sorted(set(contexts))
    beats = [message for message in take(raft).messages if message.kind is MessageKind.heartbeat]
    assert [beat.context for beat in beats] == [contexts[-1]] * 2
    late = raft.read_index()
    term = raft.status().term
    raft.step(Message(MessageKind.heartbeat_reply, ONE, TWO, term, context=contexts[-1]))
    assert [read.context for read in take(raft).reads] == contexts
    raft.step_down()
    ready = take(raft)
    assert ready.reads_lost == (late,) and ready.role is Role.follower
    with pytest.raises(ProposalDropped):
        raft.read_index()


def test_leadership_is_transferred_to_a_peer_that_has_caught_up() -> None:
    """Proposals are refused meanwhile; the target campaigns without pre-vote and against a living leader."""
    group = Group(3, 9)
    leader = group.elect(ONE)
    leader.propose([b"x"])
    leader.transfer_leadership(THREE)
    with pytest.raises(ProposalDropped) as dropped:
        leader.propose([b"y"])
    assert dropped.value.leader == THREE
    group.settle()
    assert group.leader() == THREE and group.rafts[ONE].status().leader == THREE


def test_a_transfer_to_a_dead_peer_is_given_up() -> None:
    """After an election timeout the leader takes proposals again."""
    group = Group(3, 9)
    leader = group.elect(ONE)
    group.crash(THREE)
    leader.propose([b"x"])
    leader.transfer_leadership(THREE)
    for _ in range(12):
        leader.tick()
        group.settle()
    leader.propose([b"y"])


def test_a_transfer_to_a_lost_peer_is_given_up_at_once() -> None:
    """Its process is known to be gone, so nobody waits an election timeout for it; another's end changes nothing."""
    group = Group(3, 9)
    leader = group.elect(ONE)
    group.crash(THREE)
    leader.transfer_leadership(THREE)
    leader.peer_lost(TWO)
    with pytest.raises(ProposalDropped):
        leader.propose([b"x"])
    leader.peer_lost(THREE)
    leader.propose([b"y"])


def test_the_flight_to_a_peer_is_bounded_by_count_and_bytes() -> None:
    """No more appends leave than the limits allow, until the peer answers."""
    for settings, expected in (
        ({"inflight_messages_max": 2, "inflight_bytes_max": 10_000}, 2),
        ({"inflight_messages_max": 100, "inflight_bytes_max": 250}, 3),
    ):
        group = Group(3, 1, uncommitted_bytes_max=100_000, **settings)
        leader = group.elect(ONE)
        for _ in range(10):
            leader.propose([b"x" * 100])
        ready = leader.ready()
        assert ready is not None
        assert sum(1 for message in ready.messages if message.to == TWO) == expected
        peer = leader.status().peers[1]
        assert peer.state is ProgressState.replicate and peer.inflight_full and peer.is_paused


def test_an_append_is_bounded_by_bytes() -> None:
    """A long tail goes out in several appends, one entry at least in each."""
    group = Group(3, 1, message_bytes_max=300, uncommitted_bytes_max=100_000)
    leader = group.elect(ONE)
    leader.propose([b"x" * 100] * 6 + [b"y" * 5_000])
    ready = leader.ready()
    assert ready is not None
    sizes = [len(message.entries) for message in ready.messages if message.to == TWO]
    assert sizes == [2]
    group.network += ready.messages
    assert ready.persist is not None
    group.writes[ONE].append((ready.persist, None))
    group.settle()
    assert leader.status().commit == 8


def test_uncommitted_bytes_are_bounded() -> None:
    """One large proposal passes an idle leader; another has to wait until it is applied."""
    group = Group(3, 1, uncommitted_bytes_max=100)
    leader = group.elect(ONE)
    leader.propose([b"x" * 500])
    with pytest.raises(ProposalDropped, match="too many bytes"):
        leader.propose([b"y"])
    group.settle()
    leader.propose([b"y"])


def test_a_leader_without_a_majority_resigns() -> None:
    """Check-quorum: within two election timeouts."""
    group = Group(3, 1)
    leader = group.elect(ONE)
    group.cut = {ONE}
    for _ in range(21):
        leader.tick()
    assert leader.status().role is Role.follower


def test_a_node_that_was_away_disturbs_nobody() -> None:
    """Pre-vote: its term does not rise, so nobody has to follow it up."""
    group = Group(3, 1)
    leader = group.elect(ONE)
    group.cut = {THREE}
    for _ in range(100):
        group.rafts[THREE].tick()
        group.take(THREE)
    term = leader.status().term
    group.cut = set()
    group.settle()
    assert leader.status().role is Role.leader and group.rafts[THREE].status().term == term


def test_a_change_of_membership_waits_for_the_one_before() -> None:
    """One at a time, and none that does not fit."""
    group = Group(3, 1)
    leader = group.elect(ONE)
    leader.propose_change(MembershipChange(((Step.remove, THREE),)))
    with pytest.raises(ProposalDropped, match="earlier one"):
        leader.propose_change(MembershipChange(((Step.remove, TWO),)))
    group.settle()
    assert leader.status().membership.voters == (ONE, TWO)
    with pytest.raises(ProposalDropped, match="non-joint"):
        leader.propose_change(MembershipChange())


def test_a_restart_finds_the_membership_in_applied_entries() -> None:
    """A checkpoint behind the log's start replays the changes in between."""
    change = MembershipChange(((Step.remove, THREE),)).encode()
    entry = Entry(1, 1, EntryKind.change, change, chain_checksum(0, 1, 1, 1, change))
    config = RaftConfig(ONE, Membership((ONE, TWO, THREE)), 10, 2, Random(1))
    raft = Raft(config, Restored(HardState(1, commit=1), (entry,), SnapshotMeta(), 1))
    assert raft.status().membership.voters == (ONE, TWO)


def test_a_snapshot_on_its_way_holds_the_log() -> None:
    """Entries behind it stay, so that the peer can go on from there; a failed one lets go."""
    group = Group(3, 1)
    leader = group.elect(ONE)
    group.crash(THREE)
    leader.propose([b"x"] * 5)
    group.settle()
    group.checkpoint(ONE)
    index = leader.status().applied
    group.start(THREE)
    for _ in range(2):
        leader.tick()
    for _ in range(6):
        group.take(ONE)
        group.take(THREE)
        group.flush(ONE)
        group.flush(THREE)
        due, group.network = group.network, []
        for message in due:
            if message.kind is not MessageKind.snapshot:
                group.deliver(message)
    assert leader.status().peers[2].state is ProgressState.snapshot
    leader.propose([b"y"])
    group.settle()
    assert leader.status().applied > index
    assert leader.compact(leader.status().applied) == index
    leader.report_snapshot(THREE, ok=False)
    assert leader.compact(leader.status().applied) > index


def test_nothing_to_do_is_no_ready() -> None:
    """A quiet replica has no effects."""
    group = Group(3, 1)
    leader = group.elect(ONE)
    assert leader.ready() is None
    leader.tick()
    assert leader.ready() is None


def test_a_single_replica_serves_alone() -> None:
    """It elects itself, commits and reads without messages."""
    config = RaftConfig(ONE, Membership((ONE,)), 10, 2, Random(1))
    raft = Raft(config, Restored(HardState(), (), SnapshotMeta(), 0))
    raft.campaign()
    for _ in range(4):
        ready = raft.ready()
        if ready is not None:
            if ready.persist is not None:
                raft.persisted(ready.persist)
            if ready.committed:
                raft.applied(ready.committed[-1].index)
    assert raft.status().commit == 1
    context = raft.read_index()
    assert [read.context for read in take(raft).reads] == [context]
