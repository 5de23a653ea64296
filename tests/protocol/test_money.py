"""Currencies and exact amounts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import money
from protocol.money import CURRENCIES, RETIRED_CURRENCIES
from protocol.status import AMOUNT_MAX

ANY_CURRENCY = st.sampled_from([*CURRENCIES, *RETIRED_CURRENCIES])


def test_table_is_that_of_2026() -> None:
    """The latest changes are in: new codes can be used, withdrawn ones only be read."""
    assert all(money.is_currency(code) for code in ("EUR", "XCG", "ZWG", "SLE", "VED"))
    for code in ("HRK", "BGN", "ANG", "ZWL", "CUC", "SLL"):
        assert not money.is_currency(code)
        assert money.minor_digits(code) == 2
    assert not any(money.is_currency(code) for code in ("", "eur", "EURO", "XXX", "XAU", None, 978))
    assert not set(CURRENCIES) & set(RETIRED_CURRENCIES)
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCIES)


@pytest.mark.parametrize(("code", "digits"), [("JPY", 0), ("EUR", 2), ("MGA", 2), ("KWD", 3), ("CLF", 4), ("UYW", 4)])
def test_minor_digits(code: str, digits: int) -> None:
    """Currencies differ in their smallest part."""
    assert CURRENCIES[code] == digits


@given(st.integers(-AMOUNT_MAX, AMOUNT_MAX), ANY_CURRENCY)
def test_text_round_trip(minor: int, currency: str) -> None:
    """Every amount survives its own text."""
    assert money.parse(money.format(minor, currency), currency) == minor


@pytest.mark.parametrize(
    ("text", "minor"), [("12.34", 1234), ("12", 1200), ("12.3", 1230), ("-0.05", -5), ("+1.00", 100), ("007.10", 710)]
)
def test_accepted_texts(text: str, minor: int) -> None:
    """Digits may be left out at the end, never added."""
    assert money.parse(text, "EUR") == minor


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", ".5", "5.", "1.234", "1,5", "1 000", "1e3", "0x1", "--1", "١٢", "1_000", "NaN", " 1", "9" * 30, "²"],
)
def test_refused_texts(text: str) -> None:
    """Anything that is not plainly one exact amount is refused."""
    with pytest.raises(ValueError, match="amount"):
        money.parse(text, "EUR")


@pytest.mark.parametrize(
    ("text", "minor"), [("0", 0), ("1234", 1234), ("-5", -5), ("007", 7), (str(AMOUNT_MAX), AMOUNT_MAX)]
)
def test_accepted_minor_units(text: str, minor: int) -> None:
    """Plain integers."""
    assert money.parse_minor(text) == minor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "+7",
        " 5",
        "5 ",
        "1_000",
        "1.00",
        "1e3",
        "0x1",
        "--1",
        "١٢",
        "²",
        "5\n",
        str(AMOUNT_MAX + 1),
        "9" * 5_000,
    ],
)
def test_refused_minor_units(text: str) -> None:
    """What Python reads as an integer besides plain digits is refused, and so is what the books could not hold."""
    with pytest.raises(ValueError, match="amount"):
        money.parse_minor(text)


def test_range_and_unknown_currency() -> None:
    """The first amount beyond the books' range and an unknown currency are refused."""
    assert money.parse(str(AMOUNT_MAX), "JPY") == AMOUNT_MAX
    with pytest.raises(ValueError, match="at most"):
        money.parse(str(AMOUNT_MAX + 1), "JPY")
    with pytest.raises(ValueError, match="unknown currency"):
        money.format(1, "XXX")


@given(st.text(max_size=30))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text gives anything but an integer or ValueError."""
    try:
        assert isinstance(money.parse(text, "EUR"), int)
    except ValueError:
        pass
