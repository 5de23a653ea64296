"""Setting, counting, midnight, holds and rounds of allowances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from node.core.allowances import Allowances, allowances
from node.core.ledger import Ledger
from protocol.status import AllowanceStatus, Status
from tests.core.allowances.driving import (
    CAPTURE,
    DAY_NS,
    ENDINGS,
    HOLD,
    OVER,
    VOID,
    ZONE,
    begin_day,
    change,
    midnight_ns,
    opened_in_a_round,
    paid,
    pay,
)
from tests.core.ledger.driving import id_bytes
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard, decision, legs, votes


def test_payments_fill_it_to_the_cent(shard: Shard) -> None:
    """What fits happens, one more is refused for good under its id, and what comes in does not count."""
    assert [pay(shard, 10, 60), pay(shard, 11, 41), pay(shard, 12, 40), pay(shard, 13, 1)] == [0, OVER, 0, OVER]
    assert shard.transfers(Transfer(14, "b", "a", 50)) == [0]
    assert paid(shard) == 100
    assert change(shard, 2, 500) == AllowanceStatus.set
    assert pay(shard, 11, 41) == OVER
    assert pay(shard, 15, 400) == 0


def test_a_lowered_one_keeps_what_was_paid(shard: Shard) -> None:
    """Nothing more leaves today; 0 lets nothing leave at all, and None everything."""
    assert pay(shard, 10, 60) == 0
    assert change(shard, 2, 30) == AllowanceStatus.set
    assert pay(shard, 11, 1) == OVER
    assert change(shard, 3, None) == AllowanceStatus.set
    assert pay(shard, 12, 300) == 0
    assert shard.query("allowances", "allowance", "a").body[1][0] is None
    assert change(shard, 4, 100) == AllowanceStatus.set
    assert (pay(shard, 13, 41), pay(shard, 14, 40)) == (OVER, 0)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"account": "nobody"}, AllowanceStatus.account_not_found),
        ({"amount": -1}, AllowanceStatus.amount_out_of_range),
        ({"amount": 2**62}, AllowanceStatus.amount_out_of_range),
        ({"zone": "Europe/Berlin "}, AllowanceStatus.time_zone_unknown),
        ({"after": 7}, AllowanceStatus.version_conflict),
        ({"after": 0}, AllowanceStatus.version_conflict),
    ],
)
def test_what_is_refused_changes_nothing(shard: Shard, arguments: dict[str, object], status: AllowanceStatus) -> None:
    """With the reason."""
    before = shard.query("allowances", "allowance", "a").body
    assert change(shard, 2, **{"amount": 50, **arguments}) == status  # type: ignore[arg-type]  # as the table has them
    assert shard.query("allowances", "allowance", "a").body == before


def test_a_change_happens_once(shard: Shard) -> None:
    """A copy is answered as before, an older one conflicts: the network may hold it back as long as it likes."""
    assert change(shard, 2, 50, after=1) == AllowanceStatus.set
    assert change(shard, 2, 50, after=1) == AllowanceStatus.set
    assert change(shard, 3, 70, after=2) == AllowanceStatus.set
    assert change(shard, 2, 50, after=1) == AllowanceStatus.version_conflict
    assert change(shard, 1, 100, after=0) == AllowanceStatus.version_conflict
    assert shard.query("allowances", "allowance", "a").body[1][0] == 70


def test_midnight_begins_another_day(shard: Shard) -> None:
    """By an entry that the leader proposes when the time has come."""
    assert pay(shard, 10, 100) == 0
    ends_ns = shard.query("allowances", "allowance", "a").body[1][3]
    assert ends_ns == int(datetime.fromisoformat("2026-05-04T22:00:00+00:00").timestamp()) * 10**9
    assert shard.machine.due(ends_ns - 1, 0) == []
    shard.now_ns = ends_ns
    (due,) = shard.machine.due(shard.now_ns, 0)
    shard.command(*due)
    assert (paid(shard), shard.machine.due(shard.now_ns, 0)) == (0, [])
    assert pay(shard, 11, 100) == 0


def test_a_payment_behind_midnight_does_not_wait_for_the_timer(shard: Shard) -> None:
    """It brings the new day along."""
    assert pay(shard, 10, 100) == 0
    shard.now_ns += DAY_NS
    assert (pay(shard, 11, 100), pay(shard, 12, 1)) == (0, OVER)


@pytest.mark.parametrize("others", [0, 20])
def test_a_payment_resolved_before_midnight_and_applied_behind_it_comes_again(shard: Shard, others: int) -> None:
    """It is judged neither by the old day nor by one that nobody knows the end of."""
    rows = [Transfer(10, "a", "b", 60), *(Transfer(20 + n, "world", "b", 1) for n in range(others))]
    late = shard.request("ledger", ["transfers", legs(rows)[1]])
    shard.now_ns += DAY_NS
    ((_, statuses),) = shard.entry(late)
    assert list(statuses) == [Status.retry, *[0] * others]
    assert pay(shard, 10, 60) == 0


def test_many_days_begin_entry_by_entry(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many in one entry at the most."""
    monkeypatch.setattr(allowances, "RENEWED_PER_ENTRY_MAX", 2)
    shard.accounts(*(f"c{n}" for n in range(4)))
    for n in range(4):
        assert change(shard, 10 + n, 5, account=f"c{n}") == AllowanceStatus.set
    shard.now_ns += DAY_NS
    entries = 0
    while due := shard.machine.due(shard.now_ns, 0):
        shard.command(*due[0])
        entries += 1
    assert entries == 3


def test_a_late_renewal_begins_no_day_twice(shard: Shard) -> None:
    """Proposed by two leaders, it must not give the allowance twice."""
    shard.now_ns += DAY_NS
    (due,) = shard.machine.due(shard.now_ns, 0)
    request = shard.request(*due)
    shard.entry(request)
    assert pay(shard, 10, 100) == 0
    shard.entry(request)
    assert pay(shard, 11, 1) == OVER


def test_a_hold_counts_when_it_is_opened(shard: Shard) -> None:
    """Captures count nothing more, and what its end gives back may be paid out again."""
    assert shard.transfers(Transfer(10, "a", "b", 80, HOLD, ttl=60)) == [0]
    assert pay(shard, 11, 21) == OVER
    assert shard.transfers(Transfer(12, "a", "b", 30, CAPTURE, hold_id=10)) == [0]
    assert paid(shard) == 80
    assert shard.transfers(Transfer(13, "a", "b", 0, VOID, hold_id=10)) == [0]
    assert paid(shard) == 30
    assert shard.transfers(Transfer(14, "a", "b", 70, HOLD, ttl=1)) == [0]
    shard.now_ns += 2 * 10**9
    shard.command("ledger", ["expire"])
    assert paid(shard) == 30


def test_a_hold_of_yesterday_gives_nothing_back_today(shard: Shard) -> None:
    """It has taken nothing of today."""
    assert shard.transfers(Transfer(10, "a", "b", 80, HOLD, ttl=10**6)) == [0]
    shard.now_ns += DAY_NS
    assert pay(shard, 11, 10) == 0
    assert shard.transfers(Transfer(13, "a", "b", 0, VOID, hold_id=10)) == [0]
    assert paid(shard) == 10


def test_a_round_reserves_and_gives_back(shard: Shard) -> None:
    """What it holds is neither paid nor free: whoever lacks only that must wait."""
    assert votes(shard.prepare(5, 1, ("ledger", legs([Transfer(10, "a", "far", 70, side=1)])))) == [0]
    assert pay(shard, 11, 40) == Status.undecided
    assert pay(shard, 12, 101) == OVER
    shard.decide((5, decision(Status.credit_account_closed)))
    assert pay(shard, 11, 40) == 0
    assert votes(shard.prepare(6, 1, ("ledger", legs([Transfer(13, "a", "far", 60, side=1)])))) == [0]
    shard.decide((6, decision(0)))
    assert paid(shard) == 100


def test_a_round_over_midnight_counts_for_the_day_of_its_prepare(shard: Shard) -> None:
    """Also where it is given back: the new day has nothing of it."""
    for round_id, id in ((5, 10), (6, 20)):
        legs_of = legs([Transfer(id, "a", "far", 40, side=1)])
        assert votes(shard.prepare(round_id, 1, ("ledger", legs_of))) == [0]
    shard.now_ns += DAY_NS
    assert pay(shard, 30, 90) == 0
    shard.decide((5, decision(0)), (6, decision(Status.credit_account_closed)))
    assert paid(shard) == 90
    assert (pay(shard, 31, 11), pay(shard, 32, 10)) == (OVER, 0)


def test_the_credit_side_of_a_round_does_not_count(shard: Shard) -> None:
    """Only what leaves."""
    assert votes(shard.prepare(5, 1, ("ledger", legs([Transfer(10, "far", "a", 700, side=2)])))) == [0]
    shard.decide((5, decision(0)))
    assert paid(shard) == 0


def test_a_restart_keeps_everything(shard: Shard) -> None:
    """Numbers, terms, reservations and holds."""
    assert shard.transfers(Transfer(10, "a", "b", 20, HOLD, ttl=60)) == [0]
    shard.prepare(5, 1, ("ledger", legs([Transfer(11, "a", "far", 30, side=1)])))
    shard.save()
    assert pay(shard, 12, 5) == 0
    shard.save()
    other = shard.restored(Ledger(), Allowances())
    assert other.machine.digest() == shard.machine.digest()
    for one in (shard, other):
        one.decide((5, decision(0)))
        assert one.transfers(Transfer(13, "a", "b", 0, VOID, hold_id=10)) == [0]
        assert paid(one) == 35
        assert change(one, 2, 36) == AllowanceStatus.set
        assert (pay(one, 14, 2), pay(one, 15, 1)) == (OVER, 0)
    assert other.machine.digest() == shard.machine.digest()


def ended(shard: Shard) -> None:
    """A hold that was opened and voided: nothing is left of it."""
    assert shard.transfers(Transfer(10, "a", "b", 20, HOLD, ttl=60)) == [0]
    assert shard.transfers(Transfer(11, "a", "b", 0, VOID, hold_id=10)) == [0]


def aborted(shard: Shard) -> None:
    """A round that did not come about."""
    opened_in_a_round(shard, 5, int(Status.credit_account_closed))


def tried_again(shard: Shard) -> None:
    """The same hold, after a round whose coordinator died."""
    opened_in_a_round(shard, 5, int(Status.retry))
    opened_in_a_round(shard, 6, 0)
    assert paid(shard) == 30


def tried_and_ended(shard: Shard) -> None:
    """And it gives its rest back once."""
    tried_again(shard)
    assert shard.transfers(Transfer(11, "a", "far", 0, VOID, hold_id=10)) == [0]
    assert paid(shard) == 0


@pytest.mark.parametrize("before", [ended, aborted, tried_again, tried_and_ended])
@pytest.mark.parametrize("is_saved_before", [False, True])
def test_a_restart_knows_the_same_holds(
    shard: Shard, before: Callable[[Shard], None], *, is_saved_before: bool
) -> None:
    """Whatever became of holds before: the digests agree, and go on to."""
    if is_saved_before:
        shard.save()
    before(shard)
    shard.save()
    other = shard.restored(Ledger(), Allowances())
    for one in (shard, other):
        assert one.machine.digest() == other.machine.digest()
        assert one.transfers(Transfer(20, "a", "b", 20, HOLD, ttl=60)) == [0]
    assert other.machine.digest() == shard.machine.digest()


def test_an_aborted_round_leaves_nothing_of_its_hold(shard: Shard) -> None:
    """In no state either: a hold that never was cannot end."""
    empty = shard.machine.parts["allowances"]._pending.state()[1]  # type: ignore[attr-defined]  # no question tells it
    aborted(shard)
    assert shard.machine.parts["allowances"]._pending.state()[1] == empty == []  # type: ignore[attr-defined]  # nor this


def test_another_zone_ends_the_day_elsewhere(shard: Shard) -> None:
    """What was paid today still counts until then."""
    assert pay(shard, 10, 90) == 0
    assert change(shard, 2, 100, zone="Pacific/Auckland") == AllowanceStatus.set
    assert pay(shard, 11, 11) == OVER
    shard.now_ns = shard.query("allowances", "allowance", "a").body[1][3]
    assert pay(shard, 12, 100) == 0


@pytest.mark.parametrize("row", ENDINGS, ids=["void", "final capture"])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_round_that_may_give_back_lets_no_refusal_be_final(
    shard: Shard, row: Transfer, *, is_restarted: bool
) -> None:
    """What would fit then is judged again behind its decision; what would not either is refused at once."""
    opened_in_a_round(shard, 5, 0)
    assert pay(shard, 11, 60) == 0
    assert votes(shard.prepare(6, 1, ("ledger", legs([row])))) == [0]
    if is_restarted:
        shard.save()
        other = shard.restored(Ledger(), Allowances())
        assert other.machine.digest() == shard.machine.digest()
        shard = other
    assert (pay(shard, 12, 25), pay(shard, 13, 41)) == (Status.undecided, OVER)
    later = legs([Transfer(14, "a", "far", 25, side=1)])
    assert votes(shard.prepare(7, 1, ("ledger", later))) == [Status.undecided]
    shard.decide((7, decision(Status.undecided)), (6, decision(0)))
    assert (pay(shard, 12, 25), pay(shard, 15, 25)) == (0, OVER)


def test_a_round_that_ends_no_hold_in_the_end_gives_nothing_back(shard: Shard) -> None:
    """Behind its decision the refusal is final."""
    opened_in_a_round(shard, 5, 0)
    assert pay(shard, 11, 60) == 0
    assert votes(shard.prepare(6, 1, ("ledger", legs([ENDINGS[0]])))) == [0]
    assert pay(shard, 12, 25) == Status.undecided
    shard.decide((6, decision(Status.credit_account_closed)))
    assert (pay(shard, 12, 25), paid(shard)) == (OVER, 90)


def test_a_hold_of_yesterday_that_a_round_ends_lets_nobody_wait(shard: Shard) -> None:
    """It gives nothing back today."""
    assert shard.transfers(Transfer(10, "a", "b", 80, HOLD, ttl=10**6)) == [0]
    begin_day(shard, 0)
    ending = Transfer(20, "a", "b", 0, VOID, hold_id=10, side=1)
    assert votes(shard.prepare(6, 1, ("ledger", legs([ending])))) == [0]
    assert (pay(shard, 11, 90), pay(shard, 12, 20)) == (0, OVER)
    shard.decide((6, decision(0)))
    assert paid(shard) == 90


def setting(amount: int, zone: str = ZONE) -> list[object]:
    """The second change of a."""
    return ["set", "a", amount, zone, id_bytes(2), id_bytes(1)]


@pytest.mark.parametrize("zone", [ZONE, "Europe/Rome"])
def test_a_leader_behind_the_log_gives_no_day_twice(shard: Shard, zone: str) -> None:
    """Its wall still stands before a midnight that the log has passed: a change must not let that midnight come again."""
    ends_ns = midnight_ns(shard)
    begin_day(shard, 200_000_000)
    assert pay(shard, 10, 100) == 0
    request = shard.machine.resolve("allowances", setting(100, zone), ends_ns - 300_000_000, {})
    assert isinstance(request, list)
    assert shard.entry(request) == [["allowance", AllowanceStatus.set]]
    assert midnight_ns(shard) == ends_ns + DAY_NS
    shard.now_ns += 10**9
    assert (pay(shard, 11, 1), paid(shard)) == (OVER, 100)


@pytest.mark.parametrize("zone", [ZONE, "Europe/Rome"])
def test_a_change_that_midnight_overtakes_is_resolved_again(shard: Shard, zone: str) -> None:
    """What it says of the day's end is over, whether another day has begun by then or not."""
    ends_ns = midnight_ns(shard)
    shard.now_ns = ends_ns - 10**9
    request = shard.request("allowances", setting(120, zone))
    shard.now_ns = ends_ns
    for has_begun in (False, True):
        if has_begun:
            begin_day(shard, shard.now_ns - ends_ns)
        before = shard.query("allowances", "allowance", "a").body
        (answer,) = shard.entry(request)
        assert answer == ["allowance", AllowanceStatus.retry]
        assert shard.machine.parts["allowances"].waits(answer)
        assert shard.query("allowances", "allowance", "a").body == before
    answer = shard.command("allowances", setting(120, zone))
    assert answer == ["allowance", AllowanceStatus.set]
    assert not shard.machine.parts["allowances"].waits(answer)
    assert midnight_ns(shard) == ends_ns + DAY_NS


@pytest.mark.parametrize("zone", [ZONE, "Pacific/Auckland"])
def test_a_change_behind_midnight_begins_the_day(shard: Shard, zone: str) -> None:
    """What was paid yesterday does not count for it, and what a round has reserved yesterday neither."""
    assert pay(shard, 10, 60) == 0
    assert votes(shard.prepare(5, 1, ("ledger", legs([Transfer(11, "a", "far", 40, side=1)])))) == [0]
    shard.now_ns = midnight_ns(shard)
    assert change(shard, 2, 120, zone=zone) == AllowanceStatus.set
    assert (paid(shard), shard.machine.due(shard.now_ns, 0)) == (0, [])
    shard.decide((5, decision(0)))
    assert (pay(shard, 12, 120), pay(shard, 13, 1)) == (0, OVER)


def test_a_change_leaves_the_day_under_way_its_end(shard: Shard) -> None:
    """Also where the leader's wall is ahead of the log's stamps, and so behind midnight."""
    ends_ns = midnight_ns(shard)
    request = shard.machine.resolve("allowances", setting(120), ends_ns + 1, {})
    assert isinstance(request, list)
    assert pay(shard, 10, 100) == 0
    assert shard.entry(request) == [["allowance", AllowanceStatus.set]]
    assert (midnight_ns(shard), paid(shard)) == (ends_ns, 100)


def test_a_zone_that_a_leader_does_not_know_stops_nobody(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its days last 24 hours then, from the last midnight, until somebody leads who knows it."""
    ends_ns = midnight_ns(shard)
    assert pay(shard, 10, 100) == 0
    with monkeypatch.context() as patches:
        patches.setattr(allowances, "find_zone", lambda name: None)
        begin_day(shard, 5)
        assert (paid(shard), midnight_ns(shard)) == (0, ends_ns + DAY_NS)
        shard.now_ns = ends_ns + 3 * DAY_NS
        assert (pay(shard, 11, 100), pay(shard, 12, 1)) == (0, OVER)
        assert midnight_ns(shard) == ends_ns + 4 * DAY_NS
        assert change(shard, 2, 120) == AllowanceStatus.time_zone_unknown
    assert change(shard, 2, 120) == AllowanceStatus.set
    assert paid(shard) == 100


def test_what_is_wrong_with_a_form_comes_before_an_allowance(shard: Shard) -> None:
    """Also of a later row of the transaction, on the credit side: the ledger says the same without any allowance."""
    rows = [Transfer(10, "a", "b", 900, side=3), Transfer(11, "far", "b", 1, flags=256, side=2)]
    assert votes(shard.prepare(5, 1, ("ledger", legs(rows)))) == [Status.reserved_flag]
    alone = Transfer(12, "a", "b", 900, side=3)
    assert votes(shard.prepare(6, 1, ("ledger", legs([alone])))) == [OVER]
