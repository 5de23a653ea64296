"""Reads the command line of `pay`, connects a client, runs one command."""

from __future__ import annotations

from node.cli.accounts import account
from node.cli.allowances import allowance
from node.cli.auditing import show_audit
from node.cli.events import events
from node.cli.failing import tell
from node.cli.holding import hold_lock
from node.cli.legs import transaction
from node.cli.options import parse
from node.cli.output import show
from node.cli.payments import capture, outcome, transfer, void
from node.cli.questions import find, history, status
from node.cli.tracing import show_trace
from protocol import __version__
from protocol.client import connect
from protocol.errors import RingpayError

COMMANDS = {
    "account": account, "transfer": transfer, "hold": transfer, "capture": capture, "void": void,
    "history": history, "find": find, "outcome": outcome, "audit": show_audit, "status": status, "trace": show_trace,
    "lock": hold_lock, "allowance": allowance, "transaction": transaction, "events": events,
}  # fmt: skip

LASTING = ("lock", "events")  # run as long as they like


def run() -> int:
    """The exit code."""
    options = parse()
    if options.command == "version":
        show([{"version": __version__}], options.form)
        return 0
    try:
        within = None if options.command in LASTING else options.timeout
        with connect(
            options.addresses, timeout=options.timeout, within=within, token=options.token, cluster=options.cluster
        ) as client:
            return COMMANDS[options.command](client, options)
    except RingpayError as error:
        return tell(error, options)
    except KeyboardInterrupt:
        if options.change is None:
            raise
        return tell(options.change, options)
