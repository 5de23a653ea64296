"""The operations that a request can ask for; PROTOCOL.md gives their bodies."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Operation(StrEnum):
    """The `operation` of a request."""

    accounts = "accounts"  # create accounts
    update = "update"  # change an account's limits, owner, metadata or state
    transfers = "transfers"  # a batch of transfers
    outcome = "outcome"  # settle what became of a transfer whose answer was lost
    balances = "balances"  # read accounts
    history = "history"  # read an account's transfers
    transfer = "transfer"  # read a transfer by its id and debit account
    find_by_id = "find"  # read a transfer by its id alone (`find` is a method of text)
    cluster = "cluster"  # members, placement, leaders
    audit = "audit"  # whether the books balance
