"""The command line of `pay`: what its commands declare, put together; amounts in minor units."""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import suppress
from difflib import get_close_matches
from itertools import pairwise

from node.cli.accounts import add_account, changes_of
from node.cli.allowances import add_allowance, read_limit
from node.cli.arguments import Parser, addresses, decimal, fail_usage, make_parser, token
from node.cli.auditing import add_audit
from node.cli.events import add_events
from node.cli.failing import usual_addresses
from node.cli.holding import add_lock, read_outer_owners, split_program
from node.cli.legs import add_transaction, read_legs
from node.cli.output import OutputLost, show
from node.cli.payments import add_outcome, add_payments, guards
from node.cli.questions import add_find, add_history, add_status
from node.cli.tracing import add_trace
from protocol import money

TIMEOUT_SECONDS = 0.001, 86_400.0  # whoever waits longer has given up
GUIDE = """Moves money from the command line: the client as a command.

Amounts are integers in minor units; with --currency they are decimals of it, such as 12.34 with --currency EUR.

With -o json a command prints a list of rows, one of one row, too, and of a failure: jq -r '.[0].id' takes the id of a
payment. Amounts are in minor units there, times in ns. events prints an object a line instead.

Examples:
  scripts/pay account create world:EUR --minimum-balance none
  scripts/pay account create alice
  scripts/pay transfer world:EUR alice 10000
  scripts/pay hold alice shop 12.34 --currency EUR --ttl 600
  scripts/pay transfer alice shop 500 --if-version 17 --commit 3pc
  scripts/pay transaction legs.json
  scripts/pay history alice -o json
  scripts/pay allowance alice 250.00 --currency EUR --zone Europe/Berlin
  scripts/pay find 0192f3c4a5b6000102030405060708ff
  scripts/pay trace 0192f3c4a5b6000102030405060708ff
  scripts/pay lock settlement:bob -- ./settle.sh
  scripts/pay events --follow --kind transfers --prefix shops: -o json

An id keeps its outcome: a payment that was refused stays refused under its id, whatever has changed since. Leave --id out to pay anew.

Exit codes: 0 done, 1 failed or refused, 2 wrong usage, also where a node finds it, 3 whether it has happened is unknown
(it says how to settle it), 4 (status) all shards are led, but a node does not answer or a replica recovers; 5 refused
before under this id; 6 done, but standard output did not take the words; 7 no environment to run in; 130 interrupted.
"""


class PayParser(Parser):
    """The command line of `pay`: with `-o json`, what is wrong with it is a row for programs, as every failure is."""

    def tell_programs(self, message: str) -> None:
        words, _ = split_program(sys.argv[1:])
        if any(word in ("-ojson", "-o=json") for word in words) or ("-o", "json") in pairwise(words):
            with suppress(OutputLost):  # it is told on standard error, too
                show([{"status": "usage", "message": message}], "json")


OPTIONAL_AMOUNTS = {"transfer": "amount", "capture": "amount", "allowance": "limit"}  # the last word of a command


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
    guarded = guards(shared)
    add_account(commands, shared)
    add_transaction(commands, guarded)
    add_payments(commands, guarded)
    add_history(commands, shared)
    add_find(commands, shared)
    add_outcome(commands, shared)
    add_audit(commands, shared)
    add_status(commands, shared)
    add_allowance(commands, shared)
    add_trace(commands, shared)
    add_lock(commands, shared)
    add_events(commands, shared)
    commands.add_parser("version", help="of this program", parents=[formed])
    for command in commands.choices.values():
        command.set_defaults(parser=command)  # which tells of its own options
    arguments, program = split_program(sys.argv[1:])
    options = argparse.Namespace()
    _, left = parser.parse_known_args(arguments, options)  # type: ignore[no-untyped-call]  # overloaded in argparse
    take_amount(options, left)
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


def cluster_name(text: str) -> str:
    """A name, or a name and an identity. Nothing would be a check of nothing."""
    if not text:
        raise argparse.ArgumentTypeError("expected NAME or NAME/IDENTITY")
    return text


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


def take_amount(options: argparse.Namespace, left: list[str]) -> None:
    """What is left over is the amount where one may be left out: argparse finds that only in front of the options."""
    name = OPTIONAL_AMOUNTS.get(options.command)
    if name is not None and getattr(options, name) is None and len(left) == 1 and not left[0].startswith("-"):
        setattr(options, name, left.pop())
    if left:
        known = re.findall(r"--[a-z][a-z-]*", options.parser.format_help())
        similar = [get_close_matches(word.partition("=")[0], known, 1) for word in left if word.startswith("--")]
        meant = ", ".join(word for words in similar for word in words)
        options.parser.error(
            f"unrecognized arguments: {' '.join(left)}" + (f"; did you mean {meant}?" if meant else "")
        )
