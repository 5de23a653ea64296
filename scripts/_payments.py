"""A day of card payments: read from a file, or generated with the same shape."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = ("time", "customer", "terminal", "amount_cents")
CUSTOMERS = 5_000
TERMINALS = 10_000
GENERATED = 9_600  # payments of a usual day
AMOUNT_MAX = 10_600  # cents; the mean is 53.00
FAVOURITES = 40  # terminals that a customer pays at
DAY_SECONDS = 86_400


class InputError(Exception):
    """What is wrong with the file, or missing to read it."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One row, amounts in cents."""

    time: str
    customer: str
    terminal: str
    amount_cents: int


def generate(seed: int) -> list[Payment]:
    """A day of payments, the same for the same seed: customers return to their favourite terminals."""
    random = np.random.default_rng(seed)
    customers = random.integers(0, CUSTOMERS, GENERATED)
    seconds = np.sort(random.integers(0, DAY_SECONDS, GENERATED))
    favourites = random.integers(0, TERMINALS, (CUSTOMERS, FAVOURITES))
    terminals = favourites[customers, random.integers(0, FAVOURITES, GENERATED)]
    amounts = random.integers(1, AMOUNT_MAX, GENERATED)
    columns = (column.tolist() for column in (seconds, customers, terminals, amounts))
    return [
        Payment(f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}", str(customer), str(terminal), amount)
        for second, customer, terminal, amount in zip(*columns, strict=True)
    ]


def read(path: Path, day: date | None) -> list[Payment]:
    """The payments of one day, the file's first one when none is named, in the file's order. Raises InputError."""
    try:
        rows = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    try:
        times = [value if isinstance(value, datetime) else datetime.fromisoformat(value) for value, *_ in rows]
        wanted = day or (min(times).date() if times else None)
        payments = [
            Payment(time.time().isoformat(), str(customer), str(terminal), int(amount))
            for time, (_, customer, terminal, amount) in zip(times, rows, strict=True)
            if time.date() == wanted
        ]
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if not payments:
        raise InputError(f"{path}: no payments on {wanted}")
    return payments


def _csv(path: Path) -> list[Sequence[Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        _check_columns(path, reader.fieldnames or [])
        return [[row[name] for name in COLUMNS] for row in reader]


def _parquet(path: Path) -> list[Sequence[Any]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise InputError("a Parquet file needs the package pyarrow; a CSV file does not") from error
    try:
        file = parquet.ParquetFile(path)
        _check_columns(path, file.schema_arrow.names)
        table = file.read(columns=list(COLUMNS))
    except ArrowInvalid as error:
        raise InputError(f"{path}: {error}") from error
    return list(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))


def _check_columns(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise InputError(f"{path}: column {missing[0]} is missing; expected {', '.join(COLUMNS)}")
