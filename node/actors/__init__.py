"""The actors of a node, one file each, and what they share."""
