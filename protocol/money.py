"""Currencies and exact amounts: text such as "12.34" to and from integers in minor units. No float anywhere.

The table is ISO 4217 as in force in 2026 (Bulgaria in the euro, the Caribbean guilder and the Zimbabwe Gold in). Codes
without a minor unit (metals, bond units, SDR, XTS, XXX) are left out: an amount in them has no smallest part to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from protocol.status import AMOUNT_MAX

_TEXT_CHARACTERS_MAX: Final = 24  # a sign, the 19 digits of AMOUNT_MAX, a point and leading zeros to spare

_ACTIVE_CODES: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
       AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY
       COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
       INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR
       MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
       STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
       """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_RETIRED_CODES: Final = {0: "BYR", 2: "ANG BGN CUC EEK HRK LTL LVL MRO SLL STD VEF ZWL"}


def _table(codes_by_digits: Mapping[int, str]) -> Mapping[str, int]:
    pairs = [(code, digits) for digits, codes in codes_by_digits.items() for code in codes.split()]
    return MappingProxyType(dict(sorted(pairs)))


CURRENCIES: Final = _table(_ACTIVE_CODES)
"""Currencies that an account can be opened in: code -> digits after the decimal point."""

RETIRED_CURRENCIES: Final = _table(_RETIRED_CODES)
"""Currencies that were withdrawn: old entries keep them, new accounts cannot be opened in them."""


def is_currency(code: object) -> bool:
    """Whether an account can be opened in this currency."""
    return isinstance(code, str) and code in CURRENCIES


def minor_digits(currency: str) -> int:
    """Digits after the decimal point, for active and retired currencies. Raises ValueError for any other text."""
    digits = CURRENCIES.get(currency, RETIRED_CURRENCIES.get(currency))
    if digits is None:
        raise ValueError(f"unknown currency {currency!r}: expected an ISO 4217 code such as EUR")
    return digits


def parse(text: str, currency: str) -> int:
    """Minor units of a decimal text such as "12.34" or "-5".

    A text with more digits after the point than the currency has, separators, spaces, an exponent or a value beyond
    plus or minus 2**62 - 1 raises ValueError, saying what was expected: nothing is ever rounded.
    """
    digits = minor_digits(currency)
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    whole, point, fraction = unsigned.partition(".")
    plain = whole.isdecimal() and (fraction.isdecimal() if point else True)
    if len(text) > _TEXT_CHARACTERS_MAX or not text.isascii() or not plain:
        raise ValueError(f"amount {text[:40]!r}: expected digits such as {format(1234, currency)}")
    if len(fraction) > digits:
        raise ValueError(f"amount {text!r}: {currency} has {digits} digits after the point")
    minor = int(whole + fraction.ljust(digits, "0"))
    if minor > AMOUNT_MAX:
        raise ValueError(f"amount {text!r}: at most {format(AMOUNT_MAX, currency)}")
    return -minor if text[0] == "-" else minor


def parse_minor(text: str) -> int:
    """Minor units of an integer text such as "1234" or "-5": ASCII digits alone, within plus or minus 2**62 - 1, else ValueError."""
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"amount {text[:40]!r}: expected an integer in minor units, such as 1234")
    if len(text) > _TEXT_CHARACTERS_MAX or int(digits) > AMOUNT_MAX:
        raise ValueError(f"amount {text[:40]!r}: at most {AMOUNT_MAX}")
    return int(text)


def format(minor: int, currency: str) -> str:
    """The decimal text of an amount in minor units, with all the digits of the currency: the inverse of `parse`."""
    digits = minor_digits(currency)
    padded = str(abs(minor)).rjust(digits + 1, "0")
    text = f"{padded[:-digits]}.{padded[-digits:]}" if digits else padded
    return f"-{text}" if minor < 0 else text
