"""What `pay` can be told: its commands, their options, and amounts in minor units."""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from node.cli.allowances import add_allowance, read_limit
from node.cli.arguments import (
    UINT32_MAX,
    Parser,
    addresses,
    decimal,
    fail_usage,
    integer,
    make_parser,
    natural,
    positive,
    token,
)
from node.cli.events import add_events
from node.cli.failing import usual_addresses
from node.cli.holding import add_lock, read_outer_owners, split_program
from node.cli.legs import add_transaction, read_legs
from node.cli.output import OutputLost, show
from node.cli.tracing import add_trace
from protocol import ids, metadata, money
from protocol.columns import COMMIT_PROTOCOLS
from protocol.errors import ProtocolError

TIMEOUT_SECONDS = 0.001, 86_400.0  # whoever waits longer has given up
GUIDE = """Moves money from the command line: the client as a command.

Amounts are integers in minor units; with --currency they are decimals of it, such as 12.34 with --currency EUR.

Examples:
  scripts/pay account create world:EUR --minimum-balance none
  scripts/pay account create alice
  scripts/pay transfer world:EUR alice 10000
  scripts/pay hold alice shop 12.34 --currency EUR --ttl 600
  scripts/pay transfer alice shop 500 --if-version 17 --commit 3pc
  scripts/pay transaction legs.json
  scripts/pay history alice -o json
  scripts/pay allowance alice 250.00 --currency EUR --zone Europe/Berlin
  scripts/pay trace 0192f3c4a5b6000102030405060708ff
  scripts/pay lock settlement:bob -- ./settle.sh
  scripts/pay events --follow --kind transfers --prefix shops: -o json

An id keeps its outcome: a payment that was refused stays refused under its id, whatever has changed since. Leave --id out to pay anew.

Exit codes: 0 done, 1 failed or refused, 2 usage, 3 whether it has happened is unknown (it says how to settle it),
4 (status) all shards are led, but a node does not answer or a replica recovers; 5 refused before under
this id; 6 done, but standard output did not take the words; 7 no environment to run in; 130 interrupted.
"""


class PayParser(Parser):
    """The command line of `pay`: with `-o json`, what is wrong with it is a row for programs, as every failure is."""

    def tell_programs(self, message: str) -> None:
        words, _ = split_program(sys.argv[1:])
        if any(word in ("-ojson", "-o=json") for word in words) or ("-o", "json") in pairwise(words):
            with suppress(OutputLost):  # it is told on standard error, too
                show([{"status": "usage", "message": message}], "json")


def parse() -> argparse.Namespace:
    """Options, with amounts in minor units."""
    parser = make_parser(GUIDE.replace("scripts/pay", sys.argv[0]), PayParser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    formed = Parser(add_help=False)
    formed.add_argument("-o", dest="form", choices=("table", "json"), default="table")
    shared = Parser(add_help=False, parents=[formed])
    shared.add_argument(
        "--addresses", type=addresses, default=usual_addresses(),
        help="host:port,... of any nodes (RINGPAY_ADDRESSES, else 127.0.0.1:7101 to 7105)",
    )  # fmt: skip
    shared.add_argument(
        "--cluster", type=cluster_name, default=os.environ.get("RINGPAY_CLUSTER") or None,
        help="NAME or NAME/IDENTITY, as `cluster up` prints it: refuse any other (RINGPAY_CLUSTER, else whichever answers)",
    )  # fmt: skip
    shared.add_argument(
        "--timeout", type=decimal(*TIMEOUT_SECONDS), default=10.0, help="seconds to wait for an answer (10)"
    )
    account = commands.add_parser("account", help="create, show or update an account").add_subparsers(
        dest="account_command", required=True, metavar="create|show|update"
    )
    add_accounts(account, shared)
    add_payments(commands, shared)
    add_questions(commands, shared)
    add_allowance(commands, shared, currency)
    add_trace(commands, shared, parse_id)
    add_lock(commands, shared)
    add_events(commands, shared)
    commands.add_parser("version", help="of this program", parents=[formed])
    arguments, program = split_program(sys.argv[1:])
    options = parser.parse_args(arguments)
    if options.command == "version":
        return options
    options.program, options.token, options.cluster = program, token(parser), options.cluster or ""
    options.outer_owners = read_outer_owners(parser) if options.command == "lock" else {}
    options.change = None  # what to tell of an interrupt while a change is under way
    if options.command == "allowance":
        read_limit(parser, options)
    if options.command == "transfer" and options.amount is None and options.balancing is None:
        parser.error("the following arguments are required: amount, but with --balancing")
    if options.command == "transaction":
        read_legs(parser, options)
    read_amounts(parser, options)
    if getattr(options, "account_command", "") == "update" and not changes_of(options):
        fail_usage(parser, "account update: expected something to change, such as --status frozen")
    return options


def add_accounts(account: Any, shared: argparse.ArgumentParser) -> None:
    """account create, show, update."""
    create = account.add_parser("create", help="open an account", parents=[shared, limits("0", "none")])
    create.add_argument("account")
    create.add_argument(
        "--currency", type=currency, default="EUR", help="ISO 4217 code (EUR); limits are in minor units"
    )
    create.add_argument("--split", action="store_true", help="one part a shard: for an account that everyone pays to")
    show_one = account.add_parser("show", help="balances of one or more accounts, each as of now", parents=[shared])
    show_one.add_argument("account", nargs="+")
    update = account.add_parser(
        "update", help="change limits, owner or status", parents=[shared, limits("as it is", "as it is")]
    )
    update.add_argument("account")
    update.add_argument("--status", choices=("open", "frozen", "closed"))
    update.add_argument("--if-version", type=positive, metavar="VERSION", help="only if the account is at this version")


def limits(minimum: str, maximum: str) -> argparse.ArgumentParser:
    """What an account may have, and what it has unless told."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--minimum-balance", metavar="AMOUNT|none", help=f"how far it may fall ({minimum})")
    parser.add_argument("--maximum-balance", metavar="AMOUNT|none", help=f"how far it may rise ({maximum})")
    parser.add_argument("--owner")
    return parser


def add_payments(commands: Any, shared: argparse.ArgumentParser) -> None:
    """transaction, transfer, hold, capture, void."""
    guarded = argparse.ArgumentParser(add_help=False, parents=[shared])
    guarded.add_argument("--lock", type=parse_lock, metavar="NAME:TOKEN", help="only while it is held by this token")
    guarded.add_argument("--commit", choices=COMMIT_PROTOCOLS, help="between shards (the cluster's own)")
    add_transaction(commands, guarded, currency)
    payment = argparse.ArgumentParser(add_help=False, parents=[guarded])
    payment.add_argument(
        "--id", type=parse_id,
        help="32 hexadecimal digits; with it the same payment, unchanged, can be sent again and happens once "
        "(with another debit account it may happen again); a refused one stays refused",
    )  # fmt: skip
    payment.add_argument("--if-version", type=positive, metavar="VERSION", help="that the debit account must have")
    priced = argparse.ArgumentParser(add_help=False, parents=[payment])
    priced.add_argument(
        "--currency", type=currency, help="read the amount as a decimal of this currency, that of the account"
    )
    priced.add_argument("--reference", default="", help="your own text")
    for name, text in (("transfer", "move money"), ("hold", "put money aside")):
        command = commands.add_parser(name, help=text, parents=[priced])
        command.add_argument("debit")
        command.add_argument("credit")
        command.add_argument("amount", nargs="?" if name == "transfer" else None)
        if name == "transfer":
            command.add_argument(
                "--balancing", choices=("debit", "credit", "both"),
                help="move up to what DEBIT has available, up to what CREDIT is below 0, or up to both; AMOUNT is the limit, if any",
            )  # fmt: skip
        command.add_argument(
            "--metadata", type=parse_metadata, action=Collect, default={}, metavar="KEY=VALUE",
            help="recorded with it, with KEY:=VALUE an integer, true or false; up to 8 times",
        )  # fmt: skip
        command.add_argument("--code", type=integer(0, UINT32_MAX), default=0, help="your own number")
        if name == "transfer":
            command.add_argument(
                "--reverses", type=parse_id, metavar="ID", help="of the transfer that it gives back, or a part of"
            )
        else:
            command.add_argument(
                "--ttl", type=integer(1, UINT32_MAX), default=600, help="seconds until it expires (600)"
            )
    capture = commands.add_parser("capture", help="move money from a hold", parents=[priced])
    capture.add_argument("hold", type=parse_id)
    capture.add_argument("amount", nargs="?", help="all that is left unless given")
    capture.add_argument("--final", action="store_true", help="give the rest back with it")
    void = commands.add_parser("void", help="give back what is left of a hold", parents=[payment])
    void.add_argument("hold", type=parse_id)
    void.add_argument("--amount", help="that the hold must have been opened with")
    void.add_argument("--currency", type=currency, help="read the amount as a decimal of this currency")
    for command in (capture, void):
        command.add_argument("--debit", dest="named_debit", metavar="ACCOUNT", help="that must be the hold's")
        command.add_argument("--credit", dest="named_credit", metavar="ACCOUNT", help="that must be the hold's")


def add_questions(commands: Any, shared: argparse.ArgumentParser) -> None:
    """history, outcome, audit, status."""
    history = commands.add_parser("history", help="an account's transfers", parents=[shared])
    history.add_argument("account")
    history.add_argument("--newest-first", action="store_true")
    history.add_argument("--limit", type=positive, help="of transfers to show (all)")
    outcome = commands.add_parser(
        "outcome", help="settle what became of a transfer: one that has not happened never will", parents=[shared]
    )
    outcome.add_argument("id", type=parse_id)
    outcome.add_argument("--debit", required=True, help="its debit account")
    commands.add_parser("audit", help="add up all books; fails unless they balance", parents=[shared])
    commands.add_parser("status", help="nodes and leaders; asks each node", parents=[shared])


def cluster_name(text: str) -> str:
    """A name, or a name and an identity. Nothing would be a check of nothing."""
    if not text:
        raise argparse.ArgumentTypeError("expected NAME or NAME/IDENTITY")
    return text


def parse_id(text: str) -> int:
    """An id as it is printed."""
    try:
        return ids.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def currency(text: str) -> str:
    """A currency that accounts have been kept in."""
    try:
        money.minor_digits(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


@dataclass(frozen=True)
class Held:
    """A lock as the command line names it."""

    name: str
    token: int


def parse_lock(text: str) -> Held:
    """NAME:TOKEN; the name may hold colons itself."""
    name, _, number = text.rpartition(":")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r:.60}: expected NAME:TOKEN, such as payroll:42")
    return Held(name, natural(number))


def parse_metadata(text: str) -> dict[str, str | int | bool]:
    """KEY=VALUE for text, KEY:=VALUE for an integer, true or false."""
    key, sign, value = text.partition("=")
    is_typed = key.endswith(":")
    found: dict[str, Any] = {key.removesuffix(":"): value}
    if is_typed:
        is_integer = re.fullmatch(r"-?[0-9]{1,19}", value) is not None
        found = {key[:-1]: int(value) if is_integer else {"true": True, "false": False}.get(value)}
    try:
        metadata.pack(found)
    except ProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not sign:
        raise argparse.ArgumentTypeError(
            f"{text!r:.60}: expected a pair KEY=VALUE, or KEY:=VALUE for an integer, true or false"
        )
    return found


class Collect(argparse.Action):
    """Puts together what an option gives each time."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, values: Any, _: Any = None
    ) -> None:
        setattr(options, self.dest, getattr(options, self.dest) | values)


def read_amounts(parser: Parser, options: argparse.Namespace) -> None:
    """Turns the amounts given as text into minor units, None for none; ends the program where that cannot be."""
    for name in ("amount", "minimum_balance", "maximum_balance"):
        text = getattr(options, name, None)
        if text is None:
            continue
        try:
            if name == "amount" and options.currency:
                options.amount = money.parse(text, options.currency)
            elif name == "amount" or text != "none":
                setattr(options, name, money.parse_minor(text))
            else:
                setattr(options, name, None)
            if name == "amount" and options.amount <= 0:
                raise ValueError(f"amount {text[:40]!r}: expected more than 0")
        except ValueError as error:
            fail_usage(parser, str(error) if name == "amount" else f"{name.replace('_', ' ')}: {error}")
        setattr(options, f"has_{name}", True)


def changes_of(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of an account that the command line names."""
    limits = ("minimum_balance", "maximum_balance")
    changes = {name: getattr(options, name) for name in limits if getattr(options, f"has_{name}", False)}
    texts = {name: getattr(options, name, None) for name in ("owner", "status")}
    return changes | {name: text for name, text in texts.items() if text is not None}
