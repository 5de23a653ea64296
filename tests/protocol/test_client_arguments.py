"""What a call of the client cannot be: told before anything is sent, with what was expected."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from protocol.client import Capture, Client, Hold, Transfer, Void, connect
from protocol.client.arguments import amount_column, number_column, text_column
from protocol.columns import Flag
from protocol.errors import BadArgument, ErrorCode, ProtocolError, Refused, Unreachable

LEG = Transfer("a", "b", 1)
CALLS: list[tuple[Callable[[Client], Awaitable[object]], str]] = [
    (lambda client: client.transfer("a", "b", 1, id="01a2"), "id '01a2': expected an integer of 0 to"),  # type: ignore[arg-type]
    (lambda client: client.transfer("a", "b", 1, id=2**128), "expected an integer of 0 to"),
    (lambda client: client.transfer("a", "b", 1, code=-1), "code -1: expected"),
    (lambda client: client.transfer("a", "b", 1, currency="XXX"), "currency 'XXX': expected an ISO 4217 code"),
    (lambda client: client.transfer("a", "b", 1, metadata={"": 1}), "key '': expected text of 1 to 32 bytes"),
    (lambda client: client.transfer("a", "b", 1, reverses=0), "reverses 0: expected the id of a transfer, or None"),
    (lambda client: client.transfer("a", "b", 1, lock="payroll"), "lock 'payroll': expected one that"),  # type: ignore[arg-type]
    (lambda client: client.transfer(None, "b", 1), "debit None: expected one line"),  # type: ignore[arg-type]
    (lambda client: client.transfer("a", "b\nc", 1), "credit 'b\\nc': expected one line"),
    (lambda client: client.transfer_many([], [], []), "expected at least one transfer"),
    (lambda client: client.hold("a", "b", 1, ttl=-1), "ttl -1: expected"),
    (lambda client: client.hold("a", "b", 1, ttl=1.5), "ttl 1.5: expected"),  # type: ignore[arg-type]
    (lambda client: client.capture("x", 1), "id 'x': expected"),  # type: ignore[arg-type]
    (lambda client: client.capture(1, 1, final="no"), "final 'no': expected true or false"),  # type: ignore[arg-type]
    (lambda client: client.capture(1, final=None), "final None: expected true or false"),  # type: ignore[arg-type]
    (lambda client: client.capture(1, 1, final=1), "final 1: expected true or false"),  # type: ignore[arg-type]
    (lambda client: client.void(1, amount=-5), "amount -5: expected the amount that the hold was opened with"),
    (lambda client: client.transfer("a", "b"), "amount None: expected an integer of minor units"),
    (lambda client: client.transfer("a", "b", 1, balancing="all"), "balancing 'all': expected debit, credit or both"),  # type: ignore[arg-type]
    (lambda client: client.transfer("a", "b", 0, balancing="debit"), "amount 0: expected a limit above 0, or None"),
    (lambda client: client.transaction([Transfer("a", "b", 1, balancing=5)]), "leg 0: balancing 5: expected"),  # type: ignore[arg-type]
    (lambda client: client.transaction([]), "transaction: expected a list of 1 to 8192 legs, got 0"),
    (lambda client: client.transaction([LEG] * 8_193), "expected a list of 1 to 8192 legs, got 8193"),
    (lambda client: client.transaction(LEG), "expected a list of 1 to 8192 legs, got Transfer("),  # type: ignore[arg-type]
    (lambda client: client.transaction([LEG, ("a", "b", 1)]), "leg 1: expected a Transfer, Hold, Capture or Void"),  # type: ignore[list-item]
    (lambda client: client.transaction([LEG], ids=[1, 2]), "ids: expected 1, one a leg, got 2"),
    (lambda client: client.transaction([LEG, LEG], ids=[7, 7]), "legs 0 and 1 have one id 00"),
    (lambda client: client.transaction([LEG], ids=[-1]), "id -1: expected"),
    (lambda client: client.transaction([LEG, Transfer("a", "b", 1.5)]), "leg 1: amount 1.5: expected an integer"),  # type: ignore[arg-type]
    (lambda client: client.transaction([Hold("a", "b\nc", 1, ttl=5)]), "leg 0: credit 'b\\nc': expected one line"),
    (lambda client: client.transaction([Hold("a", "b", 1, ttl=-5)]), "leg 0: ttl -5: expected"),
    (lambda client: client.transaction([LEG, Capture("x", 1)]), "leg 1: id 'x': expected an integer"),  # type: ignore[arg-type]
    (lambda client: client.transaction([LEG, Capture(7, 1, final="false")]), "leg 1: final 'false': expected true or"),  # type: ignore[arg-type]
    (lambda client: client.transaction([Void(7, amount=0)]), "leg 0: amount 0: expected the amount that the hold was"),
    (lambda client: client.transaction([LEG], commit="4pc"), "commit protocol '4pc': expected 2pc or 3pc"),
    (lambda client: client.transaction([Transfer("a", "b", 1, if_version=0)]), "leg 0: if_version 0: expected"),
    (lambda client: client.outcome(-1, "a"), "id -1: expected"),
    (lambda client: client.trace("01a2"), "id '01a2': expected"),  # type: ignore[arg-type]
    (lambda client: client.snapshot("users:alice"), "expected a list of at most 8192 account ids, got 'users:alice'"),
    (lambda client: client.snapshot(["a"] * 8_193), "got 8193"),
    (lambda client: client.accounts(["a"] * 8_193), "got 8193"),
    (lambda client: client.lock("x", ttl="5").acquire(), "ttl '5': expected seconds"),  # type: ignore[arg-type]
    (lambda client: client.lock("x", ttl=float("nan")).acquire(), "ttl nan: expected seconds"),
    (lambda client: client.lock("x", wait=-1).acquire(), "wait -1: expected seconds of 0 or more, or None"),
    (lambda client: client.lock("x", wait=float("nan")).acquire(), "wait nan: expected seconds of 0 or more"),
    (lambda client: client.lock("x", wait="x").acquire(), "wait 'x': expected seconds"),  # type: ignore[arg-type]
    (lambda client: client.lock("x", owner="me").acquire(), "owner 'me': expected one that"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "expected"), CALLS)
async def test_an_argument_that_cannot_be(call: Callable[[Client], Awaitable[object]], expected: str) -> None:
    """Nobody listens at this address: the error is the client's own."""
    with pytest.raises(BadArgument) as raised:
        await call(Client("127.0.0.1:1", timeout=0.2))
    assert raised.value.code is ErrorCode.bad_request and expected in str(raised.value)


@pytest.mark.parametrize("given", ["no", "", 1, 0, None], ids=repr)
@pytest.mark.parametrize("name", ["split", "newest_first", "follow", "must_hold", "final"])
async def test_true_or_false_takes_nothing_that_only_counts_as_one(name: str, given: Any) -> None:
    """Every call that has such an argument; both values of numpy are taken as Python's are."""
    calls: dict[str, Callable[[Client, Any], Any]] = {
        "split": lambda client, value: client.create_account("a", "EUR", split=value),
        "newest_first": lambda client, value: anext(client.history("a", newest_first=value)),
        "follow": lambda client, value: client.subscribe("transfers", follow=value).begin(),
        "must_hold": lambda client, value: client.lock("x", must_hold=value).acquire(),
        "final": lambda client, value: client.capture(1, debit="a", credit="b", final=value),
    }
    client = Client("127.0.0.1:1", timeout=0.2)
    with pytest.raises(BadArgument, match=f"{name} {given!r}: expected true or false") as raised:
        await calls[name](client, given)
    assert raised.value.code is ErrorCode.bad_request
    with pytest.raises(Unreachable):
        await calls[name](client, np.True_)


def test_every_argument_of_that_kind_is_tested_above() -> None:
    """All bool parameters of the client's calls and of the legs of a transaction."""
    calls: list[Callable[..., Any]] = [
        call for name, call in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")
    ]
    found = {
        name
        for call in (*calls, Transfer, Hold, Capture, Void)
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.annotation == "bool"
    }
    assert found == {"split", "newest_first", "follow", "must_hold", "final"}


MANY: dict[str, Any] = {"debit": ["a", "b"], "credit": ["c", "d"], "amount": [1, 2]}
COLUMNS: list[tuple[dict[str, Any], str]] = [
    ({"debit": "ab"}, "column debit: expected a list of 2 values, one a row, got 'ab'"),
    ({"debit": ["w\nw"]}, "column debit: expected a list of 2 values, one a row, got 1"),
    ({"debit": ["w\nw", "x"]}, "debit of row 0 'w\\nw': expected one line of text"),
    ({"credit": ["x", None]}, "credit of row 1 None: expected one line of text"),
    ({"credit": ["x", "\ud800"]}, "without lone surrogates"),
    ({"reference": ["x"]}, "column reference: expected a list of 2 values"),
    ({"reference": ["x", b"y"]}, "reference of row 1 b'y': expected one line of text"),
    ({"reverses": [1]}, "column reverses: expected a list of 2 values, one a row, got 1"),
    ({"reverses": [1, -1]}, "reverses of row 1 -1: expected an integer of 0 to"),
    ({"metadata": [{}, {"a": 1.5}]}, "metadata a 1.5: expected text of up to 64 bytes"),
    ({"currency": "eur"}, "currency 'eur': expected an ISO 4217 code such as EUR"),
    ({"currency": ["", "XXX"]}, "currency of row 1 'XXX': expected an ISO 4217 code such as EUR"),
    ({"currency": ["EUR"]}, "column currency: expected a list of 2 values, one a row, got 1"),
    ({"amount": [1, 1.9]}, "amount 1.9: expected an integer of minor units"),
    ({"amount": [1, True]}, "amount True: expected an integer of minor units"),
    ({"amount": [1, "2"]}, "amount '2': expected an integer of minor units"),
    ({"amount": np.array([1.0, 2.0])}, "amounts: expected integers of minor units, got float64"),
    ({"amount": 5}, "amount: expected a list, one value a row, got 5"),
    ({"amount": [1] * 8_193}, "transfers: expected at most 8192, got 8193"),
    ({"ttl": [1, 2**32 + 1]}, "ttl of row 1 4294967297: expected an integer of 0 to 4294967295"),
    ({"ttl": [1, 2**70]}, "ttl of row 1 1180591620717411303424: expected an integer of 0 to 4294967295"),
    ({"ttl": [1.9, 1]}, "ttl of row 0 1.9: expected an integer"),
    ({"ttl": [1, True]}, "ttl of row 1 True: expected an integer"),
    ({"code": [-1, 0]}, "code of row 0 -1: expected an integer of 0 to 4294967295"),
    ({"code": np.array([-1, 0])}, "code of row 0 -1: expected an integer of 0 to 4294967295"),
    ({"code": np.array([0, 2**32], np.uint64)}, "code of row 1 4294967296: expected an integer"),
    ({"code": np.array([0.5, 1])}, "code of row 0 0.5: expected an integer"),
    ({"code": 7}, "column code: expected a list of 2 values, one a row, got 7"),
    ({"flags": [0, 65_536]}, "flags of row 1 65536: expected an integer of 0 to 65535"),
    ({"flags": [0]}, "column flags: expected a list of 2 values, one a row, got 1"),
    ({"ids": [1, 2**128]}, "expected an integer of 0 to"),
    ({"ids": [1]}, "column ids: expected a list of 2 values"),
    ({"ids": b"short"}, "ids: expected 16 bytes for each of 2 rows, got 5"),
    ({"if_version": [1]}, "if_version: expected 2 versions"),
    ({"if_version": [1, 2**64]}, "expected an integer of 0 to"),
]


@pytest.mark.parametrize(("given", "expected"), COLUMNS, ids=[expected for _, expected in COLUMNS])
async def test_a_column_that_cannot_be(given: dict[str, Any], expected: str) -> None:
    """As a single call would say it: nothing becomes something else on its way."""
    with pytest.raises(BadArgument) as raised:
        await Client("127.0.0.1:1", timeout=0.2).transfer_many(**(MANY | given))
    assert raised.value.code is ErrorCode.bad_request and expected in str(raised.value)


NO_COLUMNS: list[Any] = [
    [None], [1.5], [b"x"], [[1]], {"x"}, {1}, {"x": 1}, "x", np.array(5), np.zeros((1, 1), int), np.zeros((2, 0), int),
]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["debit", "credit", "amount", "ids", "code", "flags", "reference", "currency", "ttl", "if_version"]
)
@pytest.mark.parametrize("column", NO_COLUMNS, ids=str)
async def test_no_column_takes_what_is_no_list_of_its_kind(name: str, column: Any) -> None:
    """One row is checked as many are."""
    one: dict[str, Any] = {"debit": ["a"], "credit": ["b"], "amount": [1]}
    with pytest.raises(BadArgument) as raised:
        await Client("127.0.0.1:1", timeout=0.2).transfer_many(**(one | {name: column}))
    assert raised.value.code is ErrorCode.bad_request and "expected " in str(raised.value)


def test_columns_of_any_kind_are_packed_alike() -> None:
    """Lists, tuples, arrays, members of enums; an amount beyond 64 bits travels as the nearest, to be refused by the books."""
    for codes in (
        [1, 7],
        (1, 7),
        np.array([1, 7]),
        np.array([1, 7], np.uint8),
        [np.int64(1), 7],
        np.array([9, 1, 9, 7])[1::2],
    ):
        assert number_column(codes, "code", 2, 4) == b"\1\0\0\0\7\0\0\0"
        assert amount_column(codes, 2) == b"\1" + bytes(7) + b"\7" + bytes(7)
    assert number_column([Flag.linked, Flag.none], "flags", 2, 2) == b"\1\0\0\0"
    assert number_column([0, 2**32 - 1], "ttl", 2, 4) == bytes(4) + b"\xff" * 4
    assert np.frombuffer(amount_column([2**70, -(2**70)], 2), "<i8").tolist() == [2**63 - 1, -(2**63)]
    assert np.frombuffer(amount_column(np.array([2**64 - 1, 5], np.uint64), 2), "<i8").tolist() == [2**63 - 1, 5]
    assert text_column(("ä", "b"), "debit", 2) == text_column(np.array(["ä", "b"]), "debit", 2) == "ä\nb"


ROW = ("a", "EUR", 0, None, "", b"")
ACCOUNTS: list[tuple[Any, str]] = [
    ("ab", "accounts: expected rows of (id, currency,"),
    ([], "at least one"),
    (["abcdef"], "account 0: expected (id, currency, minimum balance, maximum balance, owner, metadata), got 'abcdef'"),
    ([ROW, ROW[:5]], "account 1: expected (id,"),
    ([(b"a", *ROW[1:])], "account 0: id b'a': expected text"),
    ([("\ud800", *ROW[1:])], "without lone surrogates"),
    ([("a", None, *ROW[2:])], "account 0: currency None: expected an ISO 4217 code"),
    ([("a", "eur", *ROW[2:])], "account 0: currency 'eur': expected an ISO 4217 code such as EUR"),
    (
        [("a", "EUR", 0.5, *ROW[3:])],
        "account 0: minimum balance 0.5: expected an integer of minor units within 64 bits",
    ),
    ([("a", "EUR", True, *ROW[3:])], "account 0: minimum balance True: expected an integer"),
    ([("a", "EUR", 0, 2**63, "", b"")], "account 0: maximum balance 9223372036854775808: expected an integer"),
    ([("a", "EUR", 0, None, 5, b"")], "account 0: owner 5: expected text"),
    ([("a", "EUR", 0, None, "", "data")], "account 0: metadata 'data': expected bytes"),
]


@pytest.mark.parametrize(("rows", "expected"), ACCOUNTS, ids=[expected for _, expected in ACCOUNTS])
async def test_accounts_that_cannot_be(rows: Any, expected: str) -> None:
    """Each value of each row."""
    with pytest.raises(BadArgument) as raised:
        await Client("127.0.0.1:1", timeout=0.2).create_accounts(rows)
    assert raised.value.code is ErrorCode.bad_request and expected in str(raised.value)


@dataclass(frozen=True)
class Held:
    """A lock as a caller may name it."""

    name: str
    token: int


SURROGATE = "\ud800"
ODD: dict[str, tuple[Callable[[Client], Awaitable[object]], str]] = {
    "account": (lambda client: client.account(SURROGATE), "lone surrogates"),
    "accounts": (lambda client: client.accounts([SURROGATE]), "lone surrogates"),
    "accounts of numbers": (lambda client: client.accounts([5]), "account 5: expected text"),  # type: ignore[list-item]
    "snapshot": (lambda client: client.snapshot([SURROGATE]), "lone surrogates"),
    "outcome": (lambda client: client.outcome(1, SURROGATE), "lone surrogates"),
    "outcome of a huge id": (lambda client: client.outcome(2**200, "a"), "expected an integer of 0 to"),
    "trace": (lambda client: client.trace(1, SURROGATE), "lone surrogates"),
    "find": (lambda client: client.find(2**128), "expected an integer of 0 to"),
    "history": (lambda client: client.history(SURROGATE).__anext__(), "lone surrogates"),
    "a page of nothing": (lambda client: client.history("a", page=0).__anext__(), "page 0: expected 1 to 1000 rows"),
    "a limit of nothing": (lambda client: client.history("a", limit=0).__anext__(), "limit 0: expected 1 row or more"),
    "transfer": (lambda client: client.transfer("a", SURROGATE, 1), "lone surrogates"),
    "update": (lambda client: client.update_account(SURROGATE, owner="x"), "lone surrogates"),
    "a lock": (lambda client: client.lock(SURROGATE).acquire(), "lone surrogates"),
    "a lock of a number": (lambda client: client.lock(5).acquire(), "lock 5: expected text"),  # type: ignore[arg-type]
    "under a lock": (lambda client: client.transfer("a", "b", 1, lock=Held(SURROGATE, 1)), "lone surrogates"),
    "a limit beyond 64 bits": (lambda client: client.update_account("a", minimum_balance=2**70), "within 64 bits"),
    "an owner that is none": (lambda client: client.update_account("a", owner=5), "owner 5: expected text"),  # type: ignore[arg-type]
    "metadata that is text": (lambda client: client.update_account("a", metadata="x"), "metadata 'x': expected bytes"),  # type: ignore[arg-type]
    "nothing to change": (
        lambda client: client.update_account("a", if_version=3),
        "update: expected something to change",
    ),
    "a field that is none": (lambda client: client.update_account("a", colour="red"), "field 'colour': expected"),  # type: ignore[call-arg]
    "a hold of False": (lambda client: client.capture(False, 1), "id False: expected an integer"),
    "a time that is none": (lambda client: client.account("a", timeout="soon"), "expected a number of seconds"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", ODD)
async def test_what_nothing_can_carry(name: str) -> None:
    """A sentence, and no traceback from inside."""
    call, expected = ODD[name]
    with pytest.raises(BadArgument) as raised:
        await call(Client("127.0.0.1:1", timeout=0.2))
    assert raised.value.code is ErrorCode.bad_request and expected in str(raised.value)


@pytest.mark.parametrize(
    "addresses",
    [
        "",
        None,
        5,
        {"localhost:7101"},
        "localhost",
        "localhost:",
        ":7101",
        "localhost:0",
        "localhost:99999",
        "localhost:٣",
        [],
        [5],
        "a:1,,b:2",
    ],
)
def test_addresses_that_cannot_be(addresses: Any) -> None:
    """Told when the client is made."""
    with pytest.raises(BadArgument, match="expected"):
        Client(addresses)


@pytest.mark.parametrize(
    "options", [{"token": SURROGATE}, {"token": b"x"}, {"cluster": 5}, {"timeout": None}, {"within": -1}]
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    """Of either client; its twin leaves no thread behind."""
    for make in (Client, connect):
        with pytest.raises(BadArgument, match="expected"):
            make("127.0.0.1:1", **options)


async def test_nothing_is_asked_about_no_accounts() -> None:
    """Nobody listens at this address."""
    client = Client("127.0.0.1:1", timeout=0.2)
    assert await client.accounts([]) == await client.snapshot([]) == []


CALLS_OF_ALL: dict[str, Callable[[Client], Awaitable[object]]] = {
    "transfer": lambda client: client.transfer("a", "b", 1),
    "transfer_many": lambda client: client.transfer_many(["a"], ["b"], [1]),
    "account": lambda client: client.account("a"),
    "snapshot": lambda client: client.snapshot(["a"]),
    "create_account": lambda client: client.create_account("a", "EUR"),
    "update_account": lambda client: client.update_account("a", owner="x"),
    "history": lambda client: client.history("a").__anext__(),
    "outcome": lambda client: client.outcome(1, "a"),
    "transaction": lambda client: client.transaction([LEG, LEG]),
    "transaction of a hold": lambda client: client.transaction([Capture(1, 1)]),
    "lock": lambda client: client.lock("till", wait=0.1).acquire(),
}


@pytest.mark.parametrize("name", CALLS_OF_ALL)
async def test_a_client_that_was_never_connected(name: str) -> None:
    """It connects when it is first asked for something; here nobody listens."""
    with pytest.raises((Unreachable, Refused)):
        await CALLS_OF_ALL[name](Client("127.0.0.1:1", timeout=0.1))


@pytest.mark.parametrize("name", CALLS_OF_ALL)
async def test_a_client_that_is_closed(name: str) -> None:
    """It stays closed, and says so."""
    client = Client("127.0.0.1:1", timeout=0.1)
    await client.close()
    with pytest.raises(BadArgument, match="the client is closed"):
        await CALLS_OF_ALL[name](client)


async def test_a_transaction_that_ends_its_own_hold() -> None:
    """Before anything is sent, wherever its accounts are."""
    client = Client("127.0.0.1:1")
    for end in (Capture(7), Void(7, debit="a", credit="b")):
        with pytest.raises(
            ProtocolError, match=r"leg 1: this transaction opens hold 0+7 itself: expected a hold that was"
        ):
            await client.transaction([Hold("a", "b", 5, ttl=60), end], ids=[7, 8])
