"""`pay`: tells its version, or runs one of its commands."""

from __future__ import annotations

import sys

from node.cli.output import say
from protocol import __version__


def main() -> int:
    """The exit code."""
    if sys.argv[1:] == ["version"]:  # it is told where a package is missing, too
        say(f"ringpay {__version__}")
        return 0
    from node.cli.commands import run

    return run()
