"""The operations of a request: what shape their body must have, and which accounts decide where they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocol.columns import Transfers
from protocol.errors import ProtocolError
from protocol.status import TRANSFERS_MAX

HISTORY_ROWS_MAX = 1_000  # a page: one segment's worth of work at the most, well under a frame


def _check(condition: bool, expected: str) -> None:
    if not condition:
        raise ProtocolError(f"expected {expected}")


def _is_id(value: object) -> bool:
    return type(value) is bytes and len(value) == 16


def _is_limit(value: object) -> bool:
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)


def check_accounts(body: list[Any]) -> None:
    """`[[id, currency, minimum, maximum, owner, metadata], ...]`."""
    _check(1 <= len(body) <= TRANSFERS_MAX, f"1 to {TRANSFERS_MAX} accounts")
    for row in body:
        _check(type(row) is list and len(row) == 6, "[id, currency, minimum, maximum, owner, metadata] an account")
        identifier, currency, minimum, maximum, owner, metadata = row
        _check(all(type(text) is str for text in (identifier, currency, owner)), "id, currency and owner as text")
        _check(_is_limit(minimum) and _is_limit(maximum), "limits as integers of minor units, or null")
        _check(type(metadata) is bytes, "metadata as bytes")


def check_update(body: list[Any]) -> None:
    """`[id, {field: value}]`."""
    _check(len(body) == 2 and type(body[0]) is str and type(body[1]) is dict, "[id, {field: value}]")
    kinds: dict[str, Callable[[object], bool]] = {
        "minimum": _is_limit,
        "maximum": _is_limit,
        "status": lambda value: type(value) is int and 0 <= value <= 2,
        "owner": lambda value: type(value) is str,
        "metadata": lambda value: type(value) is bytes,
    }
    for name, value in body[1].items():
        _check(name in kinds, f"a field of {', '.join(kinds)}, not {name}")
        _check(kinds[name](value), f"another value for {name}")


def check_transfers(body: list[Any]) -> None:
    """`Transfers.pack()`."""
    Transfers.unpack(body)


def check_outcome(body: list[Any]) -> None:
    """`[id, debit account]`."""
    _check(len(body) == 2 and _is_id(body[0]) and type(body[1]) is str, "[id of 16 bytes, debit account]")


def check_balances(body: list[Any]) -> None:
    """`[account id, ...]`."""
    _check(1 <= len(body) <= TRANSFERS_MAX, f"1 to {TRANSFERS_MAX} account ids")
    _check(all(type(identifier) is str for identifier in body), "account ids as text")


def check_history(body: list[Any]) -> None:
    """`[account id, cursor or null, rows, newest first]`."""
    _check(len(body) == 4 and type(body[0]) is str, "[account id, cursor, rows, newest first]")
    _check(body[1] is None or (type(body[1]) is int and body[1] >= 0), "a cursor from an earlier page, or null")
    _check(type(body[2]) is int and 1 <= body[2] <= HISTORY_ROWS_MAX, f"1 to {HISTORY_ROWS_MAX} rows")
    _check(type(body[3]) is bool, "newest first as true or false")


def check_find(body: list[Any]) -> None:
    """`[id]` of a transfer whose debit account is not known."""
    _check(len(body) == 1 and _is_id(body[0]), "[id of 16 bytes]")


def check_nothing(body: list[Any]) -> None:
    """An empty body."""
    _check(body == [], "an empty body")


def _first_of_each(body: list[Any]) -> list[str]:
    return [row[0] for row in body]


def _both_sides(body: list[Any]) -> list[str]:
    batch = Transfers.unpack(body)
    return [*batch.debits(), *batch.credits()]


@dataclass(frozen=True, slots=True)
class Operation:
    """How an operation's body is checked, and which account ids of a checked body decide where it goes."""

    check: Callable[[list[Any]], None]
    accounts: Callable[[list[Any]], list[str]]


OPERATIONS: dict[str, Operation] = {
    "accounts": Operation(check_accounts, _first_of_each),
    "update": Operation(check_update, lambda body: body[:1]),
    "transfers": Operation(check_transfers, _both_sides),
    "outcome": Operation(check_outcome, lambda body: body[1:]),
    "balances": Operation(check_balances, lambda body: body),
    "history": Operation(check_history, lambda body: body[:1]),
    "transfer": Operation(check_outcome, lambda body: body[1:]),
    "find": Operation(check_find, lambda _: []),
    "cluster": Operation(check_nothing, lambda _: []),
    "audit": Operation(check_nothing, lambda _: []),
}
