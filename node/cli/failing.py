"""How `pay` tells what has failed: in a sentence on standard error, and for programs in a row as well."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from node.cli.arguments import EXIT_USAGE
from node.cli.output import EXIT_FAILED, OutputLost, complain, program_name, show
from node.cli.program import ENDS
from protocol import ids
from protocol.errors import (
    Busy,
    CursorTooOld,
    ErrorCode,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    RingpayError,
    Unreachable,
)
from protocol.status import AccountStatus, AllowanceStatus, LockStatus, Status

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXIT_UNKNOWN = 3
EXIT_REFUSED_BEFORE = 5
MALFORMED = frozenset(
    status.name
    for status in (
        Status.id_must_not_be_zero, Status.id_must_not_be_int_max, Status.hold_id_must_not_be_zero, Status.hold_id_must_be_different,
        Status.accounts_must_be_different, Status.hold_must_have_ttl, Status.ttl_too_long, Status.reference_too_long,
        AccountStatus.id_must_not_be_empty, AccountStatus.id_too_long, AccountStatus.id_has_invalid_characters,
        AccountStatus.currency_unknown, AccountStatus.balance_limit_out_of_range, AccountStatus.owner_too_long,
        AccountStatus.metadata_too_large, AllowanceStatus.amount_out_of_range, AllowanceStatus.time_zone_unknown,
        LockStatus.lock_name_must_not_be_empty, LockStatus.lock_name_too_long, LockStatus.lock_name_has_invalid_characters,
        LockStatus.lock_ttl_out_of_range,
    )
)  # fmt: skip
"""Refusals of what a command says, not of what the books hold: wrong usage, as if the command line had refused it."""
ADDRESSES = ",".join(f"127.0.0.1:{port}" for port in range(7101, 7106))


def usual_addresses() -> str:
    """Where the nodes are unless --addresses says otherwise."""
    return os.environ.get("RINGPAY_ADDRESSES") or ADDRESSES


@contextmanager
def changing(options: argparse.Namespace, unknown: OutcomeUnknown) -> Iterator[None]:
    """What is inside changes something: an interrupt until it has been shown is told as `unknown`, and a failure names its id."""
    options.change = unknown
    yield
    options.change = None


def tell(error: RingpayError, options: argparse.Namespace) -> int:
    """Says why; of what may have happened how to settle it, of a repeat how to pay anew. The exit code."""
    row = subject_of(options) | {"status": status_of(error)}
    code, text, is_shown = EXIT_FAILED, str(error), options.form == "json"
    if isinstance(error, OutcomeUnknown):
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)  # the id must be told
        code, text, is_shown = EXIT_UNKNOWN, f"{error}; settle it with: {shlex.join(settling(options, row))}", True
    elif isinstance(error, Unreachable) and options.addresses == ADDRESSES and program_name() == "pay":
        text += "; if no cluster runs here, scripts/cluster up starts one"
    elif isinstance(error, Refused) and error.is_repeat:
        command = shlex.join([sys.argv[0], *_without_id(sys.argv[1:])])
        code, text = EXIT_REFUSED_BEFORE, f"{row['id']}: {error}: {command}"
    elif is_usage(error):
        code = EXIT_USAGE
    complain(text)
    if options.form == "json":
        row |= {"message": str(error)} | repeat_of(error)
        if isinstance(error, Refused) and error.leg is not None:
            row["leg"] = error.leg
        if isinstance(error, CursorTooOld):
            row["oldest"] = error.oldest
    if is_shown:
        with suppress(OutputLost):  # it has been told
            show([row], options.form)
    return code


def subject_of(options: argparse.Namespace) -> dict[str, Any]:
    """The account or the id that a command is about."""
    if isinstance(account := getattr(options, "account", None), str):
        return {"account": account}
    id = options.change.id if options.change is not None else getattr(options, "id", None)
    return {} if id is None else {"id": ids.format(id)}


def is_usage(error: RingpayError) -> bool:
    """Whether the command itself is wrong, and not what it met: a node may say so, too."""
    match error:
        case CursorTooOld():
            return False
        case ProtocolError():
            return error.code is ErrorCode.bad_request
        case Refused():
            return error.status in MALFORMED
        case _:
            return False


def status_of(error: RingpayError) -> str:
    """In one word."""
    match error:
        case Refused():
            return error.status
        case CursorTooOld():
            return "cursor_too_old"
        case ProtocolError():
            return error.code.value
        case OutcomeUnknown():
            return "outcome_unknown"
        case Busy():
            return "busy"
        case _:
            return "unreachable"


def repeat_of(error: RingpayError) -> dict[str, Any]:
    """Whether a refusal had been one before, and since when."""
    if not isinstance(error, Refused):
        return {}
    first = error.first_refused_at
    first_ns = None if first is None else (first - EPOCH) // timedelta(microseconds=1) * 1_000
    return {"is_repeat": error.is_repeat, "first_refused_ns": first_ns}


def settling(options: argparse.Namespace, row: dict[str, Any]) -> list[str]:
    """The command that tells what has become of it."""
    if "account" in row:
        command = [sys.argv[0], "account", "show", row["account"]]
    else:
        command = [sys.argv[0], "outcome", row["id"], f"--debit={options.debit}"]
    if options.addresses != usual_addresses():
        command.append(f"--addresses={options.addresses}")
    if options.cluster != os.environ.get("RINGPAY_CLUSTER", ""):
        command.append(f"--cluster={options.cluster}")
    return command


def _without_id(arguments: Sequence[str]) -> list[str]:
    left = [argument for argument in arguments if not argument.startswith("--id=")]
    while "--id" in left:
        place = left.index("--id")
        del left[place : place + 2]
    return left
