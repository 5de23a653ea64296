"""Words and what they came to, as the locks take and give them; which words are refused at sight."""

from __future__ import annotations

from collections.abc import Sequence

from node.core.machine import Body
from protocol.answers import LockTold
from protocol.names import is_shown
from protocol.requests import LockAction, LockWord
from protocol.status import LOCK_NAME_BYTES_MAX, LOCK_TTL_MS_MAX, LOCK_TTL_MS_MIN, LockStatus


def refusal_of(word: LockWord) -> LockStatus | None:
    """Why a word is refused whatever the state of the lock, if it is."""
    if not word.name:
        return LockStatus.lock_name_must_not_be_empty
    if len(word.name.encode()) > LOCK_NAME_BYTES_MAX:
        return LockStatus.lock_name_too_long
    if not is_shown(word.name, spaces=True):
        return LockStatus.lock_name_has_invalid_characters
    takes_ttl = word.is_wish or (word.action == LockAction.renew and word.ttl_ms != 0)
    if takes_ttl and not LOCK_TTL_MS_MIN <= word.ttl_ms <= LOCK_TTL_MS_MAX:
        return LockStatus.lock_ttl_out_of_range
    return None


def words_command(words: Sequence[LockWord]) -> Body:
    """Words that `Locks` takes together, in this order."""
    return ["words", [word.pack() for word in words]]


def pack_answers(answers: Sequence[LockTold]) -> Body:
    """To the words of one command, in their order; what is told of tickets the desk adds."""
    return ["locks", [[int(answer.status), answer.token, answer.age_ns] for answer in answers]]


def unpack_answers(packed: Body) -> list[LockTold]:
    """From what `pack_answers` makes."""
    _, rows = packed
    return [LockTold(LockStatus(status), token, age_ns) for status, token, age_ns in rows]
