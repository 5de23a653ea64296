"""`pay transaction`: legs that happen together or not at all, read from a file or from standard input."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

from node.cli import shown
from node.cli.arguments import Parser, currency, fail_usage
from node.cli.failing import changing
from node.cli.output import show
from node.cli.payments import check_currency, debit_of_hold
from protocol import ids, money
from protocol.client import Hold, SyncClient, Transfer
from protocol.client.legs import KINDS, Known, check_ids, pack_legs
from protocol.errors import OutcomeUnknown, ProtocolError, RingpayError
from protocol.status import TRANSFERS_MAX

GUIDE = """LEGS is a file, or - for standard input, with a JSON list of 1 to 8,192 legs. A leg is an object with its kind:

  [{"kind": "capture", "hold": "0192f3c4a5b6000102030405060708ff", "amount": 2500, "final": true},
   {"kind": "transfer", "debit": "shop", "credit": "fees", "amount": 75, "reference": "fee"},
   {"kind": "hold", "debit": "alice", "credit": "shop", "amount": 900, "ttl": 600},
   {"kind": "void", "hold": "0192f3c4a5b600010203040506070900"}]

A transfer may be balancing (debit, credit or both), with its amount as the limit, if any; a capture without an amount takes
all that is left. A transfer may name what it reverses. A transfer or hold may have a code, a reference, a currency that both accounts
must have, metadata (an object) and an if_version, a capture a reference and an if_version, a capture or
void the debit and credit account of its hold, to be checked, a void also the amount. With an id for each leg (32 hexadecimal
digits) the same file can be sent again and happens once. Amounts are minor units; with --currency they are decimals of it, as
text. What is refused is told with the place of its leg, counted from 0.
"""
BYTES_MAX = 16 << 20  # of the file: four times what 8,192 legs take


@dataclass(frozen=True)
class Read:
    """A leg of the file."""

    kind: str
    leg: Known
    id: int | None


def add_transaction(commands: Any, guarded: argparse.ArgumentParser) -> None:
    """Declares `pay transaction`; `guarded` has what all payments may demand."""
    command = commands.add_parser(
        "transaction", help="transfers, holds, captures and voids, all or none", parents=[guarded], epilog=GUIDE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("legs", metavar="LEGS")
    command.add_argument(
        "--currency", type=currency, help="read amounts as decimals of this currency, that of all accounts"
    )


def read_legs(parser: Parser, options: argparse.Namespace) -> None:
    """Puts the legs in place of their file's name; ends the program where they cannot be."""
    try:
        options.legs = [_leg(place, row, options.currency) for place, row in enumerate(_rows(options.legs))]
    except ValueError as error:
        fail_usage(parser, str(error))
    without = [place for place, read in enumerate(options.legs) if read.id is None]
    if without and len(without) < len(options.legs):
        fail_usage(parser, f"leg {without[0]}: expected an id, as other legs have one, or none for all")
    try:
        pack_legs([read.leg for read in options.legs])
        if not without:
            check_ids([read.id for read in options.legs], len(options.legs))
    except ProtocolError as error:
        fail_usage(parser, str(error))


def _rows(name: str) -> list[Any]:
    try:
        data = sys.stdin.buffer.read(BYTES_MAX + 1) if name == "-" else _file(name)
        found = json.loads(data, object_pairs_hook=_object) if len(data) <= BYTES_MAX else None
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror or error}: expected a file of legs, or -") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: expected a JSON list of legs: {error}") from error
    if not isinstance(found, list) or not 1 <= len(found) <= TRANSFERS_MAX:
        got = len(found) if isinstance(found, list) else "something else"
        raise ValueError(f"{name}: expected a JSON list of 1 to {TRANSFERS_MAX} legs, got {got}")
    return found


def _file(name: str) -> bytes:
    with Path(name).open("rb") as file:
        return file.read(BYTES_MAX + 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a name that comes twice: nobody could tell which was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        doubled = next(name for place, (name, _) in enumerate(pairs) if name in [other for other, _ in pairs[:place]])
        raise ValueError(f"{doubled!r:.40} is given twice: expected each name once")
    return found


def _leg(place: int, row: Any, currency: str | None) -> Read:
    """Raises ValueError that says what was expected."""
    kind = row.get("kind") if isinstance(row, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"leg {place}: expected an object with a kind of {', '.join(KINDS)}, got {json.dumps(row):.80}"
        )
    known = {field.name: field for field in fields(KINDS[kind]) if field.name != "_"}
    given = {name: value for name, value in row.items() if name not in ("kind", "id")}
    wrong = [name for name in given if name not in known]
    lacking = [name for name, field in known.items() if field.default is MISSING and name not in given]
    if wrong or lacking:
        what = f"without {wrong[0]!r:.40}" if wrong else f"with {lacking[0]}"
        raise ValueError(f"leg {place}: expected a {kind} {what}; it has {', '.join(map(_shown, known.values()))}")
    try:
        for name in ("hold", "reverses"):
            if given.get(name) is not None:
                given[name] = _id(given[name])
        if given.get("amount") is not None and currency is not None:
            given["amount"] = money.parse(_text(given["amount"]), currency)
        return Read(kind, KINDS[kind](**given), None if row.get("id") is None else _id(row["id"]))
    except ValueError as error:
        raise ValueError(f"leg {place}: {error}") from error


def _shown(field: Field[Any]) -> str:
    return field.name if field.default is MISSING else f"[{field.name}]"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'amount {value!r:.40}: with --currency expected a decimal as text, such as "12.34"')
    return value


def _id(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40}: expected an id of 32 hexadecimal digits")
    return ids.parse(value)


def transaction(client: SyncClient, options: argparse.Namespace) -> int:
    """`pay transaction`: legs that happen together or not at all. Returns the exit code; raises RingpayError."""
    legs = [read.leg for read in options.legs]
    numbers = [client.new_id() if read.id is None else read.id for read in options.legs]
    options.debit = _debit(client, legs[0])
    if options.currency is not None:
        _check_currencies(client, options, legs)
    with changing(options, OutcomeUnknown(numbers, "interrupted", "transaction")):
        receipt = client.transaction(legs, ids=numbers, lock=options.lock, commit=options.commit)
        amounts = _amounts(client, options, [leg.amount for leg in receipt.legs])
        accepted = zip(options.legs, receipt.legs, amounts, strict=True)
        rows = [
            {"leg": place, "kind": read.kind, "id": ids.format(leg.id), "status": leg.status.name, "amount": amount}
            for place, (read, leg, amount) in enumerate(accepted)
        ]
        show(rows, options.form)
    return 0


def _amounts(client: SyncClient, options: argparse.Namespace, moved: list[int | None]) -> list[Any]:
    """Minor units for programs, decimals for people; nothing for a void, and where nodes do not say in time."""
    if options.form == "json":
        return list(moved)
    try:
        currencies = _currencies(client, options)
    except RingpayError:  # it has happened all the same
        return [None] * len(moved)
    return [
        None if number is None else shown.amount(number, currency)
        for number, currency in zip(moved, currencies, strict=True)
    ]


def _currencies(client: SyncClient, options: argparse.Namespace) -> list[str]:
    if options.currency is not None:
        return [options.currency] * len(options.legs)
    debits = [read.leg.debit or _debit(client, read.leg) for read in options.legs]
    named = list(dict.fromkeys(debits))
    accounts = dict(zip(named, client.accounts(named), strict=True))
    return ["" if (account := accounts[debit]) is None else account.currency for debit in debits]


def _debit(client: SyncClient, leg: Known) -> str:
    """The account by which the first id, and so the whole, is settled."""
    return leg.debit if isinstance(leg, Transfer | Hold) else debit_of_hold(client, leg.hold)


def _check_currencies(client: SyncClient, options: argparse.Namespace, legs: list[Known]) -> None:
    """Of all debit accounts that are named; the books hold the others to theirs."""
    for account in dict.fromkeys([options.debit, *(leg.debit for leg in legs if leg.debit is not None)]):
        check_currency(client, account, options.currency)
