"""The ledger."""

from node.core.ledger.ledger import Ledger

__all__ = ["Ledger"]
