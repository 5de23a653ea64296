"""Locks: leases with a queue, wound-wait, time to live, renewal and fencing tokens that only rise.

A *claim* is one owner's wish for one lock. The queue of a lock is ordered by the age of the owners; its first claim holds. All
of it is state of group 0 (`Locks`, a part of its machine), so everything about who holds what is decided by log entries; also
the end of a lease, which the leader proposes (`due`) when so much time has been counted. No reader's clock decides anything.

```mermaid
stateDiagram-v2
    [*] --> waiting
    waiting --> holding: granted
    waiting --> gone: ended
    holding --> gone: ended
    holding --> ending: ended_while_pinned
    holding --> holding: unpinned
    ending --> gone: unpinned
    gone --> [*]
```
A claim is ended by release, expiry, a wound, or proof (below).

Wound-wait. The age of an owner is the time of its first living claim, or the one that it brings from an earlier attempt. An
older owner that asks for a lock ends a younger holder's claim (the younger one hears `lock_not_held` at its next word); a
younger one waits. So owners wait for older ones only, and no circle can close, in whatever order they take their locks. Who
makes a new owner for each lock, as `client.lock` does, is always the youngest: first come, first served.

Tokens. One counter for all locks gives every claim its token when it is queued. A claim that becomes the holder behind one with
a greater token (an older owner was let in before it) gets a new one. So from holder to holder tokens rise; a resource that
remembers the greatest token it has seen can refuse whoever is late.

Guards. A commit round asks for a vote: does this token hold its lock? A yes *pins* the claim: whatever ends it takes effect when
the round is decided. So no next holder can come between the legs of a guarded transfer. The desk hurries decisions that
somebody in a queue waits for.

Telling ahead. A round of consensus for every hand-over would cap a lock at some hundred grants a second. So the leader's desk
(`node.actors.locks`) tells the next claimant at once when the holder's release arrives, while the release itself is still on
its way into the log. It does so only if claimant and queue are applied state, the claimant's token is greater than that of
everyone before it, and no round has pinned the holder or is about to ask for it. Why there are never two who can act:

- The queue and its tokens are durable before anybody is told. Only how far it has moved is not.
- Nobody learns its token before it is told to hold the lock, and it is told only after all before it have ended by their own
  will. So a word with a token (renew, release, guard) *proves* that claims before it with smaller tokens have ended, and ends
  them first. It does not matter whether their releases were lost with the desk's leader.
- A release is repeated by its client until it is answered, by which leader ever. If the client dies with it, the next claim's
  first word does the same, or the time to live.
- A leader that is deposed and does not know it speaks from a prefix of the log. Whom it tells is, in the log as it went on,
  either still in the queue behind claims that have ended (the word proves it), or gone or overtaken by an older owner with a
  greater token: then its words are answered `lock_not_held`, as for anybody who lost a lease without having heard of it.
- A claimant that an older owner overtakes in the same moment is wounded in effect: its token is below the holder's. It
  withdraws its claim when it hears so; the claim would get a new token that nobody knows, and cost its time to live.
- A late guard of a holder that has released already (its client did not wait for its transfer) finds either a living claim,
  and is ordered before everything that the next holder does under guard, or an ended one, and is refused.

Invariants: a lock without claims does not exist; one claim holds, the others wait in order of age; only holders are pinned;
tokens rise from holder to holder; equal logs give equal digests.

Late copies. A claim that has ended stays known to be over (`EndedClaims`): a copy of its `acquire`, of a `try` that was refused or of
an `acquire` that its own withdrawal has overtaken never takes the lock for nobody. Repeated words are answered by what the claim
itself came to. A late `renew` of a living claim begins its lease anew: it is void at the latest when its sender has given up waiting.

Left out: shared locks. A claim that waits has no time limit here: a client that stops waiting
withdraws it, and for one that was killed the desk does (`node.actors.waiters`), unless it was told at that very moment that it
holds the lock: that claim expires.
"""

from node.core.locks.claims import TRANSITIONS, Claim, ClaimEvent, ClaimState, Queue, diagram
from node.core.locks.ended import EndedClaims
from node.core.locks.locks import Locks
from node.core.locks.words import refusal_of, unpack_answers, words_command

__all__ = [
    "TRANSITIONS",
    "Claim",
    "ClaimEvent",
    "ClaimState",
    "EndedClaims",
    "Locks",
    "Queue",
    "diagram",
    "refusal_of",
    "words_command",
    "unpack_answers",
]
