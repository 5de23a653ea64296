"""`python -m node --config cluster.toml --node 1 --data .cluster/node-1`: runs one node until SIGTERM or SIGINT."""

import sys

from node.start import main

sys.exit(main(sys.argv[1:]))
