"""Which characters an account id or a lock's name may have: two that look alike to a person must not be two.

They are text in Unicode's normal form NFC of characters that show: none that is a control, a format, private, unassigned
or white space, and none that stands for nothing (fillers, variation selectors). Names that only look alike by their glyphs, as
Latin and Cyrillic a do, stay apart: that is for those who give names.

Judged where a name is new, by the node that takes the request and never by a replica, because what is assigned differs
between versions of Unicode. Who looks a name up compares bytes.
"""

from __future__ import annotations

import unicodedata

BLANKS = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # inherent vowels of Khmer
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x2800, 0x2800),  # an empty pattern of Braille
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # Hangul filler, half as wide
    (0xFFFC, 0xFFFC),  # stands for an object that is not there
    (0x1D159, 0x1D159),  # a note without head
    (0xE0100, 0xE01EF),  # more variation selectors
)
_BLANK = frozenset(chr(code) for first, last in BLANKS for code in range(first, last + 1))


def is_shown(name: str, *, spaces: bool = False) -> bool:
    """Whether all its characters are allowed; a space is only where `spaces` says so, and only inside."""
    if not name.isprintable() or _has_wrong_space(name, spaces):
        return False
    return name.isascii() or (_BLANK.isdisjoint(name) and unicodedata.is_normalized("NFC", name))


def found(name: str, *, spaces: bool = False) -> str:
    """What of it is not allowed, for a person; empty where nothing is."""
    for place, character in enumerate(name, 1):
        if not character.isprintable() or character in _BLANK:
            what = unicodedata.name(character, f"of category {unicodedata.category(character)}")
            return f"U+{ord(character):04X} {what} as character {place}"
    if _has_wrong_space(name, spaces):
        return f"a space {'at the beginning or the end' if spaces else ''}".rstrip()
    normal = unicodedata.normalize("NFC", name)
    return "" if normal == name else f"{name!a}, which is {normal!a} in NFC"


def _has_wrong_space(name: str, spaces: bool) -> bool:
    return name != name.strip(" ") if spaces else " " in name
