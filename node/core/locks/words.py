"""What the locks answer, and which words are refused at sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.core.machine import Body
from protocol.names import is_shown
from protocol.requests import LockAction, LockWord
from protocol.status import LOCK_NAME_BYTES_MAX, LOCK_TTL_MS_MAX, LOCK_TTL_MS_MIN, LockStatus


@dataclass(frozen=True, slots=True)
class LockAnswer:
    """What a word came to."""

    status: LockStatus
    token: int = 0  # of the claim, where the one who speaks may know it
    age_ns: int = 0  # of its owner, 0 where it is not known

    def pack(self) -> Body:
        """For the answer to a command."""
        return [int(self.status), self.token, self.age_ns]


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


def unpack_answers(answer: Body) -> list[LockAnswer]:
    """To the words of one command, in their order: `["locks", [[status, token, age_ns], ...]]`."""
    _, rows = answer
    return [LockAnswer(LockStatus(status), token, age_ns) for status, token, age_ns in rows]
