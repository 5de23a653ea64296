"""The operations that a request can ask for; `requests` has their bodies."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Any

Body = list[Any]
"""Of a request or an answer, as msgpack takes and gives it."""


@unique
class Operation(StrEnum):
    """The `operation` of a request."""

    accounts = "accounts"  # create accounts
    split_account = "split"  # create a split account (`split` is a method of text)
    update = "update"  # change an account's limits, owner, metadata or state
    transfers = "transfers"  # a batch of transfers
    outcome = "outcome"  # settle what became of a transfer whose answer was lost
    balances = "balances"  # read accounts
    history = "history"  # read an account's transfers
    transfer = "transfer"  # read a transfer by its id and debit account
    set_allowance = "set_allowance"  # how much an account may pay out a day
    allowance = "allowance"  # read that, and what it has paid out today
    find_by_id = "find"  # read a transfer by its id alone (`find` is a method of text)
    facts = "facts"  # what has happened in a shard from a position on
    cluster = "cluster"  # members, placement, leaders
    audit = "audit"  # whether the books balance
    snapshot = "snapshot"  # read accounts of several shards at one consistent cut
    trace = "trace"  # what became of a transfer, phase by phase
    undecided = "undecided"  # rounds between shards that are not decided yet
    lock = "lock"  # acquire, renew or release a lock
    replace_node = "replace"  # bring a node back whose data folder is lost (`replace` is a method of text)
    fault = "fault"  # break something on purpose, in a cluster under test


@unique
class PeerOperation(StrEnum):
    """What nodes ask each other only."""

    machine = "machine"  # a request for a group's state machine
    mark = "mark"  # a replica's answer at a cut
    ledger = "ledger"  # a command for one share of a split account
    gather = "gather"  # bring a split account's funds to where they are wanted
    question = "question"  # to a part of a group's machine
    standing = "standing"  # what a node is in a group
    hurry = "hurry"  # somebody waits for a decision in a group
    reach = "reach"  # a ping: how many links other nodes are away from there
    relay = "relay"  # a call to a node that the sender cannot reach itself
    clock = "clock"  # what the node's wall clock shows


PEER_OPERATIONS = tuple(operation.value for operation in PeerOperation)
