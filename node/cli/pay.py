"""`pay`: its version, or one of its commands, which is imported with this module: until then an interrupt ends all at once."""

from __future__ import annotations

import sys

from node.cli.output import say
from protocol import __version__

if sys.argv[1:] == ["version"]:  # it is told where a package is missing, too

    def main() -> int:
        """The exit code."""
        say(f"ringpay {__version__}")
        return 0
else:
    from node.cli.commands import run as main

__all__ = ["main"]
