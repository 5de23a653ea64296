"""The composition: entries, rounds, epochs, marks."""

from __future__ import annotations

import numpy as np
import pytest

from node.core.ledger import Ledger
from node.core.machine import ROUND_BITS, Body, Kind, pack_decision, pack_entry, unpack_decision, unpack_entry
from node.core.machine.machine import MARKERS_MAX
from protocol.columns import Flag
from protocol.status import Status
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs, votes

NO = int(Status.insufficient_funds)


@pytest.fixture
def shard() -> Shard:
    """A ledger alone; accounts a (100), b (0) and the world."""
    shard = Shard(Ledger())
    shard.accounts("world", minimum=None)
    shard.accounts("a", "b")
    assert shard.transfers(Transfer(1, "world", "a", 100)) == [0]
    return shard


def debit(id: int, amount: int, number: int = 0) -> Transfer:
    """A leg that takes from a."""
    return Transfer(id, "a", "far", amount, side=1, number=number)


def mark(name: str) -> Body:
    """A marker's request."""
    return [Kind.marker, 1, [0, 0], [], name, True, []]


# -- entries ------------------------------------------------------------------------------------------------------


def test_an_entry_gives_one_answer_a_request_in_order(shard: Shard) -> None:
    """Requests are independent: a refused one does not keep the next from happening."""
    body = shard.request("ledger", ["accounts", [["c", "EUR", 0, None, "", b""]]])
    bad = shard.request("ledger", ["accounts", [["c", "USD", 0, None, "", b""]]])
    answers = shard.entry(body, bad, mark("m"))
    assert [answer[0] for answer in answers] == ["accounts", "accounts", "marker"]
    assert [list(answer[1]) for answer in answers[:2]] == [[0], [20]]


def test_an_empty_entry_moves_the_index_only(shard: Shard) -> None:
    """A new leader's first entry carries nothing."""
    before = (shard.machine.timestamp_ns, shard.machine.applied)
    assert shard.apply(b"") == []
    assert (shard.machine.timestamp_ns, shard.machine.applied) == (before[0], before[1] + 1)


def test_a_gap_in_the_log_stops_the_machine(shard: Shard) -> None:
    """Entries are applied one after the other or not at all."""
    with pytest.raises(AssertionError, match="after"):
        shard.machine.apply(shard.machine.applied + 2, b"")


def test_an_unknown_request_stops_the_machine(shard: Shard) -> None:
    """Only what leaders make is in the log, so anything else is a broken invariant."""
    with pytest.raises(AssertionError, match="unknown request"):
        shard.entry([99])


def test_entries_and_decisions_round_trip() -> None:
    """What was packed is what is read."""
    assert unpack_entry(pack_entry(7, 3, [mark("m")])) == (7, 3, [mark("m")])
    statuses = np.array([0, 5, 0, 200], np.uint8)
    assert unpack_decision(pack_decision(statuses)).tolist() == statuses.tolist()
    assert len(pack_decision(np.zeros(8_192, np.uint8))) < 10


# -- rounds -------------------------------------------------------------------------------------------------------


def test_a_repeated_prepare_gives_the_same_votes_and_reserves_once(shard: Shard) -> None:
    """The coordinator repeats a call whose answer was lost."""
    first = shard.prepare(5, 2, ("ledger", legs([debit(10, 60), debit(11, 60, 1)])))
    assert votes(first)[0] == 0 and votes(first)[1] != 0
    assert shard.prepare(5, 2, ("ledger", legs([debit(10, 60), debit(11, 60, 1)]))) == first
    assert shard.balances("a") == (100, 60, 0)


def test_a_decision_is_carried_out_once(shard: Shard) -> None:
    """A repeated DECIDE changes nothing, even if it said something else."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])))
    assert shard.decide((5, decision(0))) == ["decided"]
    assert shard.decide((5, decision(0))) == ["decided"]
    shard.decide((5, decision(NO)))
    assert shard.balances("a") == (40, 0, 0)


def test_a_prepare_behind_its_decision_is_void(shard: Shard) -> None:
    """The round was abandoned: a late PREPARE must reserve nothing for ever."""
    shard.decide((5, decision(Status.retry)))
    assert shard.prepare(5, 1, ("ledger", legs([debit(10, 60)]))) == ["superseded"]
    assert shard.balances("a") == (100, 0, 0)


def test_a_prepare_of_a_round_that_is_over_is_void(shard: Shard) -> None:
    """Finished rounds are forgotten, and still a late PREPARE of theirs is superseded."""
    shard.decide((5, decision(Status.retry)))
    shard.decide(over=(9, 0))
    assert shard.prepare(5, 1, ("ledger", legs([debit(10, 60)]))) == ["superseded"]
    assert shard.prepare(8, 1, ("ledger", legs([debit(10, 60)]))) == ["superseded"]
    assert votes(shard.prepare(9, 1, ("ledger", legs([debit(10, 60)])))) == [0]


def test_rounds_of_the_own_epoch_are_over_by_themselves(shard: Shard) -> None:
    """While some shard has not told what it holds of earlier epochs, only the own epoch's rounds are forgotten."""
    own = 3 << ROUND_BITS
    shard.decide((5, decision(0)), (own + 1, decision(0)), (own + 2, decision(0)), epoch=3, over=(0, own + 2))
    assert finished(shard, 3) == [5, own + 2]
    assert shard.prepare(own + 1, 1, ("ledger", legs([debit(10, 60)])), epoch=3) == ["superseded"]
    assert votes(shard.prepare(own + 3, 1, ("ledger", legs([debit(11, 60)])), epoch=3)) == [0]
    shard.decide(epoch=3, over=(own + 3, own + 3))
    assert finished(shard, 3) == []


def test_what_is_over_never_becomes_less(shard: Shard) -> None:
    """Calls overtake each other: the one that knows less comes later and brings nothing back."""
    shard.decide((5, decision(0)), over=(9, 0))
    shard.decide((6, decision(0)), over=(4, 0))
    assert finished(shard, 1) == []
    assert shard.prepare(7, 1, ("ledger", legs([debit(10, 60)]))) == ["superseded"]


def test_decisions_ride_in_front_of_the_next_prepare(shard: Shard) -> None:
    """What the decision gives back is there for the PREPARE in the same request."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 100)])))
    prepare = shard.prepared(6, 1, ("ledger", legs([debit(11, 100)])))
    (answer,) = shard.entry(shard.round([Kind.round, 1, [5, 0], [[5, decision(Status.retry)]], [], prepare]))
    assert votes(answer) == [0]
    assert shard.balances("a") == (100, 100, 0)


def test_a_round_that_is_still_open_survives_being_called_over(shard: Shard) -> None:
    """A decision that comes late, with a newer one already through, is still carried out."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])))
    shard.decide(over=(9, 0))
    assert shard.balances("a") == (100, 60, 0)
    shard.decide((5, decision(0)), over=(9, 0))
    assert shard.balances("a") == (40, 0, 0)


# -- epochs -------------------------------------------------------------------------------------------------------


def finished(shard: Shard, epoch: int) -> list[int]:
    """The rounds whose decisions the shard remembers."""
    (answer,) = shard.entry([Kind.epoch, epoch])
    return [row[0] for row in answer[2]]


def test_a_lower_epoch_is_refused_when_applied(shard: Shard) -> None:
    """Whatever an old coordinator still has under way comes to nothing, whatever it is."""
    voted = shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])), epoch=3, leg_layout=b"p")
    (answer,) = shard.entry([Kind.epoch, 4])
    assert answer == ["epoch", [[5, "2pc", [1, 2], 1, 0, b"", b"p", voted]], []]
    stale = ["stale_epoch", 4]
    assert shard.decide((5, decision(0)), epoch=3) == stale
    assert shard.prepare(6, 1, ("ledger", legs([debit(11, 1)])), epoch=3) == stale
    assert shard.precommit(5, decision(0), epoch=3) == stale
    assert shard.mark("cut", epoch=3) == stale
    assert shard.entry([Kind.epoch, 3]) == [stale]
    assert shard.balances("a") == (100, 60, 0)
    assert shard.entry([Kind.epoch, 4]) == [answer], "none of it has left a trace"
    assert shard.decide((5, decision(Status.retry)), epoch=4) == ["decided"]


def test_the_same_epoch_may_be_told_twice(shard: Shard) -> None:
    """The answer to the first call was lost."""
    assert shard.entry([Kind.epoch, 4]) == shard.entry([Kind.epoch, 4]) == [["epoch", [], []]]


def test_an_epoch_hears_of_decisions_that_others_may_lack(shard: Shard) -> None:
    """Carried out here and not known to be over: with it the next coordinator can tell the others."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])))
    shard.decide((5, decision(0)), (6, decision(NO)))
    assert shard.entry([Kind.epoch, 2]) == [["epoch", [], [[5, decision(0)], [6, decision(NO)]]]]
    shard.decide(epoch=2, over=(6, 0))
    assert shard.entry([Kind.epoch, 2]) == [["epoch", [], [[6, decision(NO)]]]]


# -- PRECOMMIT ----------------------------------------------------------------------------------------------------


def attempts(shard: Shard, epoch: int) -> list[Body]:
    """Round, epoch and decision of what is open."""
    (answer,) = shard.entry([Kind.epoch, epoch])
    return [[row[0], *row[4:6]] for row in answer[1]]


def test_a_precommit_is_kept_with_the_epoch_that_proposed_it(shard: Shard) -> None:
    """Money stays reserved; a later coordinator's proposal takes its place; the decision ends it."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])), protocol="3pc")
    assert attempts(shard, 1) == [[5, 0, b""]]
    shard.precommit(5, decision(0), epoch=1)
    assert attempts(shard, 1) == [[5, 1, decision(0)]]
    assert shard.balances("a") == (100, 60, 0)
    shard.precommit(5, decision(Status.retry), epoch=2)
    assert attempts(shard, 2) == [[5, 2, decision(Status.retry)]]
    shard.decide((5, decision(Status.retry)), epoch=2)
    assert attempts(shard, 2) == [] and shard.balances("a") == (100, 0, 0)


@pytest.mark.parametrize(
    "field", ["protocol", "groups", "leg_layout", "parts", "count", "answer", "opened_ns", "attempt", "precommitted"]
)
def test_the_digest_covers_all_that_is_kept_of_an_open_round(shard: Shard, field: str) -> None:
    """What it proposes and what it was answered decide how it is finished: replicas that differ there differ."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])), protocol="3pc")
    shard.precommit(5, decision(0))
    before, opened = shard.machine.digest(), shard.machine.rounds[5]
    changed = {int: 4711, str: "another", bytes: b"another", list: ["another"]}
    setattr(opened, field, changed[type(getattr(opened, field))])
    assert shard.machine.digest() != before


def test_a_precommit_where_nothing_was_prepared_makes_the_prepare_void(shard: Shard) -> None:
    """The shard had not voted when the round was concluded: it holds the attempt and reserves nothing any more."""
    shard.precommit(5, decision(Status.retry))
    assert attempts(shard, 1) == [[5, 1, decision(Status.retry)]]
    assert shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])), protocol="3pc") == ["superseded"]
    assert shard.balances("a") == (100, 0, 0)
    assert shard.decide((5, decision(Status.retry))) == ["decided"]
    assert shard.machine.rounds == {}
    assert shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])), protocol="3pc") == ["superseded"]


@pytest.mark.parametrize("is_over", [False, True])
def test_a_precommit_behind_the_decision_opens_nothing(shard: Shard, is_over: bool) -> None:
    """A repeated call that arrives last must not leave a round open for ever."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])), protocol="3pc")
    shard.decide((5, decision(0)))
    over = (9, 0) if is_over else (0, 0)
    assert shard.precommit(5, decision(0), over=over) == ["decided"]
    assert shard.machine.rounds == {}


def test_a_checkpoint_keeps_attempts_and_finished_decisions(shard: Shard) -> None:
    """A restart between PRECOMMIT and DECIDE, or behind it, forgets nothing that the next coordinator asks for."""
    voted = shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])), protocol="3pc", groups=(1, 2, 3), leg_layout=b"p")
    shard.precommit(5, decision(0))
    shard.decide((6, decision(NO)), over=(3, 2))
    shard.save()
    other = shard.restored(Ledger())
    assert other.machine.digest() == shard.machine.digest()
    told = ["epoch", [[5, "3pc", [1, 2, 3], 1, 1, decision(0), b"p", voted]], [[6, decision(NO)]]]
    assert other.entry([Kind.epoch, 2]) == shard.entry([Kind.epoch, 2]) == [told]
    assert other.prepare(2, 1, ("ledger", legs([debit(10, 60)])), epoch=2) == ["superseded"]


# -- marks --------------------------------------------------------------------------------------------------------


def test_a_mark_remembers_totals_and_digest(shard: Shard) -> None:
    """Asked later, it still tells of the moment it was set."""
    answer = shard.mark("cut")
    assert answer[0] == "marker" and answer[1] == shard.machine.applied and answer[3] == 0
    assert answer[4] == [["ledger", [["EUR", "0", "0", "0", "100", "100"]]]]
    shard.transfers(Transfer(2, "a", "b", 5))
    assert shard.query("machine", "marker", "cut").body == answer


def test_a_repeated_mark_tells_of_the_first(shard: Shard) -> None:
    """The call was repeated: its answer must be the one that replicas are compared with."""
    answer = shard.mark("cut")
    shard.transfers(Transfer(2, "a", "b", 5))
    assert shard.mark("cut") == answer == shard.query("machine", "marker", "cut").body


def test_only_the_latest_marks_are_kept(shard: Shard) -> None:
    """An unknown or forgotten mark has index 0."""
    numbers = range(MARKERS_MAX + 2)
    for number in numbers:
        shard.mark(f"m{number}")
    known = [shard.query("machine", "marker", f"m{number}").body[1] > 0 for number in numbers]
    assert known == [False] * 2 + [True] * MARKERS_MAX
    assert shard.query("machine", "marker", "never").body == ["marker", 0, 0, 0, [], []]


def test_a_mark_counts_the_open_rounds(shard: Shard) -> None:
    """They are prepared, and in the cut only as what is held."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])))
    answer = shard.mark("cut")
    assert answer[3] == 1


def test_a_mark_carries_decisions_out_first_and_answers_questions(shard: Shard) -> None:
    """What is decided when the cut begins is in it, whether or not the shard had been told before."""
    shard.prepare(5, 1, ("ledger", legs([debit(10, 60)])))
    asked = [["ledger", ["accounts", ["a", "none"]]]]
    request = [Kind.marker, 1, [0, 0], [[5, decision(0)]], "cut", False, asked]
    (answer,) = shard.entry(request)
    assert answer[:5] == ["marker", shard.machine.applied, 0, 0, []]
    ((_, (found, missing)),) = answer[5]
    assert found[2:5] == [40, 0, 0] and missing is None
    assert shard.query("machine", "marker", "cut").body[1] == 0, "only an audit asks its replicas afterwards"


def test_time_asks_for_expiry_as_a_command(shard: Shard) -> None:
    """`due` gives what the leader proposes, and nothing when nothing is due."""
    assert shard.machine.due(shard.now_ns, shard.elapsed_ns) == []
    assert shard.transfers(Transfer(2, "a", "b", 30, flags=Flag.hold, ttl=1)) == [0]
    assert shard.machine.due(shard.now_ns, shard.elapsed_ns) == []
    (due,) = shard.machine.due(shard.now_ns, shard.elapsed_ns + 2 * 10**9)
    shard.now_ns += 2 * 10**9
    shard.command(*due)
    assert shard.balances("a") == (100, 0, 0)
