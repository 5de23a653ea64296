"""Shares of split accounts: which are taken, what they refuse, and what they leave unrecorded."""

from __future__ import annotations

import numpy as np
import pytest

from node.core.machine import Body
from protocol.columns import FINAL_VERSION, Flag
from protocol.placement import group_of
from protocol.rows import AccountRow
from protocol.status import AccountState, AccountStatus, Status
from tests.core.ledger.driving import Driver, id_bytes, names
from tests.core.ledger.model import Transfer

SHARDS = 7
HERE = group_of("shop", SHARDS)  # the ledger under test; platform lives elsewhere


@pytest.fixture
def driver(either_path: None) -> Driver:
    """Account a (100), shares of shop (50) and platform (0), world, on either path."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("a", "EUR", 0, None))
    assert [share(driver, name) for name in ("shop", "platform")] == [AccountStatus.created] * 2
    assert driver.transfers([Transfer(1, "world", "a", 100), Transfer(2, "world", "shop", 50)]) == [0, 0]
    return driver


def share(driver: Driver, id: str, minimum: int | None = 0, maximum: int | None = None) -> int:
    """Opens a share."""
    return int(driver.command("share", [id, "EUR", minimum, maximum, "", b""], HERE, SHARDS)[1])


def update(driver: Driver, id: str, **fields: object) -> int:
    """As all shares are told."""
    return int(driver.update(id, fields, is_for_share=True)[0])


def test_opening(driver: Driver) -> None:
    """A share is opened once; an ordinary account of the same id is something else, and the other way round."""
    assert share(driver, "shop") == AccountStatus.exists
    assert share(driver, "shop", minimum=None) == AccountStatus.exists_with_different_minimum_balance
    assert share(driver, "a") == AccountStatus.exists_with_different_split
    assert share(driver, "b", maximum=10) == AccountStatus.split_account_must_have_no_maximum
    assert share(driver, "") == AccountStatus.id_must_not_be_empty
    assert driver.accounts(("shop", "EUR", 0, None)) == [AccountStatus.exists_with_different_split]
    assert driver.query("accounts", ["shop", "a"])[1][0][12] is True
    assert driver.query("accounts", ["shop", "a"])[1][1][12] is False


def test_a_short_share_says_nothing_of_the_sum(driver: Driver) -> None:
    """It is answered as transient, recorded only when it is final, and may be tried again with the same id."""
    short = Transfer(10, "shop", "a", 51)
    assert names(driver.transfers([short])) == ["share_short"]
    assert driver.query("transfer", id_bytes(10))[1] is None
    driver.transfers([Transfer(11, "world", "shop", 1)])
    assert names(driver.transfers([short, Transfer(12, "shop", "a", 1, if_version=FINAL_VERSION)])) == [
        "created", "insufficient_funds",
    ]  # fmt: skip
    assert names(driver.transfers([short, Transfer(12, "shop", "a", 1)])) == ["exists", "insufficient_funds"]
    assert driver.balances("shop") == (0, 0, 0)


def test_a_chain_with_a_short_share_leaves_nothing(driver: Driver) -> None:
    """All of it may be tried again."""
    chain = [Transfer(10, "a", "world", 5, flags=Flag.linked), Transfer(11, "shop", "a", 51)]
    assert names(driver.transfers(chain)) == ["linked_event_failed", "share_short"]
    driver.transfers([Transfer(12, "world", "shop", 1)])
    assert names(driver.transfers(chain)) == ["created", "created"]


def test_the_home_part_alone_pays(driver: Driver) -> None:
    """Whoever asks another one, and wherever the credit is; so an id has one shard. Any share takes."""
    assert group_of("platform", SHARDS) != HERE
    assert driver.prepare(7, [Transfer(10, "platform", "far", 5, side=1)], 1) == [Status.elsewhere]
    driver.ledger.decide(7, np.array([Status.elsewhere], np.uint8), driver.at())
    assert driver.query("transfer", id_bytes(10))[1] is None
    assert names(driver.transfers([Transfer(11, "platform", "a", 1), Transfer(12, "platform", "shop", 1)])) == [
        "elsewhere", "elsewhere",
    ]  # fmt: skip
    assert names(driver.transfers([Transfer(20, "shop", "platform", 1), Transfer(21, "shop", "a", 1)])) == [
        "created", "created",
    ]  # fmt: skip
    assert driver.prepare(8, [Transfer(30, "shop", "far", 5, side=1), Transfer(31, "far", "shop", 5, side=2)], 1) == [0]
    driver.ledger.decide(8, np.zeros(1, np.uint8), driver.at())
    assert names(driver.transfers([Transfer(30, "shop", "a", 5)])) == ["exists_with_different_credit_account"]


def test_a_hold_is_taken_from_the_home_share(driver: Driver) -> None:
    """Its captures, too, whatever their ids."""
    hold = Transfer(10, "shop", "far", 20, flags=Flag.hold, ttl=60, side=1)
    capture = Transfer(11, "shop", "far", 20, flags=Flag.capture, hold_id=10, side=1)
    for round_id, row in ((7, hold), (8, capture)):
        assert driver.prepare(round_id, [row], 1) == [0]
        driver.ledger.decide(round_id, np.zeros(1, np.uint8), driver.at())
    assert driver.balances("shop") == (30, 0, 0)


def test_moves_between_shares(driver: Driver) -> None:
    """The only legs of a share that leave its shard; within the shard, or as a whole, they are no transfer."""
    moves = [Transfer(10, "shop", "shop", 20, side=1, number=0), Transfer(11, "shop", "shop", 5, side=2, number=1)]
    assert driver.prepare(7, moves, 2) == [0, 0]
    driver.ledger.decide(7, np.zeros(2, np.uint8), driver.at())
    assert driver.balances("shop") == (35, 0, 0)
    assert names(driver.transfers([Transfer(12, "shop", "shop", 5)])) == ["accounts_must_be_different"]
    assert names(driver.prepare(8, [Transfer(13, "shop", "shop", 36, side=1)], 1)) == ["share_short"]


def test_it_does_not_matter_by_which_part_a_credit_came(driver: Driver) -> None:
    """A transfer whose credit went to a share elsewhere is the same one when it comes again, and so is a hold."""
    far = Transfer(10, "a", "shop", 5, side=1)
    hold = Transfer(11, "a", "shop", 7, flags=Flag.hold, ttl=60, side=1, number=1)
    assert driver.prepare(7, [far, hold], 2) == [0, 0]
    driver.ledger.decide(7, np.zeros(2, np.uint8), driver.at())
    again = [Transfer(10, "a", "shop", 5), Transfer(11, "a", "shop", 7, flags=Flag.hold, ttl=60)]
    assert names(driver.transfers(again)) == ["exists", "exists"]
    assert names(driver.transfers([Transfer(10, "a", "world", 5)])) == ["exists_with_different_credit_account"]
    capture = Transfer(12, "a", "shop", 7, flags=Flag.capture, hold_id=11)
    assert names(driver.transfers([capture])) == ["created"]
    assert driver.balances("shop") == (57, 0, 0)


def test_versions_of_shares(driver: Driver) -> None:
    """No share knows the account's version."""
    wanted = Transfer(10, "shop", "a", 5, if_version=driver.version("shop"))
    assert names(driver.transfers([wanted])) == ["if_version_must_be_zero"]
    assert driver.query("transfer", id_bytes(10))[1] is None
    assert update(driver, "shop", if_version=3) == AccountStatus.if_version_must_be_zero


def test_updates_of_shares(driver: Driver) -> None:
    """What no share can do alone is refused by name; who does not know of the shares is told."""
    assert driver.update("shop", {"status": int(AccountState.frozen)})[0] == AccountStatus.elsewhere
    assert update(driver, "shop", maximum=10) == AccountStatus.split_account_must_have_no_maximum
    assert update(driver, "shop", minimum=None) == AccountStatus.split_account_must_keep_having_a_minimum
    assert update(driver, "shop", status=int(AccountState.closed)) == AccountStatus.split_account_must_stay_open
    assert update(driver, "shop", minimum=-5, status=int(AccountState.frozen)) == AccountStatus.updated
    assert names(driver.transfers([Transfer(10, "shop", "a", 500)])) == ["debit_account_frozen"]


def test_cancelling(driver: Driver) -> None:
    """A share that does not pay does not say that nothing happened."""
    assert driver.command("cancel", id_bytes(10), "platform") == ["outcome", Status.elsewhere, 0]
    outcome: Body = driver.command("cancel", id_bytes(10), "shop")
    assert outcome[1] == Status.cancelled
    assert names(driver.transfers([Transfer(10, "shop", "a", 5)])) == ["cancelled"]


def test_history_tells_that_it_is_a_part(driver: Driver) -> None:
    """With one item more."""
    assert driver.query("history", "shop", None, 10, False)[3:] == [True]
    assert driver.query("history", "a", None, 10, False)[3:] == []


def test_shares_survive_a_restart(driver: Driver) -> None:
    """They stay shares of the same shard."""
    driver.save()
    other = driver.restored()
    assert other.ledger.digest(0) == driver.ledger.digest(0)
    shop, plain, nobody = other.query("accounts", ["shop", "a", "nobody"])[1]
    assert AccountRow(*shop).is_split and not AccountRow(*plain).is_split and nobody is None
    rows = [Transfer(20, "platform", "shop", 1), Transfer(22, "shop", "platform", 1)]
    assert names(other.transfers(rows)) == ["elsewhere", "created"]


def test_a_batch_of_many_debits(driver: Driver) -> None:
    """In order, until the share is empty; credits of the same batch count."""
    rows = [Transfer(100 + number, "shop", "a", 10) for number in range(8)]
    rows.insert(5, Transfer(90, "a", "shop", 15))
    statuses = names(driver.transfers(rows))
    assert statuses == ["created"] * 7 + ["share_short"] * 2
    assert driver.balances("shop") == (5, 0, 0)


def test_a_part_follows_the_latest_word(driver: Driver) -> None:
    """Of what the home share tells, the version orders what comes late; a share alone takes no change of its state."""
    frozen, opened = int(AccountState.frozen), int(AccountState.open)

    def follow(state: int, version: int) -> int:
        return int(driver.command("follow", "shop", state, version)[1])

    def state() -> int:
        return int(driver.query("accounts", ["shop"])[1][0][7])

    assert (follow(frozen, 10), state()) == (AccountStatus.updated, frozen)
    assert (follow(opened, 20), state()) == (AccountStatus.updated, opened)
    driver.save()
    driver = driver.restored()
    for late in (10, 20):
        assert (follow(frozen, late), state()) == (AccountStatus.updated, opened)
    assert driver.command("follow", "a", frozen, 30)[1] == AccountStatus.account_not_found
    assert driver.command("follow", "nobody", frozen, 30)[1] == AccountStatus.account_not_found
