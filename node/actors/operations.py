"""The operations of a request: what shape their body must have, which accounts decide where they go, and which are work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from node.actors.admission import Demand
from node.actors.faults import check_fault
from node.core.locks import LockAction
from protocol.columns import Transfers
from protocol.errors import ProtocolError
from protocol.operations import Operation
from protocol.placement import NODES_MAX, SHARDS_MAX
from protocol.status import ACCOUNT_ID_BYTES_MAX, BALANCES_MAX, HISTORY_ROWS_MAX, TRANSFERS_MAX


def _check(condition: bool, expected: str) -> None:
    if not condition:
        raise ProtocolError(f"expected {expected}")


def _is_id(value: object) -> bool:
    return type(value) is bytes and len(value) == 16


def _is_limit(value: object) -> bool:
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)


ACCOUNT_BYTES = 1_280  # a row of an account at its longest: id, owner, metadata and a dozen numbers
ENTRY_BYTES = 320  # a row of history at its longest: two account ids, a reference and six numbers
SEARCH_BYTES = 64 << 10  # for which a look into the record counts beside what it finds: segments take their time
ROUNDS_BYTES = 1 << 20  # what is undecided, at its longest; an audit is counted for as much
SHARDS_ASKED = 4  # for so many searches one that goes through all shards is counted: most look into memory only

LIMIT = (_is_limit, "an integer of minor units, or null")
FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "minimum": LIMIT,
    "maximum": LIMIT,
    "status": (lambda value: type(value) is int and 0 <= value <= 2, "0, 1 or 2"),
    "owner": (lambda value: type(value) is str, "text"),
    "metadata": (lambda value: type(value) is bytes, "bytes"),
    "if_version": (lambda value: type(value) is int and 0 <= value < 2**64, "an integer of 0 to 2^64 - 1"),
}
"""What an update may change: which values, and in words."""


def check_accounts(body: list[Any]) -> None:
    """`[[id, currency, minimum, maximum, owner, metadata], ...]`."""
    _check(1 <= len(body) <= TRANSFERS_MAX, f"1 to {TRANSFERS_MAX} accounts")
    for row in body:
        _check(type(row) is list and len(row) == 6, "[id, currency, minimum, maximum, owner, metadata] an account")
        identifier, currency, minimum, maximum, owner, metadata = row
        _check(all(type(text) is str for text in (identifier, currency, owner)), "id, currency and owner as text")
        _check(_is_limit(minimum) and _is_limit(maximum), "limits as integers of minor units, or null")
        _check(type(metadata) is bytes, "metadata as bytes")


def check_split(body: list[Any]) -> None:
    """`[id, currency, minimum, maximum, owner, metadata]`."""
    check_accounts([body])


def check_update(body: list[Any]) -> None:
    """`[account id, {field: value}, id, id of the update that it follows]`."""
    _check(len(body) == 4 and type(body[0]) is str and type(body[1]) is dict, "[account id, {field: value}, id, after]")
    _check(_is_id(body[2]) and any(body[2]), "an id of 16 bytes that are not all 0, another one for each update")
    is_after = body[3] == b"" or _is_id(body[3])
    _check(is_after or (body[3] is None and bool(body[1].get("if_version"))), "the id that it follows, or a version")
    for name, value in body[1].items():
        _check(name in FIELDS, f"a field of {', '.join(FIELDS)}, not {name}")
        holds, expected = FIELDS[name]
        _check(holds(value), f"{name} as {expected}")


def check_transfers(body: list[Any]) -> None:
    """`Transfers.pack()`. Names that no account can have would be kept in the record, so their length is bounded, if only in sum."""
    batch = Transfers.unpack(body)
    short = len(batch) * (ACCOUNT_ID_BYTES_MAX + 1)
    expected = f"account ids of at most {ACCOUNT_ID_BYTES_MAX} bytes"
    _check(len(batch.debit) < short and len(batch.credit) < short, expected)


def check_outcome(body: list[Any]) -> None:
    """`[id, debit account]`."""
    _check(len(body) == 2 and _is_id(body[0]) and type(body[1]) is str, "[id of 16 bytes, debit account]")


def check_balances(body: list[Any]) -> None:
    """`[account id, ...]`, each read by itself, so that more of them are several requests."""
    _check_ids(body, BALANCES_MAX)


def check_snapshot(body: list[Any]) -> None:
    """`[account id, ...]`, read at one cut."""
    _check_ids(body, TRANSFERS_MAX)


def _check_ids(body: list[Any], most: int) -> None:
    _check(1 <= len(body) <= most, f"1 to {most} account ids")
    _check(all(type(identifier) is str for identifier in body), "account ids as text")


def check_history(body: list[Any]) -> None:
    """`[account id, cursor or null, rows, newest first]`, and the group of a split account's part."""
    _check(len(body) in (4, 5) and type(body[0]) is str, "[account id, cursor, rows, newest first]")
    _check(len(body) == 4 or (type(body[4]) is int and 0 < body[4] <= SHARDS_MAX), "the group of a part")
    _check(body[1] is None or (type(body[1]) is int and body[1] >= 0), "a cursor from an earlier page, or null")
    _check(type(body[2]) is int and 1 <= body[2] <= HISTORY_ROWS_MAX, f"1 to {HISTORY_ROWS_MAX} rows")
    _check(type(body[3]) is bool, "newest first as true or false")


def check_find(body: list[Any]) -> None:
    """`[id]` of a transfer whose debit account is not known."""
    _check(len(body) == 1 and _is_id(body[0]), "[id of 16 bytes]")


def check_trace(body: list[Any]) -> None:
    """`[id, debit account or ""]`."""
    _check(len(body) == 2 and _is_id(body[0]) and type(body[1]) is str, '[id of 16 bytes, debit account or ""]')


def check_lock(body: list[Any]) -> None:
    """`[action, name, claim, owner, ttl_ms, token, age_ns, ticket]`."""
    _check(len(body) == 8, "[action, name, claim, owner, ttl_ms, token, age_ns, ticket]")
    action, name, claim, owner, *numbers = body
    _check(action in tuple(LockAction), f"an action of {', '.join(LockAction)}")
    _check(type(name) is str, "the name of the lock as text")
    _check(
        all(type(number) is int and 0 <= number < 2**63 for number in numbers),
        "ttl_ms, token, age_ns and ticket from 0",
    )
    is_named = _is_id(claim) and _is_id(owner)
    is_by_token = action == LockAction.renew and claim == b"" and owner == b""
    _check(is_named or is_by_token, "a claim and an owner of 16 bytes each")


def check_replace(body: list[Any]) -> None:
    """`[node, data id of the lost folder, or 0]`."""
    _check(len(body) == 2 and all(type(number) is int for number in body), "[node, data id]")
    _check(0 < body[0] <= NODES_MAX and 0 <= body[1] < 2**63, f"a node of 1 to {NODES_MAX}, and a data id from 0")


def check_nothing(body: list[Any]) -> None:
    """An empty body."""
    _check(body == [], "an empty body")


def _first_of_each(body: list[Any]) -> list[str]:
    return [row[0] for row in body]


def _both_sides(body: list[Any]) -> list[str]:
    batch = Transfers.unpack(body)
    return [*batch.debits(), *batch.credits()]


def _is_always(_: list[Any]) -> bool:
    return True


def _is_never(_: list[Any]) -> bool:
    return False


def _nothing(_: list[Any]) -> int:
    return 0


def _bytes_of_accounts(body: list[Any]) -> int:
    return ACCOUNT_BYTES * len(body)


def _bytes_of_page(body: list[Any]) -> int:
    rows = body[2] if len(body) > 2 and type(body[2]) is int else 1
    return SEARCH_BYTES + ENTRY_BYTES * max(1, min(rows, HISTORY_ROWS_MAX))


def _bytes_of_search(_: list[Any]) -> int:
    return SEARCH_BYTES


def _bytes_of_searches(_: list[Any]) -> int:
    return SHARDS_ASKED * SEARCH_BYTES


def _bytes_of_survey(_: list[Any]) -> int:
    return ROUNDS_BYTES


def _is_wish(body: list[Any]) -> bool:
    return bool(body) and body[0] in (LockAction.acquire, LockAction.get_at_once)


@dataclass(frozen=True, slots=True)
class Handling:
    """How an operation's body is checked, and which account ids of a checked body decide where it goes.

    `is_work` says of an unchecked body whether an overloaded node may refuse it: it takes a place in a log or a queue. Reads
    are no work, nor is what gives back a place. `answer_bytes` says what the answer to a read may weigh, and stands for its time, too.
    """

    check: Callable[[list[Any]], None]
    accounts: Callable[[list[Any]], list[str]]
    is_work: Callable[[list[Any]], bool] = _is_never
    answer_bytes: Callable[[list[Any]], int] = _nothing


OPERATIONS: dict[str, Handling] = {
    Operation.accounts: Handling(check_accounts, _first_of_each, _is_always),
    Operation.split_account: Handling(check_split, lambda _: [], _is_always),
    Operation.update: Handling(check_update, lambda body: body[:1], _is_always),
    Operation.transfers: Handling(check_transfers, _both_sides, _is_always),
    Operation.outcome: Handling(check_outcome, lambda body: body[1:], _is_always),
    Operation.balances: Handling(check_balances, lambda body: body, _is_never, _bytes_of_accounts),
    Operation.history: Handling(
        check_history, lambda body: body[:1] if len(body) == 4 else [], _is_never, _bytes_of_page
    ),
    Operation.transfer: Handling(check_outcome, lambda body: body[1:], _is_never, _bytes_of_search),
    Operation.find_by_id: Handling(check_find, lambda _: [], _is_never, _bytes_of_searches),
    Operation.cluster: Handling(check_nothing, lambda _: []),
    Operation.audit: Handling(check_nothing, lambda _: [], _is_never, _bytes_of_survey),
    Operation.snapshot: Handling(check_snapshot, lambda _: [], _is_never, _bytes_of_accounts),
    Operation.trace: Handling(check_trace, lambda _: [], _is_never, _bytes_of_searches),
    Operation.undecided: Handling(check_nothing, lambda _: [], _is_never, _bytes_of_survey),
    Operation.lock: Handling(check_lock, lambda _: [], _is_wish),
    Operation.replace_node: Handling(check_replace, lambda _: []),
    Operation.fault: Handling(check_fault, lambda _: []),
}


def demand_of(operation: str, body: list[Any], frame_bytes: int) -> Demand:
    """What a request takes, of which nothing has been checked yet."""
    handling = OPERATIONS.get(operation)
    if handling is None:
        return Demand(frame_bytes, is_work=False)
    return Demand(frame_bytes, handling.is_work(body), handling.answer_bytes(body))
