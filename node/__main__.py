"""`python -m node --config cluster.toml --node 1 --data .cluster/node-1`: runs one node until SIGTERM or SIGINT."""

import sys

# structlog loads it, where it is there, to draw tracebacks on terminals: that takes an eighth of the time to load a node.
sys.modules["rich"] = None  # type: ignore[assignment]  # which makes it count as missing

from node.start import main  # noqa: E402  # after that

sys.exit(main(sys.argv[1:]))
