"""What a call of the client cannot be: told before anything is sent, with what was expected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from protocol.client import Client
from protocol.errors import ErrorCode, ProtocolError

CALLS: list[tuple[Callable[[Client], Awaitable[object]], str]] = [
    (lambda client: client.transfer("a", "b", 1, id="01a2"), "id '01a2': expected an integer of 0 to"),  # type: ignore[arg-type]
    (lambda client: client.transfer("a", "b", 1, id=2**128), "expected an integer of 0 to"),
    (lambda client: client.transfer("a", "b", 1, code=-1), "code -1: expected"),
    (lambda client: client.transfer("a", "b", 1, lock="payroll"), "lock 'payroll': expected one that"),  # type: ignore[arg-type]
    (lambda client: client.transfer(None, "b", 1), "debit None: expected one line"),  # type: ignore[arg-type]
    (lambda client: client.transfer("a", "b\nc", 1), "credit 'b\\nc': expected one line"),
    (lambda client: client.transfer_many([], [], []), "expected at least one transfer"),
    (lambda client: client.hold("a", "b", 1, ttl=-1), "ttl -1: expected"),
    (lambda client: client.hold("a", "b", 1, ttl=1.5), "ttl 1.5: expected"),  # type: ignore[arg-type]
    (lambda client: client.capture("x", 1), "id 'x': expected"),  # type: ignore[arg-type]
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
    with pytest.raises(ProtocolError) as raised:
        await call(Client("127.0.0.1:1", timeout=0.2))
    assert raised.value.code is ErrorCode.bad_request and expected in str(raised.value)
