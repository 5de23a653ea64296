"""What stands in a command line or in the environment, read strictly: ASCII digits, within the bounds that an option has."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_USAGE = 2
NUMBER_MAX = 2**63 - 1  # fits every counter and every seed
PORT_MAX = 65_535  # TCP's
SECONDS_MAX = 31_536_000  # a year: whoever waits longer has mistyped
INTEGER = re.compile(r"-?[0-9]{1,40}")
DECIMAL = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)(e-?[0-9]+)?", re.ASCII)
TOKEN_VARIABLE = "RINGPAY_TOKEN"  # noqa: S105 - a name: it says who asks


class Parser(argparse.ArgumentParser):
    """A command line whose every word is text: what is not UTF-8 reaches nobody."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse does it, once all words are known to be text."""
        words = sys.argv[1:] if args is None else args
        for word in words:
            if not is_text(word):
                self.error(f"argument {word!r}: expected text in UTF-8")
        return super().parse_known_args(words, namespace)


def make_parser(name: str, guide: str) -> Parser:
    """A command line that explains itself with the script's docstring."""
    summary, _, details = guide.partition("\n\n")
    return Parser(prog=name, description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)


def is_text(word: str) -> bool:
    """Whether it was UTF-8: bytes that are not come as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in word)


def integer(low: int = -NUMBER_MAX, high: int = NUMBER_MAX) -> Callable[[str], int]:
    """Reads an integer within the bounds; both belong to them."""

    def read(text: str) -> int:
        value = int(text) if INTEGER.fullmatch(text) else None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r:.60}: expected an integer {_between(low, high)}")
        return value

    return read


def decimal(low: float, high: float) -> Callable[[str], float]:
    """Reads a number above `low` and of `high` at most."""

    def read(text: str) -> float:
        value = float(text) if DECIMAL.fullmatch(text) else math.nan
        if not low < value <= high:
            raise argparse.ArgumentTypeError(f"{text!r:.60}: expected a number above {low:g}, {high:g} at most")
        return value

    return read


def _between(low: int, high: int) -> str:
    if high == NUMBER_MAX:
        return "of 64 bits" if low == -NUMBER_MAX else f"of {low} or more, of 64 bits"
    return f"of {low} to {high}"


positive, natural, seed = integer(1), integer(0), integer(0)


def token(parser: argparse.ArgumentParser) -> str:
    """The client's token from the environment; none is empty."""
    text = os.environ.get(TOKEN_VARIABLE, "")
    if not is_text(text):
        fail_usage(parser, f"{TOKEN_VARIABLE}: expected text in UTF-8")
    return text


def fail_usage(parser: argparse.ArgumentParser, text: str) -> NoReturn:
    """One sentence without the list of options, for what is wrong inside a word."""
    parser.exit(EXIT_USAGE, f"{parser.prog}: error: {text}\n")
