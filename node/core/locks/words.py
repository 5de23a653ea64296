"""What can be said to the locks, what they answer, and which words are refused at sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique

from node.core.machine import Body, expect, is_id
from protocol.names import is_shown
from protocol.status import LOCK_NAME_BYTES_MAX, LOCK_TTL_MS_MAX, LOCK_TTL_MS_MIN, LockStatus


@unique
class LockAction(StrEnum):
    """What a word is about."""

    acquire = "acquire"  # get the lock, or stand in its queue
    get_at_once = "try"  # get the lock, or be refused
    renew = "renew"  # the lease begins anew, with another time to live unless that is 0
    release = "release"  # give the lock back, or stop waiting for it


@dataclass(frozen=True, slots=True)
class LockWord:
    """What somebody says to a lock."""

    action: str  # a `LockAction`
    name: str  # of the lock
    claim: bytes
    owner: bytes
    ttl_ms: int = 0  # to live; where it is renewed, 0 for the same as before
    token: int = 0  # of the claim, where it is known
    age_ns: int = 0  # that the owner brings from an earlier attempt, 0 for none
    ticket: int = 0  # how many claims had ended when the claim was made, as its maker knew

    @property
    def is_wish(self) -> bool:
        """Whether it asks for the lock."""
        return self.action in (LockAction.acquire, LockAction.get_at_once)

    def refusal(self) -> LockStatus | None:
        """Why it is refused whatever the state of the lock, if it is."""
        if not self.name:
            return LockStatus.lock_name_must_not_be_empty
        if len(self.name.encode()) > LOCK_NAME_BYTES_MAX:
            return LockStatus.lock_name_too_long
        if not is_shown(self.name, spaces=True):
            return LockStatus.lock_name_has_invalid_characters
        takes_ttl = self.is_wish or (self.action == LockAction.renew and self.ttl_ms != 0)
        if takes_ttl and not LOCK_TTL_MS_MIN <= self.ttl_ms <= LOCK_TTL_MS_MAX:
            return LockStatus.lock_ttl_out_of_range
        return None

    def pack(self) -> Body:
        """For the log."""
        return [
            self.action, self.name, self.claim, self.owner, self.ttl_ms, self.token, self.age_ns, self.ticket,
        ]  # fmt: skip

    @classmethod
    def decode(cls, body: Body) -> LockWord:
        """As a client sends it: `[action, name, claim, owner, ttl_ms, token, age_ns, ticket]`. Raises ProtocolError."""
        expect(len(body) == 8, "[action, name, claim, owner, ttl_ms, token, age_ns, ticket]")
        action, name, claim, owner, *numbers = body
        expect(action in tuple(LockAction), f"an action of {', '.join(LockAction)}")
        expect(type(name) is str, "the name of the lock as text")
        are_natural = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
        expect(are_natural, "ttl_ms, token, age_ns and ticket from 0")
        is_by_token = action == LockAction.renew and claim == b"" and owner == b""
        expect((is_id(claim) and is_id(owner)) or is_by_token, "a claim and an owner of 16 bytes each")
        return cls(action, name, claim, owner, *numbers)


@dataclass(frozen=True, slots=True)
class LockAnswer:
    """What a word came to."""

    status: LockStatus
    token: int = 0  # of the claim, where the one who speaks may know it
    age_ns: int = 0  # of its owner, 0 where it is not known

    def pack(self) -> Body:
        """For the answer to a command."""
        return [int(self.status), self.token, self.age_ns]


def words_command(words: Sequence[LockWord]) -> Body:
    """Words that `Locks` takes together, in this order."""
    return ["words", [word.pack() for word in words]]


def unpack_answers(answer: Body) -> list[LockAnswer]:
    """To the words of one command, in their order: `["locks", [[status, token, age_ns], ...]]`."""
    _, rows = answer
    return [LockAnswer(LockStatus(status), token, age_ns) for status, token, age_ns in rows]
