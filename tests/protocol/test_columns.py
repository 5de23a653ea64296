"""Batches of transfers as columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames
from protocol.columns import Flag, Transfers
from protocol.errors import ErrorCode, ProtocolError
from protocol.status import TRANSFERS_MAX
from tests.protocol.wire_examples import LEAF


def batch_of(count: int, optional: bool = True) -> Transfers:
    def numbers(kind: str) -> bytes:
        return np.arange(1, count + 1).astype(kind).tobytes()

    ids = b"".join(number.to_bytes(16, "big") for number in range(1, count + 1))
    debit = "\n".join(f"users:{number}" for number in range(count))
    credit = "\n".join(f"shops:{number}" for number in range(count))
    if not optional:
        return Transfers(ids, debit, credit, numbers("<i8"))
    reference = "\n".join(f"order {number}" for number in range(count))
    return Transfers(ids, debit, credit, numbers("<i8"), numbers("<u2"), numbers("<u4"), reference, ids, numbers("<u4"))


BATCHES = st.builds(batch_of, st.integers(1, 20), st.booleans())


@given(BATCHES)
def test_round_trip(batch: Transfers) -> None:
    """A batch survives the wire."""
    assert Transfers.unpack(frames.unpack(frames.pack(batch.pack()))) == batch


@given(st.lists(BATCHES, min_size=1, max_size=4))
def test_concatenate_and_take_are_inverse(batches: list[Transfers]) -> None:
    """What was put together can be taken apart again, defaults written out."""
    whole = Transfers.concatenate(batches)
    assert Transfers.unpack(whole.pack()) == whole
    start = 0
    for batch in batches:
        part = whole.take(np.arange(start, start + len(batch)))
        assert (part.ids, part.debits(), part.credits()) == (batch.ids, batch.debits(), batch.credits())
        assert part.amounts().tolist() == batch.amounts().tolist()
        assert part.flag_bits().tolist() == batch.flag_bits().tolist()
        assert part.reference.replace("\n", "") == batch.reference.replace("\n", "")
        start += len(batch)


@given(BATCHES, st.data())
def test_any_wrong_column_gives_protocol_error_only(batch: Transfers, data: st.DataObject) -> None:
    """A column of another type or length is a valid batch or a ProtocolError(bad_request)."""
    row: list[Any] = batch.pack()
    place = data.draw(st.integers(0, len(row)))
    values: list[Any] = data.draw(st.lists(LEAF, max_size=2))
    row[place : place + 1] = values
    try:
        Transfers.unpack(row)
    except ProtocolError as error:
        assert error.code == ErrorCode.bad_request


@pytest.mark.parametrize(
    "row", [None, 5, "text", [], [b""] * 3, [b""] * 10, [b""] * 30, [b"", "", "", b""], [1, 2, 3, 4]]
)
def test_refused_shapes(row: object) -> None:
    """No list of columns, too few, too many or no rows."""
    with pytest.raises(ProtocolError, match="transfers"):
        Transfers.unpack(row)


def test_row_limit() -> None:
    """The largest batch passes, one row more does not."""
    assert len(Transfers.unpack(batch_of(TRANSFERS_MAX).pack())) == TRANSFERS_MAX
    with pytest.raises(ProtocolError, match="1 to 8192 rows"):
        Transfers.unpack(batch_of(TRANSFERS_MAX + 1).pack())


def test_defaults() -> None:
    """Optional columns that are left out are zero."""
    batch = batch_of(3, optional=False)
    assert len(batch.pack()) == 4
    assert batch.flag_bits().tolist() == [Flag.none] * 3
