"""A node of the cluster: core, ports, actors, adapters and the daemon that puts them together; and the command line, in `cli`."""
