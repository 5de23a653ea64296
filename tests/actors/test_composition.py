"""Parts that cannot stand beside each other: told at the start, by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.actors.operations import Operations
from node.core.allowances import Allowances
from node.core.ledger import Ledger
from node.core.machine import Machine
from node.core.splits import Splits
from protocol.operations import Operation


def test_two_parts_of_one_name() -> None:
    """Nobody could tell whose a command is."""
    with pytest.raises(ValueError, match="two parts of one name: ledger"):
        Machine([Ledger(), Allowances(), Ledger()])


def test_two_parts_with_one_table() -> None:
    """Each would restore the other's rows."""

    class Copying(Splits):
        name = "copying"

    with pytest.raises(ValueError, match="two tables of one name: split"):
        Machine([Splits(), Copying()])


def test_two_operations_of_one_name() -> None:
    """Of two parts, or one that the cluster as a whole serves."""
    (operation, *_) = Allowances.operations
    with pytest.raises(ValueError, match="two operations of one name: set_allowance"):
        Operations([operation, operation])
    with pytest.raises(ValueError, match="two operations of one name: audit"):
        Operations([replace(operation, name=Operation.audit)])
