"""`ringpay`, or `python -m node.cli`: the command line where the package is installed."""

from __future__ import annotations

import sys
from typing import NoReturn

from node.cli.program import start


def main() -> NoReturn:
    """Runs `pay` under the package's name."""
    sys.argv[0] = "ringpay"
    start("node.cli.pay")


if __name__ == "__main__":
    main()
