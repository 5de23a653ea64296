"""Group 0's part that knows who holds which lock and who waits for it."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgpack

from node.core.locks.claims import Claim, ClaimEvent, ClaimState, Queue
from node.core.locks.ended import TABLE as ENDED_TABLE
from node.core.locks.ended import EndedClaims
from node.core.locks.facts import LockGranted, LockReleased
from node.core.locks.guards import GuardsDocket
from node.core.locks.limits import CLAIMS_MAX, CLAIMS_PER_LOCK_MAX, EXPIRED_PER_ENTRY_MAX
from node.core.locks.words import pack_answers
from node.core.machine import (
    NO_ROWS,
    Alone,
    Asking,
    At,
    BasePart,
    Body,
    Change,
    Fact,
    Int32s,
    Judged,
    Need,
    Rows,
    Statuses,
    digest_of,
    guards_of,
    is_guards,
)
from protocol.answers import LockTold
from protocol.events import EventKind
from protocol.requests import LockAction, LockWord
from protocol.status import LockStatus, Status

TABLE = "lock"
COUNTERS_KEY = 0  # no queue has this number
REFUSED_FOR_GOOD = (LockStatus.lock_already_claimed, LockStatus.lock_is_held, LockStatus.lock_queue_full)
STALE_LEASES_MAX = 1_024  # of renewed and ended leases that the timetable keeps beside the living ones


@dataclass(slots=True)
class Owner:
    """Who has living claims, and since when."""

    age_ns: int
    claims: dict[str, Claim] = field(default_factory=dict)  # by the name of the lock


class Locks(BasePart):
    """Commands: `["words", [LockWord, ...]]`, each looked at by `refusal_of` before, and `["expire"]`; both are answered by
    `pack_answers`. In a commit round: `guards_command`.
    """

    name = "locks"
    tables: tuple[str, ...] = (TABLE, ENDED_TABLE)
    kinds: tuple[EventKind, ...] = (EventKind.locks,)

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.tokens: dict[int, Claim] = {}  # the living claims
        self.owners: dict[bytes, Owner] = {}
        self.ended = EndedClaims()
        self.moved: dict[str, None] = {}  # locks that have got another holder with the last entry
        self._last_token = 0
        self._last_age_ns = 0
        self._pinned: dict[int, list[Claim]] = {}  # by round
        self._leases: list[tuple[int, str, int]] = []  # a heap of (end, name, token), with stale ones among them
        self._dirty: dict[int, str] = {}  # numbers and names of queues
        self._moved_at = 0
        self._untold: list[Fact] = []

    # -- commands -------------------------------------------------------------------------------------------------

    def resolve(self, body: Body, asking: Asking) -> Alone | Judged | Need:
        """Guards are judged with the transactions of their round; all else is logged as it comes."""
        return Judged(((self.name, body),), None, 0) if is_guards(body) else Alone(body)

    def apply(self, body: Body, at: At) -> Body:
        """Carries out a round of operations in their order, or ends the leases whose time is over."""
        self._begin(at)
        match body:
            case ["words", words]:
                return pack_answers([self._take(LockWord(*packed), at) for packed in words])
            case ["expire"]:
                self._expire(at)
                return pack_answers([])
            case _:
                raise AssertionError(f"unknown command {body[:1]}")

    def _begin(self, at: At) -> None:
        if at.index != self._moved_at:
            self._moved_at = at.index
            self.moved.clear()

    def _take(self, word: LockWord, at: At) -> LockTold:
        match word.action:
            case LockAction.acquire | LockAction.get_at_once:
                wish = Claim(word.name, word.claim, word.owner, 0, word.age_ns, word.ttl_ms)
                return self._acquire(wish, word.ticket, word.action == LockAction.get_at_once, at)
            case LockAction.renew:
                return self._renew(word, at)
            case LockAction.release:
                return self._release(word, at)
            case _:
                raise AssertionError(f"unknown action {word.action}")

    def _acquire(self, claim: Claim, ticket: int, at_once: bool, at: At) -> LockTold:
        """A claim that lives is told how it stands, one that is over that it is; any other begins, or is refused for good."""
        owner = self.owners.get(claim.owner)
        known = owner.claims.get(claim.name) if owner is not None else None
        if owner is not None and known is not None and known.id == claim.id:
            return _standing(known, owner.age_ns)
        if (ended := self.ended.find(claim.id)) is not None:
            return LockTold(ended if ended in REFUSED_FOR_GOOD else LockStatus.claim_is_over)
        if self.ended.is_too_old(ticket):
            return LockTold(LockStatus.claim_is_over)
        claim.age_ns = owner.age_ns if owner is not None else self._age_of_new_owner(claim.age_ns, at)
        status = LockStatus.lock_already_claimed if known is not None else self._refusal(claim, at_once)
        if status is not None:
            self.ended.note(claim.id, status)
            return LockTold(status, age_ns=claim.age_ns)
        self._last_token += 1
        claim.token = self._last_token
        self._begin_claim(claim, at)
        return _standing(claim, claim.age_ns)

    def _refusal(self, claim: Claim, at_once: bool) -> LockStatus | None:
        queue = self.queues.get(claim.name)
        if at_once and queue is not None and not (_wounds(claim, queue.holder) and not queue.holder.pins):
            return LockStatus.lock_is_held
        if len(self.tokens) >= CLAIMS_MAX or (queue is not None and len(queue.waiting) + 1 >= CLAIMS_PER_LOCK_MAX):
            return LockStatus.lock_queue_full
        return None

    def _begin_claim(self, claim: Claim, at: At) -> None:
        self.tokens[claim.token] = claim
        self.owners.setdefault(claim.owner, Owner(claim.age_ns)).claims[claim.name] = claim
        queue = self.queues.get(claim.name)
        if queue is None:
            self.queues[claim.name] = Queue(claim.token, claim.name, claim)
            self._grant(claim, at)
        else:
            self._stand_in_line(queue, claim, at)

    def _age_of_new_owner(self, brought_ns: int, at: At) -> int:
        """Ages differ, so that whoever comes first is older, also within an entry."""
        self._last_age_ns = max(at.timestamp_ns, self._last_age_ns + 1)
        return min(brought_ns, self._last_age_ns) if brought_ns else self._last_age_ns

    def _stand_in_line(self, queue: Queue, claim: Claim, at: At) -> None:
        self._dirty[queue.number] = queue.name
        insort(queue.waiting, claim, key=_order)
        if _wounds(claim, queue.holder):
            self._end(queue.holder, at)

    def _renew(self, word: LockWord, at: At) -> LockTold:
        claim = self._speaks(word.name, word.token, at)
        if claim is None or not self._is_first(claim):
            return LockTold(LockStatus.lock_not_held)
        claim.ttl_ms = word.ttl_ms or claim.ttl_ms
        if claim.state is ClaimState.holding:
            self._lease(claim, at)
        return LockTold(LockStatus.renewed, claim.token, claim.age_ns)

    def _release(self, word: LockWord, at: At) -> LockTold:
        """Also of a claim that has not come yet: its late `acquire` finds that it is over."""
        claim = self.find(word.name, word.claim, word.owner)
        if claim is None:
            self.ended.note(word.claim, LockStatus.lock_not_held)
            if self.ended.find(word.claim) is LockStatus.released:
                return LockTold(LockStatus.released, word.token)
            return LockTold(LockStatus.lock_not_held)
        if word.token == claim.token:
            self._prove(claim, at)
        self._end(claim, at, LockStatus.released)
        return LockTold(LockStatus.released, word.token, claim.age_ns)

    def _expire(self, at: At) -> None:
        for _ in range(EXPIRED_PER_ENTRY_MAX):
            holder = self._first_to_expire()
            if holder is None or holder.expires_ns > at.elapsed_ns:
                return
            self._end(holder, at)

    # -- the life of a claim --------------------------------------------------------------------------------------

    def _grant(self, claim: Claim, at: At) -> None:
        claim.step(ClaimEvent.granted)
        self._untold.append(LockGranted(claim.name, claim.token, claim.owner))
        self.moved[claim.name] = None
        self._lease(claim, at)

    def _lease(self, claim: Claim, at: At) -> None:
        """The lease begins now, with a new place in the timetable."""
        claim.since_ns = at.elapsed_ns
        self._dirty[self.queues[claim.name].number] = claim.name
        heapq.heappush(self._leases, (claim.expires_ns, claim.name, claim.token))
        if len(self._leases) > STALE_LEASES_MAX + 2 * len(self.queues):
            self._fill_timetable()

    def _fill_timetable(self) -> None:
        holders = (queue.holder for queue in self.queues.values())
        self._leases = [
            (holder.expires_ns, holder.name, holder.token) for holder in holders if holder.state is ClaimState.holding
        ]
        heapq.heapify(self._leases)

    def _first_to_expire(self) -> Claim | None:
        while self._leases:
            expires_ns, _, token = self._leases[0]
            claim = self.tokens.get(token)
            if claim is not None and claim.state is ClaimState.holding and claim.expires_ns == expires_ns:
                return claim
            heapq.heappop(self._leases)
        return None

    def _end(self, claim: Claim, at: At, status: LockStatus = LockStatus.lock_not_held) -> None:
        """The claim is over; the next one holds, unless a round still relies on this one."""
        self.ended.note(claim.id, status)
        del self.tokens[claim.token]
        owner = self.owners[claim.owner]
        del owner.claims[claim.name]
        if not owner.claims:
            del self.owners[claim.owner]
        queue = self.queues[claim.name]
        self._dirty[queue.number] = queue.name
        if claim is queue.holder:
            reason = _why_ended(claim, at, status)
            self._untold.append(LockReleased(claim.name, claim.token, claim.owner, reason))
        if claim.pins:
            claim.step(ClaimEvent.ended_while_pinned)
        elif claim is queue.holder:
            claim.step(ClaimEvent.ended)
            self._promote(queue, at)
        else:
            claim.step(ClaimEvent.ended)
            del queue.waiting[bisect_left(queue.waiting, claim.order, key=_order)]

    def _promote(self, queue: Queue, at: At) -> None:
        """Whoever was let in before it may have a greater token: then it gets a new one."""
        if not queue.waiting:
            del self.queues[queue.name]
            return
        claim = queue.waiting.pop(0)
        if claim.token <= queue.holder.token:
            del self.tokens[claim.token]
            self._last_token += 1
            claim.token = self._last_token
            self.tokens[claim.token] = claim
        queue.holder = claim
        self._grant(claim, at)

    # -- words of holders -----------------------------------------------------------------------------------------

    def _speaks(self, name: str, token: int, at: At) -> Claim | None:
        """The living claim of a token that somebody names."""
        claim = self.tokens.get(token)
        if claim is None or claim.name != name:
            return None
        self._prove(claim, at)
        return claim

    def _prove(self, claim: Claim, at: At) -> None:
        """Nobody knows its token before it is told to hold the lock, so those before it with smaller ones have ended."""
        queue = self.queues[claim.name]
        if claim is queue.holder:
            return
        before = queue.waiting[: bisect_left(queue.waiting, claim.order, key=_order)]
        for other in [*reversed(before), queue.holder]:
            if other.token < claim.token and other.state is not ClaimState.ending:
                self._end(other, at)

    def _is_first(self, claim: Claim) -> bool:
        """Whether it holds the lock, or will as soon as the rounds that rely on an ended holder are decided."""
        if claim.state is ClaimState.holding:
            return True
        queue = self.queues[claim.name]
        is_next = queue.waiting[0] is claim and queue.holder.token < claim.token
        return is_next and queue.holder.state is ClaimState.ending

    # -- commit rounds --------------------------------------------------------------------------------------------

    def open(self, body: Body, at: At, round_id: int | None) -> GuardsDocket:
        """The guards of a round."""
        assert round_id is not None and is_guards(body), "a lock guards the transactions of rounds"
        self._begin(at)
        return GuardsDocket(self, round_id, guards_of(body), at)

    def guard(self, round_id: int, name: str, token: int, at: At) -> tuple[Status, Claim | None]:
        """Yes where the token holds its lock; from then on the lock passes to nobody before the round is decided.

        With the claim that has been pinned for it, unless it was already.
        """
        claim = self._speaks(name, token, at)
        if claim is None or not self._is_first(claim):
            return Status.lock_not_held, None
        if claim.state is not ClaimState.holding:
            return Status.undecided, None
        if round_id in claim.pins:
            return Status.created, None
        claim.pins.append(round_id)
        self._pinned.setdefault(round_id, []).append(claim)
        self._dirty[self.queues[name].number] = name
        return Status.created, claim

    def unpin(self, round_id: int, claim: Claim, at: At) -> None:
        """Takes back a pin that `guard` has just made."""
        self._pinned[round_id].remove(claim)
        self._unpin(round_id, claim, at)

    def _unpin(self, round_id: int, claim: Claim, at: At) -> None:
        """Whatever has ended the claim meanwhile takes effect with its last pin."""
        queue = self.queues[claim.name]
        self._dirty[queue.number] = queue.name
        claim.pins.remove(round_id)
        if not claim.pins:
            claim.step(ClaimEvent.unpinned)
            if claim.state is ClaimState.gone:
                self._promote(queue, at)

    def decide(self, round_id: int, statuses: Statuses, at: At, failed: Int32s = NO_ROWS) -> None:
        """Whatever was decided, the locks need not wait for this round any more."""
        self._begin(at)
        for claim in self._pinned.pop(round_id, ()):
            self._unpin(round_id, claim, at)

    def take_facts(self) -> Sequence[Fact]:
        """Who has got a lock, and who has lost one."""
        facts, self._untold = self._untold, []
        return facts

    # -- questions ------------------------------------------------------------------------------------------------

    def find(self, name: str, claim_id: bytes, owner_id: bytes) -> Claim | None:
        """The living claim of that id."""
        owner = self.owners.get(owner_id)
        claim = owner.claims.get(name) if owner is not None else None
        return claim if claim is not None and claim.id == claim_id else None

    def due(self, timestamp_ns: int, elapsed_ns: int) -> Body | None:
        """Leases end by an entry."""
        holder = self._first_to_expire()
        return ["expire"] if holder is not None and holder.expires_ns <= elapsed_ns else None

    def totals(self) -> Body:
        """Locks and claims."""
        return [len(self.queues), len(self.tokens)]

    def digest(self, seed: int) -> int:
        """Over the counters and the queues in order of their numbers."""
        queues = sorted(self.queues.values(), key=lambda queue: queue.number)
        state = [self._last_token, self._last_age_ns, [[queue.number, queue.pack()] for queue in queues]]
        return self.ended.digest(digest_of(state, seed))

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """One row a lock, and one for the counters."""
        counters = [self._last_token, self._last_age_ns, self.ended.pack()]
        changes = [*self.ended.changes(), Change(TABLE, COUNTERS_KEY, msgpack.packb(counters))]
        for number, name in self._dirty.items():
            queue = self.queues.get(name)
            is_there = queue is not None and queue.number == number
            changes.append(Change(TABLE, number, msgpack.packb(queue.pack()) if queue and is_there else None))
        self._dirty.clear()
        return changes

    def restore(self, rows: Rows) -> None:
        """Loads the counters and the queues; all else follows from them."""
        for number, value in rows(TABLE):
            if number == COUNTERS_KEY:
                self._last_token, self._last_age_ns, ended = msgpack.unpackb(value)
                self.ended.restore(ended, rows(ENDED_TABLE))
                continue
            name, holder, waiting = msgpack.unpackb(value)
            claims = [Claim.unpack(name, row) for row in [holder, *waiting]]
            self.queues[name] = Queue(number, name, claims[0], claims[1:])
            for claim in claims:
                for round_id in claim.pins:
                    self._pinned.setdefault(round_id, []).append(claim)
                if claim.state is not ClaimState.ending:
                    self.tokens[claim.token] = claim
                    self.owners.setdefault(claim.owner, Owner(claim.age_ns)).claims[name] = claim
        self._fill_timetable()


def _order(claim: Claim) -> tuple[int, bytes]:
    return claim.order


def _wounds(claim: Claim, holder: Claim) -> bool:
    """Whether the holder is younger and not ending already."""
    return claim.order < holder.order and holder.state is ClaimState.holding


def _why_ended(claim: Claim, at: At, status: LockStatus) -> str:
    if status is LockStatus.released:
        return "released"
    return "expired" if claim.expires_ns <= at.elapsed_ns else "taken"


def _standing(claim: Claim, age_ns: int) -> LockTold:
    if claim.state is ClaimState.holding:
        return LockTold(LockStatus.granted, claim.token, age_ns)
    return LockTold(LockStatus.waiting, age_ns=age_ns)
