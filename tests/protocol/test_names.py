"""Names: two that look alike to a person are not two."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.expected import expected_of_name
from protocol.names import found, is_shown
from protocol.status import AccountStatus, LockStatus


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("alice\u200b", "U+200B ZERO WIDTH SPACE as character 6"),
        ("\ufeffalice", "U+FEFF ZERO WIDTH NO-BREAK SPACE as character 1"),
        ("al\u00adice", "U+00AD SOFT HYPHEN as character 3"),
        ("alice\x00", "U+0000 of category Cc as character 6"),
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE as character 2"),
        ("\u3164", "U+3164 HANGUL FILLER as character 1"),
        ("\u115fa", "U+115F HANGUL CHOSEONG FILLER as character 1"),
        ("\uffa0", "U+FFA0 HALFWIDTH HANGUL FILLER as character 1"),
        ("❤\ufe0f", "U+FE0F VARIATION SELECTOR-16 as character 2"),
        ("葛\U000e0100", "U+E0100 VARIATION SELECTOR-17 as character 2"),
        ("\u2800", "U+2800 BRAILLE PATTERN BLANK as character 1"),
        ("a\u034f", "U+034F COMBINING GRAPHEME JOINER as character 2"),
        ("a\ue000", "U+E000 of category Co as character 2"),
        ("a\U000e0fff", "U+E0FFF of category Cn as character 2"),
        ("a\ud800", "U+D800 of category Cs as character 2"),
        ("a\u3000b", "U+3000 IDEOGRAPHIC SPACE as character 2"),
        ("a\u2028b", "U+2028 LINE SEPARATOR as character 2"),
        ("a b", "a space"),
        ("ka\u0308ufer", "'ka\\u0308ufer', which is 'k\\xe4ufer' in NFC"),
        ("\u212b", "'\\u212b', which is '\\xc5' in NFC"),
    ],
)
def test_what_hides_is_named(name: str, what: str) -> None:
    """A person is told the character that cannot be seen."""
    assert not is_shown(name) and found(name) == what
    assert expected_of_name(AccountStatus.id_has_invalid_characters, name).endswith(f"; got {what}")


@pytest.mark.parametrize(
    "name", ["accounts:00000001", "{käufer}:EUR", "商店", "हिन्दी", "магазин", "한국", "😀", "~", "a\u0331"]
)
def test_names_of_all_scripts_are_taken(name: str) -> None:
    """Marks that have no letter of their own with them are in NFC as they are."""
    assert is_shown(name) and found(name) == ""


@pytest.mark.parametrize(
    ("name", "is_taken"), [("a b", True), (" a", False), ("a ", False), (" ", False), ("a\tb", False)]
)
def test_names_of_locks_may_have_spaces_inside(name: str, is_taken: bool) -> None:
    """At an end nobody sees them."""
    assert is_shown(name, spaces=True) == is_taken == (not found(name, spaces=True))
    assert ("; got " in expected_of_name(LockStatus.lock_name_has_invalid_characters, name)) == (not is_taken)


@given(st.text(max_size=8))
def test_what_is_refused_is_explained(name: str) -> None:
    """And what is taken is not; a name that is taken is the only one of its normal form."""
    assert is_shown(name) == (not found(name))
    if is_shown(name):
        assert unicodedata.normalize("NFC", name) == name


def test_nothing_that_unicode_lets_be_ignored_is_taken() -> None:
    """All that a display may leave out: formats, fillers, selectors, and what is reserved for more of them."""
    ranges = (
        "00AD 034F 061C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F FEFF FFA0 FFF0-FFF8 "
        "1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
    )  # the property Default_Ignorable_Code_Point
    for text in ranges.split():
        first, _, last = text.partition("-")
        codes = range(int(first, 16), int(last or first, 16) + 1)
        assert [hex(code) for code in codes if is_shown(f"a{chr(code)}")] == []
