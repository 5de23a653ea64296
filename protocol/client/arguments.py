"""What callers give, checked before anything is sent: one value, or a column of up to 8,192 of them, alike.

Whatever the wire could not carry, or would carry as something else, raises ProtocolError(bad_request), as a BadArgument that says what
was expected.
What only the books can judge travels, to be refused with its status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocol.columns import SEPARATOR, Flag
from protocol.errors import BadArgument
from protocol.ids import ID_BYTES
from protocol.metadata import pack as pack_metadata
from protocol.money import CURRENCIES, RETIRED_CURRENCIES
from protocol.rows import NewAccount
from protocol.status import TRANSFERS_MAX

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
ROW = ("id", "currency", "minimum balance", "maximum balance", "owner", "metadata")


def is_list(value: object) -> bool:
    """A sequence of values, or an array of one dimension: no text or bytes, set or mapping."""
    if isinstance(value, (str, bytes, bytearray, memoryview, Set, Mapping)) or getattr(value, "ndim", 1) != 1:
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def wrong(text: str) -> BadArgument:
    """The error of a caller's mistake."""
    return BadArgument(text)


# -- one value ----------------------------------------------------------------------------------------------------


def check_text(text: object, name: str) -> str:
    """Text that UTF-8 can carry."""
    if not isinstance(text, str):
        raise wrong(f"{name} {text!r:.80}: expected text")
    if not _is_utf8(text):
        raise wrong(f"{name} {text!r:.80}: expected text that UTF-8 can carry, without lone surrogates")
    return text


def _is_utf8(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def one_line(text: object, name: str) -> str:
    """A text of a column."""
    if not isinstance(text, str) or SEPARATOR in text:
        raise wrong(f"{name} {text!r:.80}: expected one line of text")
    return check_text(text, name)


def check_bool(value: object, name: str) -> bool:
    """True or false, and nothing that only counts as one of them."""
    if not isinstance(value, (bool, np.bool_)):
        raise wrong(f"{name} {value!r:.80}: expected true or false")
    return bool(value)


def fixed(name: str, number: object, width: int) -> bytes:
    """An unsigned integer of `width` bytes, little-endian."""
    if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or not 0 <= number < 1 << 8 * width:
        raise wrong(f"{name} {number!r:.80}: expected an integer of 0 to {(1 << 8 * width) - 1}")
    return int(number).to_bytes(width, "little")


def id_bytes(number: object) -> bytes:
    """A transfer id as it travels."""
    return fixed("id", number, ID_BYTES)[::-1]


def check_reversed(id: object) -> int:
    """The id of a transfer that is to be reversed."""
    if not isinstance(id, (int, np.integer)) or isinstance(id, bool) or not 0 < id < 1 << 8 * ID_BYTES:
        raise wrong(f"reverses {id!r:.80}: expected the id of a transfer, or None")
    return int(id)


def clamp(amount: object) -> int:
    """An amount that no ledger takes still travels, to be refused with its status. Only integers are amounts."""
    if not isinstance(amount, (int, np.integer)) or isinstance(amount, bool):
        raise wrong(f"amount {amount!r:.80}: expected an integer of minor units")
    return max(INT64_MIN, min(int(amount), INT64_MAX))


def named_amount(amount: object) -> int:
    """The amount that a void names, 0 for none: one that no hold has must not pass for none."""
    if amount is None:
        return 0
    if (number := clamp(amount)) <= 0:
        raise wrong(f"amount {amount!r:.80}: expected the amount that the hold was opened with, or None for any")
    return number


def check_limit(limit: object, name: str) -> int | None:
    """Minor units, or None for no limit."""
    if limit is None:
        return None
    if not isinstance(limit, (int, np.integer)) or isinstance(limit, bool) or not INT64_MIN <= limit <= INT64_MAX:
        raise wrong(f"{name} {limit!r:.80}: expected an integer of minor units within 64 bits, or None for none")
    return int(limit)


def check_bytes(data: object, name: str) -> bytes:
    """Bytes of the caller's own."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise wrong(f"{name} {data!r:.80}: expected bytes")
    return bytes(data)


def currency_bytes(currency: object, name: str = "currency") -> bytes:
    """A currency as it travels: three letters, or zeros for an empty text, which is any."""
    if currency == "":
        return bytes(3)
    return check_currency(currency, name).encode()


def check_currency(currency: object, name: str) -> str:
    """A code that is, or was, a currency's."""
    if not isinstance(currency, str) or (currency not in CURRENCIES and currency not in RETIRED_CURRENCIES):
        raise wrong(f"{name} {currency!r:.80}: expected an ISO 4217 code such as EUR")
    return currency


# -- lists --------------------------------------------------------------------------------------------------------


def account_ids(ids: Any) -> list[str]:
    """A list of account ids, perhaps none."""
    if not is_list(ids) or len(ids) > TRANSFERS_MAX:
        got = len(ids) if is_list(ids) else f"{ids!r:.80}"
        raise wrong(f"expected a list of at most {TRANSFERS_MAX} account ids, got {got}")
    return [check_text(id, "account") for id in ids]


def account_rows(rows: Any) -> list[NewAccount]:
    """Rows of accounts to be opened."""
    if not is_list(rows) or not len(rows):
        raise wrong(f"accounts: expected rows of ({', '.join(ROW)}), at least one")
    return [_account_row(row, place) for place, row in enumerate(rows)]


def _account_row(row: Any, place: int) -> NewAccount:
    if not is_list(row) or len(row) != len(ROW):
        raise wrong(f"account {place}: expected ({', '.join(ROW)}), got {row!r:.80}")
    id, currency, minimum, maximum, owner, metadata = row
    return NewAccount(
        check_text(id, f"account {place}: id"), check_currency(currency, f"account {place}: currency"),
        check_limit(minimum, f"account {place}: minimum balance"),
        check_limit(maximum, f"account {place}: maximum balance"),
        check_text(owner, f"account {place}: owner"), check_bytes(metadata, f"account {place}: metadata"),
    )  # fmt: skip


# -- columns ------------------------------------------------------------------------------------------------------


def count_of(column: Any, name: str) -> int:
    """How many rows a batch has, by one of its columns."""
    if not is_list(column):
        raise wrong(f"{name}: expected a list, one value a row, got {column!r:.80}")
    if not len(column):
        raise wrong("transfers: expected at least one transfer")
    if len(column) > TRANSFERS_MAX:
        raise wrong(f"transfers: expected at most {TRANSFERS_MAX}, got {len(column)}")
    return len(column)


def _check_count(column: Any, name: str, count: int) -> None:
    if not is_list(column) or len(column) != count:
        got = len(column) if is_list(column) else f"{column!r:.80}"
        raise wrong(f"column {name}: expected a list of {count} values, one a row, got {got}")


def text_column(column: Any, name: str, count: int) -> str:
    """Texts, joined."""
    _check_count(column, name, count)
    try:
        joined = SEPARATOR.join(column)
        if joined.count(SEPARATOR) == count - 1 and _is_utf8(joined):
            return joined
    except TypeError:
        pass  # one by one
    return SEPARATOR.join([one_line(text, f"{name} of row {place}") for place, text in enumerate(column)])


def amount_column(column: Any, count: int) -> bytes:
    """Amounts, as 64-bit integers."""
    _check_count(column, "amount", count)
    if isinstance(column, np.ndarray) and column.dtype.kind in "iu":
        return _packed(np.minimum(column, INT64_MAX) if column.dtype == np.uint64 else column, "<i8")
    if isinstance(column, np.ndarray):
        raise wrong(f"amounts: expected integers of minor units, got {column.dtype}")
    if set(map(type, column)) == {int}:
        try:
            return np.array(column, "<i8").tobytes()
        except OverflowError:
            pass  # one by one
    return np.array([clamp(amount) for amount in column], "<i8").tobytes()


def number_column(column: Any, name: str, count: int, width: int) -> bytes:
    """Unsigned integers of `width` bytes; None for a column that is left out."""
    if column is None:
        return b""
    _check_count(column, name, count)
    numbers = _integers(column)
    if numbers is not None and int(numbers.min()) >= 0 and not int(numbers.max()) >> 8 * width:
        return _packed(numbers, f"<u{width}")
    values = column.tolist() if isinstance(column, np.ndarray) else column  # members of enums, too, and numpy's own
    return b"".join(fixed(f"{name} of row {place}", number, width) for place, number in enumerate(values))


def _integers(column: Any) -> NDArray[Any] | None:
    """Of plain integers of 64 bits, at once; None where they have to be looked at one by one."""
    if isinstance(column, np.ndarray):
        return column if column.dtype.kind in "iu" else None
    try:
        return np.array(column, np.int64) if set(map(type, column)) == {int} else None
    except OverflowError:
        return None


def _packed(column: NDArray[Any], kind: str) -> bytes:
    return np.ascontiguousarray(column).astype(kind, copy=False).tobytes()


def currency_column(currency: Any, count: int) -> bytes:
    """One currency for all rows, or one a row, empty for any; None for a column that is left out."""
    if currency is None:
        return b""
    if isinstance(currency, str):
        return currency_bytes(currency) * count
    _check_count(currency, "currency", count)
    return b"".join([currency_bytes(each, f"currency of row {place}") for place, each in enumerate(currency)])


def metadata_column(metadata: Any, count: int) -> str:
    """Metadata for all rows, or one a row, perhaps empty; None for a column that is left out."""
    if metadata is None:
        return ""
    if isinstance(metadata, Mapping):
        return SEPARATOR.join([pack_metadata(metadata)] * count)
    _check_count(metadata, "metadata", count)
    return SEPARATOR.join(map(pack_metadata, metadata))


def reversal_columns(reverses: Any, flags: Any, count: int) -> tuple[bytes, bytes]:
    """The ids that rows reverse, 0 for none, and the flags with those of reversals."""
    kinds = number_column(flags, "flags", count, 2)
    if reverses is None:
        return b"", kinds
    _check_count(reverses, "reverses", count)
    ids = b"".join([fixed(f"reverses of row {place}", id, ID_BYTES)[::-1] for place, id in enumerate(reverses)])
    are_some = (np.frombuffer(ids, np.uint64).reshape(-1, 2) != 0).any(axis=1)
    bits = np.frombuffer(kinds, "<u2") if kinds else np.zeros(count, "<u2")
    return ids, (bits | are_some.astype("<u2") * np.uint16(Flag.reversal)).astype("<u2").tobytes()


def id_column(ids: bytes | Sequence[int], count: int) -> bytes:
    """Transfer ids, packed or as integers."""
    if not isinstance(ids, bytes):
        _check_count(ids, "ids", count)
        return b"".join(map(id_bytes, ids))
    if len(ids) != ID_BYTES * count:
        raise wrong(f"ids: expected {ID_BYTES} bytes for each of {count} rows, got {len(ids)}")
    return ids
