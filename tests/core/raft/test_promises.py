"""What a start makes of a log and of what was promised by it: a sound disk is sound, a loss is a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from node.core.raft import (
    Entry,
    HardState,
    LogCut,
    LogEnd,
    Membership,
    NodeId,
    Promise,
    Restored,
    SnapshotMeta,
    StoredGroup,
    promise_kept,
    restore_log,
)
from tests.core.raft.entries import chain

ME, OTHER = NodeId(1), NodeId(2)
MEMBERS = Membership(voters=(ME, OTHER, NodeId(3)))


def started(
    entries: Sequence[Entry] = (), *, hard: HardState | None = None, written: int = 1, reach: int = 0, cut: LogCut | None = None,
    promise: Promise | None = None, checkpoint: SnapshotMeta | None = None,
) -> Restored:  # fmt: skip
    """What a replica starts with from such a disk."""
    hard = hard or HardState(written)
    stored = StoredGroup(hard, written, reach, cut or LogCut(0, 0, 0), list(entries), promise)
    return restore_log(stored, checkpoint, MEMBERS, ME)


LOG = chain(1, 10)
SOUND = Promise(1, NodeId(0), 1, 10, 1)
LONGER = [*LOG, *chain(11, 2, 2, LOG[9].checksum)]  # a leader of term 2 has added to it
LATER = [*LOG[:3], *chain(4, 1, 2, LOG[2].checksum)]  # a leader of term 2 has replaced 4 to 10
META = SnapshotMeta(7, 2, 4711, MEMBERS)


def broken(entries: list[Entry], index: int) -> list[Entry]:
    """With one bit of an entry flipped."""
    return [replace(entry, data=b"y") if entry.index == index else entry for entry in entries]


def at(index: int) -> SnapshotMeta:
    """The meta of a checkpoint of LOG."""
    return SnapshotMeta(index, 1, LOG[index - 1].checksum, MEMBERS)


SOUND_DISKS: dict[str, tuple[Restored, int]] = {
    "nothing yet": (started(written=0), 0),
    "all there": (started(LOG, promise=SOUND), 10),
    "a torn promise: the older slot counts": (started(LOG, promise=replace(SOUND, index=7)), 10),
    "the promises' file is gone": (started(LOG), 10),
    "a leader replaced the end, and the promise of that was not yet on disk": (started(LATER, written=2, promise=SOUND), 4),
    "a leader replaced the end": (started(LATER, written=2, promise=Promise(2, OTHER, 2, 4, 2)), 4),
    "a leader replaced the end by an older term's entries": (
        started(LATER, written=4, promise=Promise(4, OTHER, 3, 9, 3)), 4,
    ),
    "a snapshot shorter than a conflicting tail": (
        started(chain(8, 1, 2, 4711), written=2, cut=LogCut(7, 2, 4711), promise=Promise(2, OTHER, 2, 8, 2), checkpoint=META), 8,
    ),
    "half an installation: the checkpoint, and the old log with its conflicting tail": (
        started(LOG, promise=SOUND, checkpoint=META), 7,
    ),
    "the same, and the log goes on behind it": (
        started([*LOG[:7], *chain(8, 13, 2, 4711)], written=2, promise=Promise(2, OTHER, 2, 20, 2), checkpoint=META), 20,
    ),
    "a broken entry below the checkpoint": (started(broken(LOG, 4), promise=SOUND, checkpoint=at(6)), 10),
    "a broken entry that nobody was told of": (started(broken(LOG, 10), promise=replace(SOUND, index=9)), 9),
    "a broken entry of a new term that nobody was told of": (started(broken(LONGER, 11), written=2, promise=SOUND), 10),
    "the same, and it is called committed": (
        started(broken(LONGER, 12), hard=HardState(2, OTHER, 12), written=2, promise=SOUND), 11,
    ),
    "the same behind entries that replaced the end": (
        started(broken([*LATER, *chain(5, 1, 2, LATER[3].checksum)], 5), written=2, promise=SOUND), 4,
    ),
    "a leader replaced the end, and in the same drain another one put a piece of it back": (
        started(LOG[:5], written=3, reach=5, promise=SOUND), 5,
    ),
    "half an installation that ends with an older term": (
        started([LOG[0], *chain(2, 1, 2, LOG[0].checksum)], written=2, hard=HardState(3), promise=Promise(3, NodeId(0), 2, 2, 2),
                checkpoint=at(8)), 8,
    ),
    "the hard state is damaged, and the newest promise": (started(LONGER, written=0, hard=HardState(), promise=SOUND), 12),
    "a hole below the checkpoint": (started([*LOG[:2], *LOG[4:]], promise=SOUND, checkpoint=at(6)), 10),
    "all of the log is in the checkpoint": (started(cut=LogCut(10, 1, 0), promise=SOUND, checkpoint=at(10)), 10),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND_DISKS)
def test_a_sound_disk_never_counts_as_damaged(name: str) -> None:
    """Whatever a crash left half done, and whatever is broken where nobody needs it."""
    restored, last = SOUND_DISKS[name]
    end = restored.entries[-1].index if restored.entries else restored.snapshot.index
    assert (end, restored.lost) == (last, None)


DAMAGED: dict[str, tuple[Restored, LogEnd]] = {
    "the end is gone": (started(LOG[:6], promise=SOUND), LogEnd(1, 10)),
    "everything is gone": (started(written=0, promise=SOUND), LogEnd(1, 10)),
    "an entry is broken": (started(broken(LOG, 4), promise=SOUND), LogEnd(1, 10)),
    "an entry is broken, and the promises' file is gone": (started(broken(LOG, 4)), LogEnd(1, 10)),
    "a hole": (started([*LOG[:2], *LOG[4:]], promise=SOUND), LogEnd(1, 10)),
    "the checkpoint is gone, and the log is cut": (started(LOG[5:], cut=LogCut(5, 1, 0), promise=SOUND), LogEnd(1, 10)),
    "the log fell back to before a leader replaced its end": (
        started(LOG, promise=Promise(2, OTHER, 2, 4, 2)), LogEnd(2, 4),
    ),
    "the log fell back to before a leader replaced its end by an older term's entries": (
        started(LATER, written=2, promise=Promise(4, OTHER, 4, 4, 1)), LogEnd(1, 4),
    ),
    "an entry is broken, and a later leader's, written before its promise, are behind it": (
        started(broken(LONGER, 4), written=2, promise=SOUND), LogEnd(1, 10),
    ),
    "the end is gone, and with it a later leader's first entry, written before its promise": (
        started(LOG[:6], written=2, reach=11, promise=SOUND), LogEnd(1, 10),
    ),
    "the same, and the promises' file": (started(LOG[:6], written=2, reach=11), LogEnd(2, 11)),
    "an entry is broken that perhaps was a later leader's, and perhaps was promised": (
        started(broken(LATER, 4), written=2, promise=SOUND), LogEnd(1, 10),
    ),
    "it ends before what it says is committed": (started(LOG[:6], hard=HardState(1, NodeId(0), 8)), LogEnd(1, 8)),
    "a loss that was found before": (started(LOG[:6], promise=replace(SOUND, index=6, lost=LogEnd(1, 10))), LogEnd(1, 10)),
    "the end was an older term's entry": (started(LOG[:6], promise=Promise(2, OTHER, 2, 10, 1)), LogEnd(1, 10)),
    "a worse loss while it recovers": (started(LOG[:4], promise=replace(SOUND, index=6, lost=LogEnd(1, 5))), LogEnd(1, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_loss_is_noticed(name: str) -> None:
    """And it is known how far the replica must come again."""
    restored, lost = DAMAGED[name]
    assert restored.lost == lost


def test_no_vote_in_a_term_that_an_entry_shows() -> None:
    """Though the hard state is damaged, and the newest promise."""
    restored = started(LONGER, written=0, hard=HardState(), promise=SOUND)
    assert (restored.hard_state.term, restored.hard_state.vote) == (2, ME)


def test_what_goes_on_behind_a_promise_is_promised() -> None:
    """Whichever of the two was written last: it will be acknowledged without another write."""
    for written in (0, 1, 2):
        stored = StoredGroup(HardState(written), written, 0, LogCut(0, 0, 0), list(LOG), replace(SOUND, index=8))
        assert promise_kept(stored, restore_log(stored, None, MEMBERS, ME)).end == LogEnd(1, 10)


def test_what_had_been_replaced_is_not_taken_for_what_replaced_it() -> None:
    """It has the greater end of the two, and the leader whom the other was promised counts on that."""
    restored, _ = DAMAGED["the log fell back to before a leader replaced its end by an older term's entries"]
    assert list(restored.entries) == LOG[:3]


VOTES: dict[str, tuple[HardState, Promise, HardState]] = {
    "alike": (HardState(5, OTHER, 3), Promise(5, OTHER), HardState(5, OTHER, 3)),
    "the log forgot a vote": (HardState(5, NodeId(0), 3), Promise(5, OTHER), HardState(5, ME, 3)),
    "the log forgot a term": (HardState(4, OTHER, 3), Promise(5, OTHER), HardState(5, ME, 3)),
    "the promise forgot a term": (HardState(5, OTHER, 3), Promise(4, ME), HardState(5, ME, 3)),
    "they contradict each other": (HardState(5, OTHER, 3), Promise(5, NodeId(3)), HardState(5, ME, 3)),
}


@pytest.mark.parametrize("name", VOTES)
def test_nobody_gets_a_vote_in_a_term_that_is_in_doubt(name: str) -> None:
    """The later term counts; a vote for itself is given to nobody else."""
    hard, promise, expected = VOTES[name]
    assert started(hard=hard, promise=promise).hard_state == expected
