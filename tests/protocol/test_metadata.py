"""Metadata of a transfer: one text for what is alike, and for nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import metadata
from protocol.errors import ErrorCode, ProtocolError
from tests.protocol.wire_examples import LEAF

TEXT = st.text(max_size=12)
VALUES = st.one_of(TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans())
METADATA = st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=4)


@given(METADATA, st.randoms(use_true_random=False))
def test_one_text(given_one: dict[str, Any], random: Any) -> None:
    """In whatever order the keys come; it is read back as it was, types too, in one line."""
    items = list(given_one.items())
    random.shuffle(items)
    text = metadata.pack(dict(items))
    assert text == metadata.pack(given_one) and "\n" not in text
    found = metadata.unpack(text)
    assert found == given_one and [type(value) for value in found.values()] == [type(given_one[key]) for key in found]
    assert [key.encode() for key in found] == sorted(key.encode() for key in given_one)
    metadata.check(text)


@given(st.one_of(TEXT, st.from_regex(r'\{"[a-c]": ?[0-9tf"]{1,3}(,"[a-c]":1)?\}', fullmatch=True)))
def test_any_other_text_is_refused(text: str) -> None:
    """What passes is what its content is packed as."""
    try:
        metadata.check(text)
    except ProtocolError as error:
        assert error.code is ErrorCode.bad_request
    else:
        assert metadata.pack(metadata.unpack(text)) == text


@given(st.one_of(LEAF, st.dictionaries(st.one_of(TEXT, st.integers()), LEAF, max_size=10)))
def test_anything_is_packed_or_refused(value: Any) -> None:
    """The error is the caller's."""
    try:
        text = metadata.pack(value)
    except ProtocolError as error:
        assert error.code is ErrorCode.bad_request and "expected" in str(error)
    else:
        assert metadata.unpack(text) == value


REFUSED: list[tuple[Any, str]] = [
    ([], "metadata []: expected a mapping of at most 8 keys"),
    ({str(number): 1 for number in range(9)}, "expected a mapping of at most 8 keys"),
    ({"": 1}, "key '': expected text of 1 to 32 bytes"),
    ({"ä" * 17: 1}, "expected text of 1 to 32 bytes"),
    ({5: 1}, "key 5: expected text of 1 to 32 bytes"),
    ({"a": "ä" * 33}, "expected text of up to 64 bytes, an integer of 64 bits, true or false"),
    ({"a": "\ud800"}, "expected text of up to 64 bytes"),
    ({"a": 1.5}, "a 1.5: expected text of up to 64 bytes, an integer of 64 bits, true or false"),
    ({"a": None}, "a None: expected text"),
    ({"a": 2**63}, "an integer of 64 bits"),
    ({"a": {"b": 1}}, "an integer of 64 bits"),
    ({str(number): "x" * 64 for number in range(4)}, "metadata of 285 bytes: expected at most 256 bytes as JSON"),
]


@pytest.mark.parametrize(("value", "expected"), REFUSED, ids=[expected for _, expected in REFUSED])
def test_what_it_may_not_be(value: Any, expected: str) -> None:
    """The error says what would have been right."""
    with pytest.raises(ProtocolError) as raised:
        metadata.pack(value)
    assert raised.value.code is ErrorCode.bad_request and expected in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ["{}", "null", "5", "[1]", '{"a": 1}', '{"b":1,"a":1}', '{"a":1,"a":1}', '{"a":1.0}', '{"a":-0}', '{"a":null}', '{"a":NaN}',
     '{"a":"\\u00e4"}', '{"a":"\\ud800"}', '{"a":1', "[" * 256, "[" * 10_000, '{"a":' + "9" * 255 + "}", "x" * 300],
)  # fmt: skip
def test_texts_that_are_not_the_one(text: str) -> None:
    """JSON of another form, or of something else."""
    with pytest.raises(ProtocolError, match=r"metadata .* an object in JSON, keys in order and no blanks"):
        metadata.check(text)
