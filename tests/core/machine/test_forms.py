"""Entries and checkpoints of another version: refused with both forms named, before anything of them counts."""

from __future__ import annotations

import msgpack
import pytest

from node.core.ledger import Ledger
from node.core.machine import FORM, TABLE, UnknownForm, check_form, pack_entry
from tests.core.machine.shards import Shard


def of_form(form: int) -> bytes:
    """An entry as that version writes it."""
    packed: bytes = msgpack.packb([form, 1, 1, []])
    return packed


@pytest.mark.parametrize(("form", "age"), [(FORM + 1, "newer"), (FORM - 1, "older"), (127, "newer")])
def test_an_entry_of_another_form_is_named(form: int, age: str) -> None:
    """With what this version knows."""
    with pytest.raises(UnknownForm, match=rf"{age} \(form {form} of entries, this one knows {FORM}\)"):
        check_form(of_form(form))


def test_own_entries_and_empty_ones_pass() -> None:
    """However many requests they hold, and whatever the time."""
    check_form(b"")
    for requests in ([], [[1]] * 20, [[1]] * 70_000):
        check_form(pack_entry(2**62, 2**40, requests))


@pytest.mark.parametrize("older", [-1, 1])
def test_a_checkpoint_of_another_form_is_refused(older: int) -> None:
    """Nothing of it is loaded into a machine that could not go on from it."""
    shard = Shard(Ledger())
    shard.accounts("a")
    shard.save()
    form, *rest = msgpack.unpackb(shard.store[TABLE][0])
    shard.store[TABLE][0] = msgpack.packb([form - older, *rest])
    with pytest.raises(UnknownForm, match=f"form {FORM - older}"):
        shard.restored(Ledger())
