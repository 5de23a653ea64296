"""Accounts: what may be created and changed."""

from __future__ import annotations

import numpy as np
import pytest

from node.core.ledger.limits import currency_code, currency_text
from protocol.errors import ProtocolError
from protocol.money import CURRENCIES
from protocol.status import AccountStatus, Status
from tests.core.ledger.driving import Driver
from tests.core.ledger.model import Transfer

ID = bytes(15) + b"1"
NO = int(Status.insufficient_funds)


def created(driver: Driver, *rows: list[object]) -> list[str]:
    """Statuses by name."""
    return [AccountStatus(status).name for status in driver.command("accounts", list(rows))[1]]


def updated(driver: Driver, id: str, **fields: object) -> str:
    """Status by name."""
    return AccountStatus(driver.update(id, fields)[0]).name


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (["a", "EUR", 0, None, "", b""], "created"),
        (["", "EUR", 0, None, "", b""], "id_must_not_be_empty"),
        (["a" * 65, "EUR", 0, None, "", b""], "id_too_long"),
        (["a" * 64, "EUR", 0, None, "", b""], "created"),
        (["a b", "EUR", 0, None, "", b""], "id_has_invalid_characters"),
        (["a\n", "EUR", 0, None, "", b""], "id_has_invalid_characters"),
        (["a\u00a0b", "EUR", 0, None, "", b""], "id_has_invalid_characters"),
        (["a\u200bb", "EUR", 0, None, "", b""], "id_has_invalid_characters"),
        (["a\u3164", "EUR", 0, None, "", b""], "id_has_invalid_characters"),
        (["ka\u0308ufer", "EUR", 0, None, "", b""], "id_has_invalid_characters"),
        (["{käufer}:EUR", "EUR", 0, None, "", b""], "created"),
        (["a", "EURO", 0, None, "", b""], "currency_unknown"),
        (["a", "eur", 0, None, "", b""], "currency_unknown"),
        (["a", "EUR", 5, 4, "", b""], "minimum_exceeds_maximum_balance"),
        (["a", "EUR", -(2**62) - 1, None, "", b""], "balance_limit_out_of_range"),
        (["a", "EUR", -(2**62), 2**62 - 1, "", b""], "created"),
        (["a", "EUR", 0, 2**62, "", b""], "balance_limit_out_of_range"),
        (["a", "EUR", 1, None, "", b""], "limit_excludes_balance"),
        (["a", "EUR", None, -1, "", b""], "limit_excludes_balance"),
        (["a", "EUR", 0, None, "o" * 65, b""], "owner_too_long"),
        (["a", "EUR", 0, None, "", bytes(1025)], "metadata_too_large"),
    ],
)
def test_the_form_of_an_account(row: list[object], expected: str) -> None:
    """The smallest reason is given, and only good rows are created."""
    driver = Driver()
    assert created(driver, row) == [expected]
    assert (driver.query("accounts", [row[0]])[1] != [None]) == (expected == "created")


def test_repeats_say_what_differs() -> None:
    """In a later request and within the same one."""
    driver = Driver()
    rows: list[list[object]] = [
        ["a", "EUR", 0, None, "alice", b"m"], ["a", "EUR", 0, None, "alice", b"m"],
        ["a", "USD", 0, None, "alice", b"m"],
        ["a", "EUR", -1, None, "alice", b"m"], ["a", "EUR", 0, 9, "alice", b"m"], ["a", "EUR", 0, None, "bob", b"m"],
        ["a", "EUR", 0, None, "alice", b""],
    ]  # fmt: skip
    differences = [
        "exists", "exists_with_different_currency", "exists_with_different_minimum_balance",
        "exists_with_different_maximum_balance", "exists_with_different_owner", "exists_with_different_metadata",
    ]  # fmt: skip
    assert created(driver, *rows) == ["created", *differences]
    assert created(driver, *rows[1:]) == differences


def test_updates() -> None:
    """Limits must leave room for the balance; a closed account was empty and stays closed."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("a", "EUR", 0, None))
    driver.transfers([Transfer(1, "world", "a", 100)])
    assert updated(driver, "none", owner="x") == "account_not_found"
    assert updated(driver, "a", minimum=101) == "limit_excludes_balance"
    assert updated(driver, "a", maximum=99) == "limit_excludes_balance"
    assert updated(driver, "a", minimum=50, maximum=100, owner="alice", metadata=b"m") == "updated"
    assert updated(driver, "a", status=2) == "account_not_empty"
    assert driver.query("accounts", ["a"])[1][0][1:10] == ["EUR", 100, 0, 0, 50, 100, 0, "alice", b"m"]
    assert updated(driver, "a", minimum=0, status=1) == "updated"
    assert updated(driver, "a", status=0) == "updated"
    driver.transfers([Transfer(2, "a", "world", 100)])
    assert updated(driver, "a", status=2) == "updated"
    assert updated(driver, "a", status=2) == "account_already_closed"
    assert updated(driver, "a", status=0) == "account_closed"
    driver.save()
    assert driver.restored().ledger.digest(0) == driver.ledger.digest(0)


def test_an_update_of_a_version() -> None:
    """It changes all or, at another version, nothing; the answer names the version that the account has then."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("a", "EUR", 0, None))
    created_at = driver.index
    assert driver.update("a", {"owner": "x", "if_version": created_at}) == [AccountStatus.updated, 2]
    before = driver.query("accounts", ["a"])
    conflict = driver.update("a", {"owner": "y", "minimum": -5, "status": 1, "if_version": created_at})
    assert conflict == [AccountStatus.version_conflict, 2]
    assert driver.query("accounts", ["a"]) == before
    assert driver.update("none", {"if_version": 9}) == [AccountStatus.account_not_found, 0]
    out_of_room = driver.update("a", {"minimum": 1, "if_version": 2})
    assert out_of_room == [AccountStatus.limit_excludes_balance, 2]
    assert driver.update("a", {"owner": "y", "if_version": 2**64 - 1})[0] == AccountStatus.version_conflict
    driver.transfers([Transfer(1, "world", "a", 1)])
    assert driver.update("a", {"owner": "y", "if_version": 2}) == [
        AccountStatus.version_conflict, driver.index - 1,
    ]  # fmt: skip


def test_an_update_of_a_version_waits_for_the_round_that_may_change_it() -> None:
    """While a decision is on its way nobody knows whether the version holds."""
    driver = Driver()
    driver.accounts(("world", "EUR", None, None), ("a", "EUR", 0, None))
    version = driver.version("a")
    for decided, expected in ((NO, AccountStatus.updated), (0, AccountStatus.version_conflict)):
        driver.prepare(driver.index, [Transfer(driver.index, "far", "a", 5, side=2)], 1)
        assert driver.update("a", {"owner": "x", "if_version": version})[0] == AccountStatus.retry
        driver.ledger.decide(next(iter(driver.ledger.books.rounds)), np.array([decided], np.uint8), driver.at())
        status, version = driver.update("a", {"owner": "x", "if_version": version})
        assert status == expected
    assert version == driver.version("a")


def test_wrong_forms_raise() -> None:
    """What is not even a command is the sender's fault."""
    driver = Driver()
    bodies: list[list[object]] = [
        [], ["unknown"], ["accounts", []], ["accounts", [["a"]]], ["accounts", [["a", "EUR", 0.5, None, "", b""]]],
        ["accounts", [[b"a", "EUR", 0, None, "", b""]]], ["update", "a", {"posted": 5}, ID, b""], ["update", "a", {"status": 3}, ID, b""],
        ["update", "a", {"minimum": True}, ID, b""], ["update", "a", {"if_version": -1}, ID, b""],
        ["update", "a", {"if_version": 2**64}, ID, b""], ["cancel", b"short", "a"], ["transfers", [1, 2, 3]],
        ["update", "a", {"owner": "x"}], ["update", "a", {"owner": "x"}, ID, None], ["update", "a", {}, b"short", b""],
        ["update", "a", {"if_version": 0}, ID, None], ["follow", "a", 3, 1], ["follow", "a", 1],
        ["legs", [bytes(16), "a", "b", bytes(8)], b"", b"", b""],
        ["legs", [bytes(16), "a", "b", bytes(8)], bytes(4), b"\x05", b""],
        ["legs", [bytes(16), "a", "b", bytes(8)], bytes(4), b"\x01", bytes(5)],
    ]  # fmt: skip
    for body in bodies:
        with pytest.raises(ProtocolError):
            driver.resolve(body)
    for question in ([], ["transfer", b""], ["history", "a", None, 0, True], ["history", "a", -1, 5, True]):
        with pytest.raises(ProtocolError):
            driver.query(*question)


def test_currency_codes_are_one_to_one() -> None:
    """Every currency has its own number that fits 16 bits."""
    codes = {currency_code(currency): currency for currency in CURRENCIES}
    assert len(codes) == len(CURRENCIES)
    assert all(0 < code < 2**16 and currency_text(code) == currency for code, currency in codes.items())


def test_an_update_is_carried_out_once() -> None:
    """Repeated it is answered as the first time, behind a restart too; when another has followed, or it follows none, it conflicts."""
    driver = Driver()
    driver.accounts(("a", "EUR", 0, None))
    one, two, three = (bytes(15) + bytes((number,)) for number in (1, 2, 3))

    def update(owner: str, id: bytes, after: bytes) -> list[int]:
        return list(driver.command("update", "a", {"owner": owner}, id, after)[1:])

    first = update("one", one, b"")
    assert first == [AccountStatus.updated, driver.index]
    driver.save()
    driver = driver.restored()
    assert update("one", one, b"") == first
    assert update("two", two, b"")[0] == AccountStatus.version_conflict
    assert update("two", two, one)[0] == AccountStatus.updated
    assert update("one", one, b"")[0] == AccountStatus.version_conflict
    assert update("x" * 65, three, two)[0] == AccountStatus.owner_too_long
    assert update("x", three, two)[0] == AccountStatus.owner_too_long
    (row,) = driver.query("accounts", ["a"])[1]
    assert (row[8], row[13]) == ("two", three)
    driver.save()
    assert driver.restored().ledger.digest(0) == driver.ledger.digest(0)


def test_opening_again_is_judged_by_how_it_was_opened() -> None:
    """Whatever has been changed since: a late copy of what was answered `created` is not told that it differs."""
    driver = Driver()
    opening: list[object] = ["a", "EUR", 0, None, "alice", b"m"]
    assert created(driver, opening) == ["created"]
    assert updated(driver, "a", owner="bob", minimum=-5, metadata=b"") == "updated"
    driver.save()
    driver = driver.restored()
    assert created(driver, opening) == ["exists"]
    assert created(driver, ["a", "EUR", -5, None, "bob", b""]) == ["exists"]
    assert created(driver, ["a", "EUR", -5, None, "carol", b""]) == ["exists_with_different_owner"]
