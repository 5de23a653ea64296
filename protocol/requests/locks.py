"""What can be said to a lock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique

from protocol.operations import Body
from protocol.requests.checks import expect, is_count, is_id


@unique
class LockAction(StrEnum):
    """What a word is about."""

    acquire = "acquire"  # get the lock, or stand in its queue
    get_at_once = "try"  # get the lock, or be refused
    renew = "renew"  # the lease begins anew, with another time to live unless that is 0
    release = "release"  # give the lock back, or stop waiting for it


WISHES = (LockAction.acquire, LockAction.get_at_once)
"""What asks for the lock."""


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
        return self.action in WISHES

    def pack(self) -> Body:
        """`[action, name, claim, owner, ttl_ms, token, age_ns, ticket]`."""
        return [
            self.action, self.name, self.claim, self.owner, self.ttl_ms, self.token, self.age_ns, self.ticket,
        ]  # fmt: skip

    @classmethod
    def unpack(cls, body: Body) -> LockWord:
        """From what `pack` gives. What else there is to a name or a time is refused by a status."""
        expect(len(body) == 8, "[action, name, claim, owner, ttl_ms, token, age_ns, ticket]")
        action, name, claim, owner, *numbers = body
        expect(action in tuple(LockAction), f"an action of {', '.join(LockAction)}")
        expect(type(name) is str, "the name of the lock as text")
        expect(all(map(is_count, numbers)), "ttl_ms, token, age_ns and ticket from 0")
        is_by_token = action == LockAction.renew and claim == b"" and owner == b""
        expect((is_id(claim) and is_id(owner)) or is_by_token, "a claim and an owner of 16 bytes each")
        return cls(action, name, claim, owner, *numbers)

    @staticmethod
    def is_wish_in(body: Body) -> bool:
        """Whether a body asks for a lock of which nothing has been checked."""
        match body:
            case [LockAction.acquire | LockAction.get_at_once, *_]:
                return True
        return False
