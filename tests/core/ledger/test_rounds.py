"""Commit rounds: reserve, decide, give back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from node.core.ledger.limits import NANOSECONDS, currency_code
from node.core.machine import Answer
from protocol.columns import Flag
from protocol.status import Status
from tests.core.ledger.driving import Driver, id_bytes, names
from tests.core.ledger.model import Transfer
from tests.core.machine.judging import prepare

NO = int(Status.insufficient_funds)


@pytest.fixture
def driver(either_path: None) -> Driver:
    """Accounts a (100), b (0), world, on either path."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("usd", "USD", None, None))
    driver.accounts(("a", "EUR", 0, None), ("b", "EUR", 0, 100))
    driver.transfers([Transfer(1, "world", "a", 100)])
    return driver


def decide(driver: Driver, round_id: int, *statuses: int) -> None:
    driver.ledger.decide(round_id, np.array(statuses, np.uint8), driver.at())


def test_a_debit_is_held_and_then_posted(driver: Driver) -> None:
    """Between PREPARE and DECIDE the money is held, the read is undecided, afterwards it has left."""
    assert driver.prepare(7, [Transfer(10, "a", "far", 60, side=1)], 1) == [0]
    assert driver.balances("a") == (100, 60, 0)
    assert driver.query("accounts", ["a"])[1][0][11] is True
    decide(driver, 7, 0)
    assert driver.balances("a") == (40, 0, 0)
    assert driver.query("transfer", id_bytes(10))[1][1:4] == ["a", "far", 60]
    assert driver.query("accounts", ["a"])[1][0][11] is False


def test_looking_for_an_id_waits_for_its_round(driver: Driver) -> None:
    """A transfer whose decision is on its way is neither there nor not there."""
    driver.prepare(7, [Transfer(10, "a", "far", 60, side=1)], 1)
    waiting, unknown = (driver.ledger.query(["transfer", id_bytes(number)], {}) for number in (10, 99))
    assert isinstance(waiting, Answer) and isinstance(unknown, Answer)
    assert (waiting.is_undecided, unknown.is_undecided) == (True, False)


def test_a_credit_counts_only_when_decided(driver: Driver) -> None:
    """An undecided credit is incoming; its id belongs to the other shard."""
    assert driver.prepare(7, [Transfer(10, "far", "b", 60, side=2)], 1) == [0]
    assert driver.balances("b") == (0, 0, 60)
    decide(driver, 7, 0)
    assert driver.balances("b") == (60, 0, 0)
    assert driver.query("transfer", id_bytes(10))[1] is None
    assert driver.query("history", "b", None, 10, True)[1][0][1:4] == ["far", "b", 60]


def test_an_abort_gives_everything_back_and_is_remembered(driver: Driver) -> None:
    """A repeat of the id gets the same answer; the amount is free again."""
    driver.prepare(7, [Transfer(10, "a", "far", 60, side=1), Transfer(11, "far", "b", 5, side=2)], 1)
    decide(driver, 7, Status.exceeds_maximum_balance)
    assert driver.balances("a") == (100, 0, 0)
    assert driver.balances("b") == (0, 0, 0)
    assert driver.prepare(8, [Transfer(10, "a", "far", 60, side=1)], 1) == [Status.exceeds_maximum_balance]


def test_an_unknown_round_changes_nothing(driver: Driver) -> None:
    """DECIDE is idempotent."""
    before = driver.ledger.digest(0)
    decide(driver, 99, 0)
    assert driver.ledger.digest(0) == before


def test_one_failing_leg_reserves_nothing_of_its_transaction(driver: Driver) -> None:
    """The others of the same transaction take nothing either; other transactions do."""
    rows = [
        Transfer(10, "a", "far", 10, side=1), Transfer(11, "b", "far", 10, side=1),
        Transfer(12, "a", "far", 20, side=1, number=1),
    ]  # fmt: skip
    assert driver.prepare(7, rows, 2) == [NO, 0]
    assert driver.balances("a") == (100, 20, 0)
    decide(driver, 7, NO, 0)
    assert driver.balances("a") == (80, 0, 0)


def test_a_credit_covers_a_later_debit_of_its_transaction(driver: Driver) -> None:
    """Inside one transaction the order counts, as in a local chain."""
    through = [Transfer(10, "far", "b", 50, side=2), Transfer(11, "b", "away", 50, side=1)]
    assert driver.prepare(7, through, 1) == [0]
    decide(driver, 7, 0)
    assert driver.balances("b") == (0, 0, 0)
    assert driver.prepare(8, [Transfer(21, "b", "away", 50, side=1), Transfer(20, "far", "b", 50, side=2)], 1) == [NO]


@pytest.mark.parametrize("flag", [Flag.capture, Flag.void])
def test_a_hold_whose_decision_is_on_its_way_is_undecided(driver: Driver, flag: Flag) -> None:
    """A hold is acknowledged before its shard hears of the decision, and a new leader may hear of a capture first."""
    driver.prepare(7, [Transfer(10, "a", "far", 60, flags=int(Flag.hold), ttl=60, side=1)], 1)
    end = Transfer(11, "a", "far", 60 if flag is Flag.capture else 0, flags=int(flag), hold_id=10, side=1)
    assert names(driver.prepare(8, [end], 1)) == ["undecided"]
    decide(driver, 8, Status.retry)
    decide(driver, 7, 0)
    assert driver.prepare(9, [end], 1) == [0]
    decide(driver, 9, 0)
    assert driver.balances("a") == (40 if flag is Flag.capture else 100, 0, 0)


@pytest.mark.parametrize("flag", [Flag.capture, Flag.void])
def test_a_hold_of_the_same_round_is_waited_for(driver: Driver, flag: Flag) -> None:
    """Sent behind it in one request, as within a shard; where it comes to nothing, or is none, nothing is waited for any more."""
    hold = Transfer(10, "a", "far", 60, flags=int(Flag.hold), ttl=60, side=1)
    end = Transfer(11, "a", "far", 60 if flag is Flag.capture else 0, flags=int(flag), hold_id=10, side=1, number=1)
    assert names(driver.prepare(7, [hold, end], 2)) == ["created", "undecided"]
    decide(driver, 7, 0, Status.retry)
    assert driver.prepare(8, [replace(end, number=0)], 1) == [0]
    decide(driver, 8, 0)
    assert driver.balances("a") == (40 if flag is Flag.capture else 100, 0, 0)
    plain, other = replace(hold, id=20, flags=0, ttl=0, amount=1), replace(end, id=21, hold_id=20)
    assert names(driver.prepare(9, [plain, other], 2)) == ["created", "hold_not_found"]


@pytest.mark.parametrize("places", [(1, 2), (2, 1)])
def test_a_payment_that_is_no_hold_is_one_that_can_be_reversed(driver: Driver, places: tuple[int, int]) -> None:
    """A void and a reversal that name one id in a round ask different things of it, whoever asks first."""
    pay = Transfer(10, "a", "far", 5, side=1)
    void = Transfer(11, "a", "far", 0, flags=int(Flag.void), hold_id=10, side=1, number=places[0])
    back = Transfer(12, "far", "a", 5, flags=int(Flag.reversal), hold_id=10, side=2, number=places[1])
    told = names(driver.prepare(7, sorted([pay, void, back], key=lambda row: row.number), 3))
    assert (told[places[0]], told[places[1]]) == ("hold_not_found", "undecided")


def test_a_hold_that_waits_itself_is_waited_for(driver: Driver) -> None:
    """A capture sent behind it, within a shard, keeps its id for when the hold has been opened."""
    driver.prepare(7, [Transfer(10, "a", "far", 60, side=1)], 1)
    rows = [
        Transfer(21, "a", "b", 60, flags=int(Flag.hold), ttl=60),
        Transfer(22, "a", "b", 60, flags=int(Flag.capture), hold_id=21),
        Transfer(23, "a", "b", 60, flags=int(Flag.capture), hold_id=24),
    ]
    assert names(driver.transfers(rows)) == ["undecided", "undecided", "hold_not_found"]
    decide(driver, 7, Status.retry)
    assert names(driver.transfers(rows[:2])) == ["created", "created"]


def test_missing_money_that_may_still_come_is_undecided(driver: Driver) -> None:
    """Only when no open round could help is the money insufficient."""
    driver.prepare(7, [Transfer(10, "far", "b", 50, side=2)], 1)
    assert names(driver.transfers([Transfer(11, "b", "a", 40), Transfer(12, "b", "a", 60)])) == [
        "undecided", "insufficient_funds",
    ]  # fmt: skip
    decide(driver, 7, 0)
    assert driver.transfers([Transfer(11, "b", "a", 40)]) == [0]
    driver.prepare(8, [Transfer(13, "a", "far", 100, side=1)], 1)
    assert names(driver.transfers([Transfer(14, "a", "b", 60)])) == ["undecided"]
    decide(driver, 8, NO)
    assert driver.transfers([Transfer(14, "a", "b", 60)]) == [0]


def test_room_that_may_still_come_is_undecided(driver: Driver) -> None:
    """The same for the maximum balance."""
    driver.prepare(7, [Transfer(10, "far", "b", 90, side=2)], 1)
    assert names(driver.transfers([Transfer(11, "a", "b", 20), Transfer(12, "world", "b", 101)])) == [
        "undecided", "exceeds_maximum_balance",
    ]  # fmt: skip


def test_an_id_waits_for_the_round_that_holds_it(driver: Driver) -> None:
    """Everywhere else the answer is undecided, and nothing is recorded."""
    driver.prepare(7, [Transfer(10, "a", "far", 10, side=1), Transfer(11, "b", "far", 10, side=1, number=1)], 2)
    assert names(driver.transfers([Transfer(10, "a", "b", 10), Transfer(11, "a", "b", 10)])) == ["undecided"] * 2
    assert driver.prepare(8, [Transfer(10, "a", "far", 10, side=1)], 1) == [Status.undecided]
    assert driver.command("cancel", id_bytes(11), "b")[1] == Status.undecided
    decide(driver, 8, Status.undecided)
    decide(driver, 7, 0, NO)
    assert names(driver.transfers([Transfer(11, "a", "b", 10)])) == ["insufficient_funds"]


def test_currencies_and_reasons_come_with_the_votes(driver: Driver) -> None:
    """The coordinator compares the two sides; 0 says that there is no account. Then each row's own status."""
    rows = [Transfer(10, "far", "usd", 1, side=2), Transfer(11, "a", "far", 1, side=1, number=1)]
    rows.append(Transfer(12, "far", "none", 1, side=2, number=2))
    body = driver.resolve(driver.legs_body(rows))
    votes, extra = prepare(driver.ledger, 7, body, 3, driver.at())
    assert list(votes) == [0, 0, Status.credit_account_not_found]
    assert np.frombuffer(extra[:6], np.uint16).tolist() == [currency_code("USD"), currency_code("EUR"), 0]
    assert list(extra[6:]) == [0, 0, Status.credit_account_not_found]


def test_a_round_may_bring_several_bodies(driver: Driver) -> None:
    """One decision settles them all."""
    driver.prepare(7, [Transfer(10, "a", "far", 10, side=1)], 2)
    driver.prepare(7, [Transfer(11, "a", "far", 20, side=1, number=1)], 2)
    decide(driver, 7, 0, 0)
    assert driver.balances("a") == (70, 0, 0)


def test_holds_across_shards(driver: Driver) -> None:
    """Opened, captured in parts and voided by rounds; the time that passes during one ends it afterwards."""
    hold = Transfer(10, "a", "far", 60, flags=Flag.hold, ttl=10, side=1)
    assert driver.prepare(1, [hold], 1) == [0]
    decide(driver, 1, 0)
    assert driver.balances("a") == (100, 60, 0)
    capture = Transfer(11, "a", "far", 25, flags=Flag.capture, hold_id=10, side=1)
    assert driver.prepare(2, [capture], 1) == [0]
    assert driver.prepare(3, [Transfer(12, "a", "far", 40, flags=Flag.capture, hold_id=10, side=1)], 1) == [
        Status.undecided,
    ]  # fmt: skip
    decide(driver, 2, 0)
    assert driver.balances("a") == (75, 35, 0)
    assert driver.prepare(4, [Transfer(13, "a", "far", 20, flags=Flag.capture, hold_id=10, side=1)], 1) == [0]
    driver.command("expire", passed_ns=11 * NANOSECONDS)
    assert driver.balances("a") == (75, 35, 0)
    assert driver.ledger.due(0, driver.elapsed_ns) is None
    decide(driver, 4, NO)
    assert driver.balances("a") == (75, 0, 0)


def test_a_hold_that_is_being_opened_is_waited_for(driver: Driver) -> None:
    """Whether it will be there, only its round's decision tells."""
    driver.prepare(1, [Transfer(10, "a", "far", 60, flags=Flag.hold, ttl=10, side=1)], 1)
    capture = Transfer(11, "a", "far", 25, flags=Flag.capture, hold_id=10, side=1)
    assert driver.prepare(2, [capture], 1) == [Status.undecided]
    decide(driver, 2, Status.undecided)
    decide(driver, 1, 0)
    assert driver.prepare(3, [capture], 1) == [0]


def test_a_void_of_a_hold_abroad_needs_no_round(driver: Driver) -> None:
    """Voiding concerns the debit side only, so a plain command does it."""
    driver.prepare(1, [Transfer(10, "a", "far", 60, flags=Flag.hold, ttl=10, side=1)], 1)
    decide(driver, 1, 0)
    wrong = Transfer(11, "a", "other", 0, flags=Flag.void, hold_id=10)
    assert names(driver.transfers([wrong])) == ["hold_has_different_credit_account"]
    assert driver.transfers([Transfer(12, "a", "far", 0, flags=Flag.void, hold_id=10)]) == [0]
    assert driver.balances("a") == (100, 0, 0)


def test_only_what_happens_raises_the_version(driver: Driver) -> None:
    """A reservation does not, nor does giving it back: whoever tries again finds the version that it knows."""
    version = driver.version("a")
    row = Transfer(10, "a", "far", 60, side=1, if_version=version)
    driver.prepare(7, [row, Transfer(11, "far", "b", 5, side=2, number=1)], 2)
    decide(driver, 7, Status.undecided, Status.undecided)
    assert driver.version("a") == version
    assert driver.prepare(8, [row], 1) == [0]
    decide(driver, 8, 0)
    assert driver.version("a") == driver.index > version
    assert driver.prepare(9, [row], 1) == [Status.exists]


def test_a_version_waits_for_the_round_that_may_change_it(driver: Driver) -> None:
    """Only the decision tells which of two that want the same version finds it."""
    version = driver.version("a")
    assert driver.prepare(7, [
        Transfer(10, "a", "far", 10, side=1, if_version=version), Transfer(11, "a", "far", 10, side=1, number=1),
        Transfer(12, "a", "far", 10, side=1, number=2, if_version=version),
        Transfer(13, "a", "far", 10, side=1, number=3, if_version=version - 1),
    ], 4) == [0, 0, Status.undecided, Status.version_conflict]  # fmt: skip
    local = Transfer(14, "a", "b", 10, if_version=version)
    assert names(driver.transfers([local])) == ["undecided"]
    assert driver.query("transfer", id_bytes(14))[1] is None
    decide(driver, 7, NO, NO, Status.undecided, Status.version_conflict)
    assert names(driver.transfers([local, Transfer(15, "b", "a", 10)])) == ["created", "created"]
    driver.prepare(8, [Transfer(16, "far", "a", 1, side=2)], 1)
    other = Transfer(17, "a", "b", 10, if_version=driver.version("a"))
    assert names(driver.transfers([other])) == ["undecided"]
    decide(driver, 8, 0)
    assert names(driver.transfers([other])) == ["version_conflict"]
    assert names(driver.transfers([Transfer(13, "a", "far", 10)])) == ["version_conflict"]


def test_a_transaction_sees_the_version_before_itself(driver: Driver) -> None:
    """All of its legs may name the version that its client has read; the credit side does not look at it."""
    version = driver.version("a")
    rows = [
        Transfer(10, "far", "a", 5, side=2, if_version=3), Transfer(11, "a", "far", 5, side=1, if_version=version),
        Transfer(12, "a", "b", 5, if_version=version),
    ]  # fmt: skip
    assert driver.prepare(7, rows, 1) == [0]
    decide(driver, 7, 0)
    assert driver.balances("a") == (95, 0, 0)


def test_a_hold_its_capture_and_its_void_at_a_version(driver: Driver) -> None:
    """Each looks at the account that pays, and each changes it."""
    hold = Transfer(10, "a", "far", 60, flags=Flag.hold, ttl=10, side=1, if_version=driver.version("a"))
    assert driver.prepare(1, [hold], 1) == [0]
    decide(driver, 1, 0)
    old = driver.index
    capture = Transfer(11, "a", "far", 25, flags=Flag.capture, hold_id=10, side=1, if_version=old)
    assert driver.prepare(2, [capture], 1) == [0]
    void = Transfer(12, "a", "far", 0, flags=Flag.void, hold_id=10, if_version=old)
    assert names(driver.transfers([void])) == ["undecided"]
    decide(driver, 2, 0)
    assert names(driver.transfers([void])) == ["version_conflict"]
    again = Transfer(13, "a", "far", 0, flags=Flag.void, hold_id=10, if_version=driver.version("a"))
    assert driver.transfers([again]) == [0]
    assert driver.balances("a") == (75, 0, 0)


def test_an_open_round_survives_a_restart(driver: Driver) -> None:
    """A checkpoint holds the reservations and the waiting ids."""
    row = Transfer(10, "a", "far", 60, side=1, if_version=driver.version("a"))
    driver.prepare(7, [row, Transfer(11, "far", "b", 10, side=2, number=1)], 2)
    driver.save()
    other = driver.restored()
    assert other.ledger.digest(0) == driver.ledger.digest(0)
    for one in (driver, other):
        assert names(one.transfers([Transfer(10, "a", "b", 60)])) == ["undecided"]
        decide(one, 7, 0, 0)
    assert other.ledger.digest(0) == driver.ledger.digest(0)
    assert other.ledger.totals() == [["EUR", "-50", "0", "0", "160", "110"], ["USD", *"00000"]]
