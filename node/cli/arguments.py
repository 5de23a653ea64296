"""What stands in a command line or in the environment, read strictly: text in UTF-8, ASCII digits, within named bounds."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from node.cli.output import program_name
from protocol import ids, money
from protocol.columns import SEPARATOR
from protocol.status import ACCOUNT_ID_BYTES_MAX

EXIT_USAGE = 2
NUMBER_MAX = 2**63 - 1  # of counters, seeds, versions and tokens
UINT32_MAX = 2**32 - 1
PORT_MAX = 65_535  # TCP's
INTEGER = re.compile(r"[0-9]{1,19}")
DECIMAL = re.compile(r"[0-9]{1,19}(\.[0-9]{0,19})?|\.[0-9]{1,19}")
TOKEN_CHARACTERS_MAX = 256  # beyond, it would not fit a greeting
TOKEN_VARIABLE = "RINGPAY_TOKEN"  # noqa: S105 - a name; it says who asks


class Parser(argparse.ArgumentParser):
    """A command line whose every word is text."""

    def tell_programs(self, message: str) -> None:
        """For a program that speaks to other programs: what is wrong, on standard output."""

    def error(self, message: str) -> NoReturn:
        """Tells what is wrong and ends the program."""
        self.tell_programs(message)
        super().error(message)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]  # overloaded there
        """As argparse does it, once all words are known to be UTF-8."""
        words = sys.argv[1:] if args is None else args
        for word in words:
            if not is_text(word):
                self.error(f"argument {word!r}: expected text in UTF-8")
        return super().parse_known_args(words, namespace)


def make_parser(guide: str, kind: type[Parser] = Parser) -> Parser:
    """The command line of the program that runs, which explains itself with the guide."""
    summary, _, details = guide.partition("\n\n")
    return kind(
        prog=sys.argv[0], description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def is_text(word: str) -> bool:
    """Whether it was UTF-8: other bytes come as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in word)


def integer(low: int, high: int = NUMBER_MAX) -> Callable[[str], int]:
    """Reads an integer within the bounds, which are not negative; both belong to them."""

    def read(text: str) -> int:
        if not INTEGER.fullmatch(text) or not low <= int(text) <= high:
            expected = f"of {low} or more, of 63 bits" if high == NUMBER_MAX else f"of {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r:.60}: expected an integer {expected}")
        return int(text)

    return read


def decimal(low: float, high: float) -> Callable[[str], float]:
    """Reads a number within the bounds, which are not negative; both belong to them."""

    def read(text: str) -> float:
        if not DECIMAL.fullmatch(text) or not low <= float(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r:.60}: expected a number of {low:.6g} to {high:.9g}")
        return float(text)

    return read


positive, natural = integer(1), integer(0)


def parse_id(text: str) -> int:
    """An id as it is printed."""
    try:
        return ids.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def account_id(text: str) -> str:
    """An account id of a length that one can have; which characters it may have is judged where it is new."""
    if not 1 <= len(text.encode()) <= ACCOUNT_ID_BYTES_MAX or SEPARATOR in text:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80}: expected an account id of 1 to {ACCOUNT_ID_BYTES_MAX} bytes, in one line"
        )
    return text


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


def addresses(text: str) -> str:
    """host:port,... as the client takes it."""
    for address in text.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not INTEGER.fullmatch(port) or not 1 <= int(port) <= PORT_MAX:
            raise argparse.ArgumentTypeError(f"{address!r:.60}: expected host:port, the port from 1 to {PORT_MAX}")
    return text


def token_text(text: str) -> str:
    """A token that is to be set."""
    if not 1 <= len(text) <= TOKEN_CHARACTERS_MAX or not text.isprintable():
        raise argparse.ArgumentTypeError(f"expected a token of 1 to {TOKEN_CHARACTERS_MAX} printable characters")
    return text


def token(parser: Parser) -> str:
    """The client's token of the environment; empty where there is none."""
    text = os.environ.get(TOKEN_VARIABLE, "")
    if not is_text(text):
        fail_usage(parser, f"{TOKEN_VARIABLE}: expected text in UTF-8")
    return text


def fail_usage(parser: Parser, text: str) -> NoReturn:
    """One sentence without the list of options: for what is wrong inside a word."""
    parser.tell_programs(text)
    parser.exit(EXIT_USAGE, f"{program_name()}: {text}\n")
