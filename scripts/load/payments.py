"""A day of card payments: read from a file, or generated with the same shape."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from protocol.names import found, is_shown
from protocol.status import ACCOUNT_ID_BYTES_MAX, AMOUNT_MAX

COLUMNS = ("time", "customer", "terminal", "amount_cents")
CUSTOMERS = 5_000
TERMINALS = 10_000
GENERATED = 9_600  # payments of a usual day
CENTS_MAX = 10_600  # of a generated payment; the mean is 53.00
FAVOURITES = 40  # terminals that a customer pays at
DAY_SECONDS = 86_400
NAME_BYTES_MAX = ACCOUNT_ID_BYTES_MAX - len("customers:")
CENTS = re.compile(r"[0-9]{1,19}")


class InputError(Exception):
    """What is wrong with the file, or missing to read it."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One row, amounts in cents."""

    time: str
    customer: str
    terminal: str
    amount_cents: int


Row = tuple[str, Sequence[Any]]
"""Where it stands, for a person, and its values in the order of `COLUMNS`."""


def generate(seed: int) -> list[Payment]:
    """A day of payments, the same for the same seed: customers return to their favourite terminals."""
    random = np.random.default_rng(seed)
    customers = random.integers(0, CUSTOMERS, GENERATED)
    seconds = np.sort(random.integers(0, DAY_SECONDS, GENERATED))
    favourites = random.integers(0, TERMINALS, (CUSTOMERS, FAVOURITES))
    terminals = favourites[customers, random.integers(0, FAVOURITES, GENERATED)]
    amounts = random.integers(1, CENTS_MAX, GENERATED)
    columns = (column.tolist() for column in (seconds, customers, terminals, amounts))
    return [
        Payment(f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}", str(customer), str(terminal), amount)
        for second, customer, terminal, amount in zip(*columns, strict=True)
    ]


def read(path: Path, day: date | None) -> list[Payment]:
    """The payments of one day, the file's first one when none is named, in the file's order. Raises InputError.

    Every row of the file is checked, those of other days too.
    """
    try:
        rows = _parquet(path) if path.suffix == ".parquet" else _csv(path)
        read_rows = list(_checked(rows))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    wanted = day or min((time.date() for time, *_ in read_rows), default=None)
    payments = [
        Payment(time.time().isoformat(), payer, payee, cents)
        for time, payer, payee, cents in read_rows
        if time.date() == wanted
    ]
    if not payments:
        raise InputError(f"{path}: no payments on {wanted}" if wanted else f"{path}: no payments")
    return payments


def _checked(rows: Iterable[Row]) -> Iterator[tuple[datetime, str, str, int]]:
    """Each row with its time. Raises ValueError that says where and what."""
    zone = ""
    for place, (time, customer, terminal, amount) in rows:
        moment = _time(place, time)
        here = str(moment.tzinfo or "no zone")
        zone = zone or here
        if here != zone:  # one moment would be of two days
            raise _wrong(place, "time", time, f"a time of the zone that the first row has, {zone}")
        payer, payee = _name(place, "customer", customer), _name(place, "terminal", terminal)
        yield moment, payer, payee, _cents(place, amount)


def _time(place: str, value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)  # type: ignore[arg-type]  # what is no text is told with the rest
    except (TypeError, ValueError):
        raise _wrong(place, "time", value, "a time such as 2018-06-11T09:30:00") from None


def _name(place: str, column: str, value: object) -> str:
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and _is_name(text):
        return text
    if not isinstance(text, str) or not 1 <= len(text.encode(errors="replace")) <= NAME_BYTES_MAX:
        raise _wrong(place, column, value, f"a name of 1 to {NAME_BYTES_MAX} bytes, or an integer")
    raise _wrong(place, column, value, f"a name whose characters all show, not {found(text)}")


@cache
def _is_name(text: str) -> bool:
    return 1 <= len(text.encode(errors="replace")) <= NAME_BYTES_MAX and is_shown(text)


def _cents(place: str, value: object) -> int:
    cents = int(value) if isinstance(value, str) and CENTS.fullmatch(value) else value
    if type(cents) is not int or not 0 <= cents <= AMOUNT_MAX:  # 0 is for the books to refuse
        raise _wrong(place, "amount_cents", value, f"an integer of 0 to {AMOUNT_MAX}, in cents")
    return cents


def _wrong(place: str, column: str, value: object, expected: str) -> ValueError:
    return ValueError(f"{place}, {column} {value!r:.60}: expected {expected}")


def _csv(path: Path) -> Iterator[Row]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")  # programs for spreadsheets put a byte order mark first
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: expected text in UTF-8, got the byte {data[error.start]:#04x}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_columns(header)
        places = [header.index(name) for name in COLUMNS]
        for row in reader:
            if row and len(row) != len(header):  # a line without anything counts for nothing
                raise ValueError(f"line {reader.line_num}: expected {len(header)} fields, got {len(row)}")
            if row:
                yield f"line {reader.line_num}", [row[place] for place in places]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        install = f"{sys.executable} -m pip install pyarrow"
        raise ValueError(f"a Parquet file needs pyarrow, as the package's extra `parquet` has it: {install}") from error
    try:
        file = parquet.ParquetFile(path)
        _check_columns(file.schema_arrow.names)
        table = file.read(columns=list(COLUMNS))
        columns = [table[name].to_pylist() for name in COLUMNS]
    except ArrowException as error:
        raise ValueError(str(error)) from error
    for number, values in enumerate(zip(*columns, strict=True), 1):
        yield f"row {number}", values


def _check_columns(names: Sequence[str]) -> None:
    for name in COLUMNS:
        if names.count(name) != 1:
            fault = "is missing" if name not in names else "is there more than once"
            raise ValueError(f"column {name} {fault}; expected {', '.join(COLUMNS)}")
