"""Requests: the bodies that travel, and what one of a wrong shape is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames
from protocol.errors import ErrorCode, ProtocolError
from protocol.events import NEWEST, OLDEST, Position
from protocol.operations import Operation
from protocol.requests import (
    AccountsRequest,
    AllowanceRequest,
    BalancesRequest,
    EmptyRequest,
    FactsRequest,
    FaultKind,
    FaultRequest,
    FindRequest,
    HistoryRequest,
    LockAction,
    LockWord,
    OutcomeRequest,
    ReplaceRequest,
    SetAllowanceRequest,
    SnapshotRequest,
    SplitRequest,
    TraceRequest,
    TransferRequest,
    UpdateRequest,
)
from protocol.rows import NewAccount
from tests.protocol.wire_examples import LEAF

ID, OTHER = b"0123456789abcdef", b"fedcba9876543210"
ROW = ["alice", "EUR", 0, None, "ann", b"x"]


class Packed(Protocol):
    """A request."""

    def pack(self) -> list[Any]: ...


EXAMPLES: list[tuple[Operation, Packed, list[Any]]] = [
    (Operation.accounts, AccountsRequest([NewAccount("alice", "EUR", 0, None, "ann", b"x")]), [ROW]),
    (Operation.split_account, SplitRequest(NewAccount("alice", "EUR", 0, None, "ann", b"x")), ROW),
    (Operation.update, UpdateRequest("alice", {"owner": "bob"}, ID, OTHER), ["alice", {"owner": "bob"}, ID, OTHER]),
    (Operation.update, UpdateRequest("alice", {"status": 1}, ID, b""), ["alice", {"status": 1}, ID, b""]),
    (Operation.update, UpdateRequest("alice", {"if_version": 5}, ID, None), ["alice", {"if_version": 5}, ID, None]),
    (Operation.outcome, OutcomeRequest(ID, "alice"), [ID, "alice"]),
    (Operation.balances, BalancesRequest(["alice", "bob"]), ["alice", "bob"]),
    (Operation.history, HistoryRequest("alice", None, 500, True), ["alice", None, 500, True]),
    (Operation.history, HistoryRequest("shop", 17, 1, False, 3), ["shop", 17, 1, False, 3]),
    (Operation.transfer, TransferRequest(ID, "alice"), [ID, "alice"]),
    (Operation.set_allowance, SetAllowanceRequest("a", 5, "UTC", ID, b""), ["a", 5, "UTC", ID, b""]),
    (Operation.set_allowance, SetAllowanceRequest("a", None, "", ID, OTHER), ["a", None, "", ID, OTHER]),
    (Operation.allowance, AllowanceRequest("alice"), ["alice"]),
    (Operation.find_by_id, FindRequest(ID), [ID]),
    (Operation.facts, FactsRequest(1, ["holds"], "a", Position(3, 4), 32, 9), [1, ["holds"], "a", [3, 4], 32, 9]),
    (Operation.facts, FactsRequest(0, ["locks"], "", NEWEST, 0, 0), [0, ["locks"], "", "newest", 0, 0]),
    (Operation.cluster, EmptyRequest(), []),
    (Operation.audit, EmptyRequest(), []),
    (Operation.undecided, EmptyRequest(), []),
    (Operation.snapshot, SnapshotRequest(["alice", "bob"]), ["alice", "bob"]),
    (Operation.trace, TraceRequest(ID), [ID, ""]),
    (
        Operation.lock,
        LockWord(LockAction.get_at_once, "till", ID, OTHER, 10_000, 1, 2, 3),
        ["try", "till", ID, OTHER, 10_000, 1, 2, 3],
    ),
    (Operation.lock, LockWord("renew", "till", b"", b"", 0, 7), ["renew", "till", b"", b"", 0, 7, 0, 0]),
    (Operation.replace_node, ReplaceRequest(2, 77), [2, 77]),
    (Operation.replace_node, ReplaceRequest(2), [2, 0]),
    (Operation.fault, FaultRequest(FaultKind.cut, (2, 3)), ["cut", [2, 3]]),
    (Operation.fault, FaultRequest(FaultKind.mute, (2,)), ["mute", [2]]),
    (Operation.fault, FaultRequest(FaultKind.slow_disk, ms=20), ["slow_disk", 20]),
    (Operation.fault, FaultRequest(FaultKind.heal), ["heal"]),
]
UNPACK: dict[Operation, Callable[[list[Any]], Packed]] = {
    operation: type(request).unpack  # type: ignore[attr-defined]  # each class has it, typed as itself
    for operation, request, _ in EXAMPLES
}
CLASSES = list({unpack.__qualname__: unpack for unpack in UNPACK.values()}.values())

EXPECTED_ID = "an id of 16 bytes that are not all 0"
WRONG: list[tuple[Operation, list[Any], str]] = [
    (Operation.accounts, [], "1 to 8192 accounts"),
    (Operation.accounts, [ROW] * 8_193, "1 to 8192 accounts"),
    (Operation.accounts, [ROW, ROW[1:]], "[id, currency, minimum, maximum, owner, metadata] an account"),
    (Operation.accounts, [[1, *ROW[1:]]], "id, currency and owner as text"),
    (Operation.accounts, [["a", "EUR", 0.5, None, "", b""]], "limits as integers of minor units, or null"),
    (Operation.accounts, [["a", "EUR", 0, 2**63, "", b""]], "limits as integers of minor units, or null"),
    (Operation.accounts, [["a", "EUR", 0, None, "", "x"]], "metadata as bytes"),
    (Operation.split_account, [ROW], "[id, currency, minimum, maximum, owner, metadata] an account"),
    (Operation.split_account, ["a", "EUR", True, None, "", b""], "limits as integers of minor units, or null"),
    (Operation.update, ["a", {}, ID], "[account id, {field: value}, id, after]"),
    (Operation.update, ["a", [], ID, b""], "[account id, {field: value}, id, after]"),
    (Operation.update, ["a", {}, b"short", b""], EXPECTED_ID),
    (Operation.update, ["a", {}, bytes(16), b""], EXPECTED_ID),
    (Operation.update, ["a", {}, ID, None], "the id that it follows, or a version"),
    (Operation.update, ["a", {"if_version": 0}, ID, None], "the id that it follows, or a version"),
    (Operation.update, ["a", {}, ID, b"short"], "the id that it follows, or a version"),
    (Operation.update, ["a", {"minimum": 0.5}, ID, b""], "minimum as an integer of minor units, or null"),
    (Operation.update, ["a", {"status": 3}, ID, b""], "status as 0, 1 or 2"),
    (Operation.update, ["a", {"owner": b"ann"}, ID, b""], "owner as text"),
    (Operation.update, ["a", {"metadata": "x"}, ID, b""], "metadata as bytes"),
    (Operation.update, ["a", {"if_version": -1}, ID, b""], "if_version as an integer of 0 to 2^64 - 1"),
    (
        Operation.update,
        ["a", {"colour": "red"}, ID, b""],
        "a field of minimum, maximum, status, owner, metadata, if_version, not colour",
    ),
    (Operation.outcome, [b"short", "a"], "[id of 16 bytes, debit account]"),
    (Operation.outcome, [ID], "[id of 16 bytes, debit account]"),
    (Operation.transfer, [ID, 1], "[id of 16 bytes, debit account]"),
    (Operation.trace, [ID, None], '[id of 16 bytes, debit account or ""]'),
    (Operation.find_by_id, [ID, "a"], "[id of 16 bytes]"),
    (Operation.find_by_id, [ID[1:]], "[id of 16 bytes]"),
    (Operation.balances, [], "1 to 1024 account ids"),
    (Operation.balances, ["a"] * 1_025, "1 to 1024 account ids"),
    (Operation.balances, ["a", None], "account ids as text"),
    (Operation.snapshot, ["a"] * 8_193, "1 to 8192 account ids"),
    (Operation.snapshot, [b"a"], "account ids as text"),
    (Operation.history, ["a", None, 1], "[account id, cursor, rows, newest first]"),
    (Operation.history, [1, None, 1, True], "[account id, cursor, rows, newest first]"),
    (Operation.history, ["a", None, 1, True, 0], "the group of a share"),
    (Operation.history, ["a", -1, 1, True], "a cursor from an earlier page, or null"),
    (Operation.history, ["a", None, 0, True], "1 to 1000 rows"),
    (Operation.history, ["a", None, 1_001, True], "1 to 1000 rows"),
    (Operation.history, ["a", None, 1, 1], "newest first as true or false"),
    (Operation.set_allowance, ["a", 5, "UTC", ID], "[account id, minor units or null, time zone, id, after]"),
    (Operation.set_allowance, [1, 5, "UTC", ID, b""], "[account id, minor units or null, time zone, id, after]"),
    (Operation.set_allowance, ["a", 2**63, "UTC", ID, b""], "an integer of minor units, or null"),
    (Operation.set_allowance, ["a", 5, None, ID, b""], "the name of a time zone as text"),
    (Operation.set_allowance, ["a", 5, "UTC", bytes(16), b""], EXPECTED_ID),
    (Operation.set_allowance, ["a", 5, "UTC", ID, None], "the id of the change that it follows, or none"),
    (Operation.allowance, ["a", "b"], "[account id]"),
    (Operation.facts, [], "[shard, kinds, prefix, position, rows, wait_ms]"),
    (Operation.facts, [-1, ["accounts"], "", OLDEST, 1, 0], "a shard of 0 to"),
    (Operation.facts, [1, [], "", OLDEST, 1, 0], "kinds of shard 1, some of accounts, transfers, holds"),
    (Operation.facts, [1, ["locks"], "", OLDEST, 1, 0], "kinds of shard 1, some of accounts, transfers, holds"),
    (Operation.facts, [0, ["accounts"], "", OLDEST, 1, 0], "kinds of group 0, some of locks"),
    (Operation.facts, [1, [{}], "", OLDEST, 1, 0], "kinds of shard 1"),
    (Operation.facts, [1, ["accounts"], "x" * 65, OLDEST, 1, 0], "a prefix of at most 64 bytes"),
    (Operation.facts, [1, ["accounts"], 3, OLDEST, 1, 0], "a prefix of at most 64 bytes"),
    (Operation.facts, [1, ["accounts"], "", "now", 1, 0], "[rows, facts] from 0, oldest or newest as a position"),
    (Operation.facts, [1, ["accounts"], "", [1], 1, 0], "[rows, facts] from 0, oldest or newest as a position"),
    (Operation.facts, [1, ["accounts"], "", [-1, 0], 1, 0], "[rows, facts] from 0, oldest or newest as a position"),
    (Operation.facts, [1, ["accounts"], "", [True, 0], 1, 0], "[rows, facts] from 0, oldest or newest as a position"),
    (Operation.facts, [1, ["accounts"], "", OLDEST, 8_193, 0], "0 to 8192 rows"),
    (Operation.facts, [1, ["accounts"], "", OLDEST, 1, 10_001], "a wait of 0 to 10000 ms"),
    (Operation.audit, [None], "an empty body"),
    (Operation.lock, ["try", "till"], "[action, name, claim, owner, ttl_ms, token, age_ns, ticket]"),
    (Operation.lock, ["take", "t", ID, ID, 1, 0, 0, 0], "an action of acquire, try, renew, release"),
    (Operation.lock, ["try", b"t", ID, ID, 1, 0, 0, 0], "the name of the lock as text"),
    (Operation.lock, ["try", "t", ID, ID, -1, 0, 0, 0], "ttl_ms, token, age_ns and ticket from 0"),
    (Operation.lock, ["try", "t", b"", b"", 1, 0, 0, 0], "a claim and an owner of 16 bytes each"),
    (Operation.replace_node, [1], "[node, data id]"),
    (Operation.replace_node, [1, True], "[node, data id]"),
    (Operation.replace_node, [0, 1], "a node of 1 to"),
    (Operation.fault, ["cut", [0]], '["cut", [node id, ...]], ["mute", [node id, ...]]'),
    (Operation.fault, ["slow_disk", 60_001], '["slow_disk", 0 to 60000] or ["heal"]'),
    (Operation.fault, ["heal", 1], '["slow_disk", 0 to 60000] or ["heal"]'),
]


def test_every_operation_has_its_request() -> None:
    """A batch of transfers is columns."""
    assert {operation for operation, _, _ in EXAMPLES} == set(Operation) - {Operation.transfers}


@pytest.mark.parametrize(("operation", "request_", "body"), EXAMPLES, ids=str)
def test_bodies(operation: Operation, request_: Packed, body: list[Any]) -> None:
    """What travels, to the byte, and what is made of it."""
    packed = frames.pack(request_.pack())
    assert packed == frames.pack(body)
    assert UNPACK[operation](frames.unpack(packed)) == request_


@pytest.mark.parametrize(("operation", "body", "expected"), WRONG, ids=lambda value: str(value)[:60])
def test_a_wrong_body_is_told_what_was_expected(operation: Operation, body: list[Any], expected: str) -> None:
    """By name; what no shape can be judged by is refused by a status."""
    with pytest.raises(ProtocolError) as refused:
        UNPACK[operation](body)
    assert str(refused.value).startswith("expected ") and expected in str(refused.value)
    assert refused.value.code is ErrorCode.bad_message


def test_every_request_refuses_something() -> None:
    """The table above forgets none."""
    known = {UNPACK[operation].__qualname__ for operation, _, _ in WRONG}
    assert known == {unpack.__qualname__ for unpack in CLASSES}


@given(st.sampled_from(EXAMPLES), st.data())
def test_mutated_bodies(example: tuple[Operation, Packed, list[Any]], data: st.DataObject) -> None:
    """With an item of another kind, one more or one less, it is a request that packs alike, or a ProtocolError."""
    operation, _, body = example
    body = [*body]
    place = data.draw(st.integers(0, len(body)))
    body[place : place + 1] = data.draw(st.lists(LEAF | st.lists(LEAF, max_size=2) | st.floats(), max_size=2))
    try:
        request = UNPACK[operation](body)
    except ProtocolError:
        return
    assert frames.pack(request.pack()) == frames.pack(body)


@given(st.lists(LEAF | st.lists(LEAF, max_size=2), max_size=9))
def test_what_is_asked_for_is_guessed_of_any_body(body: list[Any]) -> None:
    """Before it has been checked, for the room that it takes."""
    assert 1 <= HistoryRequest.rows_in(body) <= 1_000
    assert 0 <= FactsRequest.rows_in(body) <= 8_192
    assert isinstance(LockWord.is_wish_in(body), bool)


def test_the_guess_is_right_for_sound_bodies() -> None:
    """So nobody gets more than is counted for."""
    assert HistoryRequest.rows_in(HistoryRequest("a", None, 70, True).pack()) == 70
    assert FactsRequest.rows_in(FactsRequest(1, ["holds"], "", OLDEST, 70, 0).pack()) == 70
    words = {action: LockWord.is_wish_in(LockWord(action, "till", ID, ID).pack()) for action in LockAction}
    assert [action.value for action, is_wish in words.items() if is_wish] == ["acquire", "try"]
    assert all(LockWord(action, "till", ID, ID).is_wish == is_wish for action, is_wish in words.items())


@pytest.mark.parametrize(
    "made", [AccountsRequest([NewAccount(name, "EUR") for name in "abc"]), BalancesRequest([*"abc"])]
)
def test_some_of_the_accounts(made: AccountsRequest | BalancesRequest) -> None:
    """A request of several shards is one for each."""
    assert made.take([2, 0]).pack() == [made.pack()[2], made.pack()[0]]
