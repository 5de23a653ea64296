"""The files of payments that the demo reads: rightly, or refused with the line and the field."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scripts.load.payments import GENERATED, InputError, Payment, generate, read
from tests.e2e.programs import run

HEADER = "time,customer,terminal,amount_cents\n"
ROW = "2026-01-02T03:04:05,a,b,5\n"


def read_bytes(folder: Path, data: bytes) -> list[Payment]:
    """The first day of a CSV file."""
    path = folder / "payments.csv"
    path.write_bytes(data)
    return read(path, None)


def refusal(folder: Path, data: bytes) -> str:
    """What is wrong with a CSV file, behind its path."""
    with pytest.raises(InputError) as caught:
        read_bytes(folder, data)
    return str(caught.value).removeprefix(f"{folder / 'payments.csv'}: ")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("2026-01-02T03:04:05,a,b,19.99", "line 3, amount_cents '19.99': expected an integer of 0 to"),
        ("2026-01-02T03:04:05,a,b,1_999", "line 3, amount_cents '1_999': expected an integer of 0 to"),
        ("2026-01-02T03:04:05,a,b,１９", "line 3, amount_cents '１９': expected an integer of 0 to"),
        ("2026-01-02T03:04:05,a,b, 19", "line 3, amount_cents ' 19': expected an integer of 0 to"),
        ("2026-01-02T03:04:05,a,b,-19", "line 3, amount_cents '-19': expected an integer of 0 to"),
        ("2026-01-02T03:04:05,a,b,9223372036854775807", "line 3, amount_cents '9223372036854775807': expected an"),
        ("2026-01-02T03:04:05,a,b,", "line 3, amount_cents '': expected an integer of 0 to"),
        ("2026-01-02T03:04:05,a,b", "line 3: expected 4 fields, got 3"),
        ("2026-01-02T03:04:05,a,b,1,2", "line 3: expected 4 fields, got 5"),
        ("2026-01-02T03:04:05,,b,1", "line 3, customer '': expected a name of 1 to 54 bytes"),
        (f"2026-01-02T03:04:05,a,{'b' * 55},1", f"line 3, terminal '{'b' * 55}': expected a name of 1 to 54 bytes"),
        ("2026-01-02T03:04:05,a\u200b,b,1", "line 3, customer 'a\\u200b': expected a name whose characters all show, not U+200B"),
        ('2026-01-02T03:04:05,"a\n",b,1', "line 4, customer 'a\\n': expected a name whose characters all show, not U+000A"),
        ("02.01.2026,a,b,1", "line 3, time '02.01.2026': expected a time such as 2018-06-11T09:30:00"),
        ("２０２６-01-02T03:04:05,a,b,1", "line 3, time '２０２６-01-02T03:04:05': expected a time such as"),
        ("2026-01-02T03:04:05Z,a,b,1", "line 3, time '2026-01-02T03:04:05Z': expected a time of the zone that the first row has"),
        ('2026-01-02T03:04:05,"a,b,1', "line 3: unexpected end of data"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(tmp_path: Path, row: str, expected: str) -> None:
    """With its line, the field, what stands there and what was expected."""
    text = refusal(tmp_path, (HEADER + ROW + row + "\n").encode())
    assert text.startswith(expected) and len(text) < 250


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "column time is missing; expected time, customer, terminal, amount_cents"),
        (b"time,customer\n", "column terminal is missing; expected time, customer, terminal, amount_cents"),
        (HEADER.replace(",", ";").encode(), "column time is missing; expected "),
        (b"time,time,customer,terminal,amount_cents\n", "column time is there more than once; expected "),
        (HEADER.encode(), "no payments"),
        ((HEADER + ROW + ROW.replace("a", "käufer")).encode("latin-1"), "line 3: expected text in UTF-8, got the byte 0xe4"),
        ((HEADER + ROW).encode("utf-16"), "line 1: expected text in UTF-8, got the byte 0xff"),
        ((HEADER + ROW).encode() + b"2026-01-02T03:04:05,a\x00,b,1\n", "line 3"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    """Another encoding, other separators, other columns."""
    assert refusal(tmp_path, data).startswith(expected)


@pytest.mark.parametrize(
    "data",
    [
        (HEADER + ROW).encode("utf-8-sig"),
        (HEADER + ROW).replace("\n", "\r\n").encode(),
        ("\n" + ROW + "\n").replace("\n" + ROW, HEADER + "\n" + ROW, 1).encode(),
        (HEADER + ROW).rstrip("\n").encode(),
        b'amount_cents,terminal,extra,customer,time\n5,b,"x\ny",a,2026-01-02T03:04:05\n',
    ],
    ids=["byte order mark", "carriage returns", "empty lines", "no last line end", "other order"],
)
def test_files_of_other_programs_are_read(tmp_path: Path, data: bytes) -> None:
    """What spreadsheets and databases write."""
    assert read_bytes(tmp_path, data) == [Payment("03:04:05", "a", "b", 5)]


def test_days_are_those_of_the_files_zone(tmp_path: Path) -> None:
    """A zone that all rows share is kept: its days are the file's."""
    rows = "2026-01-02T00:30:00+02:00,a,b,5\n2026-01-01T23:30:00+02:00,c,d,6\n"
    assert read_bytes(tmp_path, (HEADER + rows).encode()) == [Payment("23:30:00", "c", "d", 6)]


def write_parquet(path: Path, **columns: list[Any]) -> None:
    """A file of the columns, of what pyarrow takes them for."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"amount_cents": [5, 19.99]}, "row 1, amount_cents 5.0: expected an integer of 0 to"),
        ({"amount_cents": [Decimal("19.99"), Decimal("19.00")]}, "row 1, amount_cents Decimal('19.99'): expected an integer"),
        ({"amount_cents": [5, None]}, "row 2, amount_cents None: expected an integer of 0 to"),
        ({"amount_cents": [True, False]}, "row 1, amount_cents True: expected an integer of 0 to"),
        ({"customer": ["a", None]}, "row 2, customer None: expected a name of 1 to 54 bytes, or an integer"),
        ({"customer": [1.5, 2.0]}, "row 1, customer 1.5: expected a name of 1 to 54 bytes, or an integer"),
        ({"time": [date(2026, 1, 2)] * 2}, "row 1, time datetime.date(2026, 1, 2): expected a time such as"),
    ],
)  # fmt: skip
def test_a_wrong_row_of_parquet_is_named(tmp_path: Path, changed: dict[str, list[Any]], expected: str) -> None:
    """19.99 is not 19, and nothing is not a name."""
    good: dict[str, list[Any]] = {
        "time": [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)] * 2, "customer": [1, 2], "terminal": ["x", "y"], "amount_cents": [5, 6],
    }  # fmt: skip
    path = tmp_path / "payments.parquet"
    write_parquet(path, **good)
    assert read(path, None) == [Payment("03:04:05", "1", "x", 5), Payment("03:04:05", "2", "y", 6)]
    write_parquet(path, **(good | changed))
    with pytest.raises(InputError) as caught:
        read(path, None)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_without_pyarrow_it_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few need it, and it is larger than all the rest."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"extra `parquet` has it: .* -m pip install pyarrow$"):
        read(tmp_path / "payments.parquet", None)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    """Whether pyarrow is there to tell or not; so is one that is not there."""
    path = tmp_path / "payments.parquet"
    path.write_bytes(b"PAR1 but not really")
    for missing in (path, tmp_path / "none.csv"):
        with pytest.raises(InputError, match=r"payments.parquet: |No such file"):
            read(missing, None)


def test_demo_explains_wrong_input(tmp_path: Path) -> None:
    """A file without the columns is refused before anything starts."""
    path = tmp_path / "payments.csv"
    path.write_text("time,customer\n")
    done = run("demo", "--input", str(path))
    assert done.returncode == 2
    assert "terminal is missing" in done.stderr


def test_generated_day_is_the_same_for_the_same_seed() -> None:
    """The generator is seeded, and all its payments are of positive cents."""
    payments = generate(3)
    assert payments == generate(3)
    assert payments != generate(4)
    assert len(payments) == GENERATED
    assert min(payment.amount_cents for payment in payments) > 0


def test_day_of_a_file_is_chosen(tmp_path: Path) -> None:
    """Without a day, the file's first one; an empty day is refused."""
    path = tmp_path / "payments.csv"
    path.write_text(
        "amount_cents,time,customer,terminal\n5,2026-01-02T03:04:05,a,b\n6,2026-01-01T00:00:00,c,d\n", encoding="utf-8"
    )
    assert [payment.amount_cents for payment in read(path, None)] == [6]
    assert [payment.customer for payment in read(path, date(2026, 1, 2))] == ["a"]
    with pytest.raises(InputError, match="no payments on 2025"):
        read(path, date(2025, 1, 1))
