"""The lock desk: takes everybody's words to the locks at the node that leads group 0, and tells who is let in.

Words that come while a round is in flight gather for the next one. Who has to wait is *parked*: the request is answered when its
claim holds. When the holder's release arrives, the next claimant is told at once, ahead of the round that logs the release; the
guide of `node.core.locks` says why that is safe. Has no task: a word is handled where it arrives, as the next grant waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node.actors.actor import RETRY_AFTER_MS, Failed, Outcome, Reply, not_done, overdue
from node.actors.waiters import ABSENT_MS, GONE_MS, Key, Waiters
from node.core.locks import Claim, ClaimState, Locks, refusal_of, unpack_answers, words_command
from node.core.machine import Body, apply_request
from node.ports import Clock
from protocol.answers import LockTold
from protocol.errors import ErrorCode
from protocol.requests import LockAction, LockWord
from protocol.status import LockStatus

ROUND_WORDS_MAX = 1_024  # bounds what one entry makes every replica do at once
GATHERED_MAX = 16_384  # words that wait for a round: some tenths of a second; beyond it clients are told `busy`
PARK_SECONDS = 2.0  # then a waiting client is told to ask again: so it learns of a leader that has fallen silent
DEADLINE_SHARE = 0.5  # of the time that a client waits for an answer, if that is shorter
SWEEP_SECONDS = 0.25  # between two looks for parked requests whose time is over

WITHDRAW_SECONDS = 5.0  # for the word that gives back the claim of somebody who is gone


@dataclass(frozen=True, slots=True)
class LockPorts:
    """What the desk is connected to."""

    clock: Clock
    call: Callable[[Body, Reply], None]  # a request to the machine of group 0, once
    locks: Callable[[], Locks]  # the applied state on this node
    is_guarded: Callable[[str], bool]  # whether a commit round of this node, open or gathered, relies on that lock
    soon: Callable[[Callable[[], None]], object]  # behind what the loop does in this turn
    hurry: Callable[[], None]  # decisions that group 0 has not heard are waited for
    is_here: Callable[[int], bool]  # whether the connection of that number still stands
    tick_ms: int


@dataclass(slots=True)
class Word:
    """What somebody has said, on its way into the log."""

    said: LockWord
    deadline: float
    reply: Reply
    source: int = 0  # the connection that it came on, 0 for this node itself
    leaving: int = 0  # the token of the claim that it gives back

    @property
    def key(self) -> Key:
        """Of its claim."""
        return self.said.name, self.said.claim, self.said.owner


@dataclass(slots=True)
class Parked:
    """Somebody who waits for a lock."""

    until: float
    reply: Reply
    source: int


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """The desk at a glance."""

    is_active: bool
    parked: int
    gathered: int
    rounds: int
    told_ahead: int
    withdrawn: int  # claims of clients that did not wait any more


class LockDesk:
    """One a node; idle unless the node leads group 0."""

    def __init__(self, ports: LockPorts) -> None:
        self._ports = ports
        self._term = 0
        self._gathered: list[Word] = []
        self._is_in_flight = False
        self._is_flushing = False
        self._parked: dict[Key, Parked] = {}
        self._leaving: dict[str, dict[int, int]] = {}  # by lock: tokens whose release is on its way, how many times
        self._waiters = Waiters(ports.tick_ms)
        self._sweep_at = 0.0
        self._rounds = 0
        self._told_ahead = 0
        self._withdrawn = 0

    # -- words ----------------------------------------------------------------------------------------------------

    def request(self, said: LockWord, deadline: float, reply: Reply, source: int = 0) -> None:
        """Answers a `LockTold`, packed."""
        if not self._term:
            reply(self._not_leader())
            return
        if (status := refusal_of(said)) is not None:
            self._answer(reply, LockTold(status))
            return
        word = Word(said, deadline, reply, source)
        self._waiters.came(word.key)
        if said.is_wish:
            known = self._ports.locks().find(*word.key)
            if known is not None and known.state is ClaimState.waiting:
                self._park(word)
                self._advance(said.name)
                return
        if len(self._gathered) >= GATHERED_MAX:
            text = f"expected at most {GATHERED_MAX} words to the locks at a time"
            reply(not_done(ErrorCode.busy, text, RETRY_AFTER_MS))
            return
        self._gathered.append(word)
        self._flush_soon()
        if said.action == LockAction.release and (token := self._token_of(word.key)):
            word.leaving = token
            leaving = self._leaving.setdefault(said.name, {})
            leaving[token] = leaving.get(token, 0) + 1
            self._advance(said.name)

    def _token_of(self, key: Key) -> int:
        claim = self._ports.locks().find(*key)
        return 0 if claim is None else claim.token

    # -- rounds ---------------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._is_in_flight and not self._is_flushing:
            self._is_flushing = True
            self._ports.soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._is_in_flight or not self._gathered:
            return
        words, self._gathered = self._gathered[:ROUND_WORDS_MAX], self._gathered[ROUND_WORDS_MAX:]
        words = self._without_overdue(words)
        if not words:
            self._flush_soon()
            return
        self._is_in_flight = True
        self._rounds += 1
        request = apply_request(Locks.name, words_command([word.said for word in words]))
        self._ports.call(request, lambda outcome: self._on_round(words, outcome))

    def _without_overdue(self, words: list[Word]) -> list[Word]:
        now = self._ports.clock.monotonic()
        late = [word for word in words if word.deadline < now]
        for word in late:
            word.reply(overdue(word.said.action))
        self._forget_leaving(late)
        return [word for word in words if word.deadline >= now] if late else words

    def _answer(self, reply: Reply, answer: LockTold) -> None:
        reply(LockTold(answer.status, answer.token, answer.age_ns, self._ports.locks().ended.count).pack())

    def _on_round(self, words: list[Word], outcome: Outcome) -> None:
        self._is_in_flight = False
        names: dict[str, None] = {}
        if isinstance(outcome, Failed):
            for word in words:
                word.reply(outcome)
        else:
            for word, answer in zip(words, unpack_answers(outcome), strict=True):
                if answer.status is LockStatus.waiting and self._term:
                    self._park(word)
                    names[word.said.name] = None
                else:
                    self._answer(word.reply, answer)
        self._forget_leaving(words)
        for name in names:
            self._advance(name)
        if self._gathered:
            self._flush_soon()

    def _forget_leaving(self, words: list[Word]) -> None:
        """What was applied shows in the state now; what failed is said again by its client."""
        for word in words:
            if not word.leaving:
                continue
            name = word.said.name
            leaving = self._leaving[name]
            leaving[word.leaving] -= 1
            if not leaving[word.leaving]:
                del leaving[word.leaving]
                if not leaving:
                    del self._leaving[name]

    # -- who is let in --------------------------------------------------------------------------------------------

    def _park(self, word: Word) -> None:
        now = self._ports.clock.monotonic()
        until = now + min(PARK_SECONDS, max(0.0, word.deadline - now) * DEADLINE_SHARE)
        before = self._parked.pop(word.key, None)
        self._parked[word.key] = Parked(until, word.reply, word.source)
        if before is not None:
            self._answer(before.reply, LockTold(LockStatus.waiting))

    def applied(self) -> None:
        """An entry of group 0 has been applied here."""
        if self._term:
            for name in tuple(self._ports.locks().moved):
                self._advance(name)

    def _advance(self, name: str) -> None:
        """Tells whoever holds the lock, or will when the releases that are here have been logged, unless it knows."""
        queue = self._ports.locks().queues.get(name)
        if queue is None or not self._parked:
            return
        leaving = self._leaving.get(name, {})
        holder = queue.holder
        if holder.state is ClaimState.holding and holder.token not in leaving:
            self._tell(holder)
            return
        if holder.pins:
            if queue.waiting:
                self._ports.hurry()
            return
        if self._ports.is_guarded(name):
            return
        greatest = holder.token
        for claim in queue.waiting:
            if claim.token not in leaving:
                if claim.token > greatest and self._tell(claim):
                    self._told_ahead += 1
                return
            greatest = max(greatest, claim.token)

    def _tell(self, claim: Claim) -> bool:
        key = claim.name, claim.id, claim.owner
        parked = self._parked.get(key)
        if parked is None:
            return False
        if not self._ports.is_here(parked.source):
            self._ask_again(key, GONE_MS)
            return False
        del self._parked[key]
        self._answer(parked.reply, LockTold(LockStatus.granted, claim.token, claim.age_ns))
        return True

    # -- over time ------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Who has waited for long is told to ask again; who does not any more leaves the queue."""
        self._waiters.tick()
        now = self._ports.clock.monotonic()
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_SECONDS
        for key in [key for key, parked in self._parked.items() if not self._ports.is_here(parked.source)]:
            self._ask_again(key, GONE_MS)
        for key in [key for key, parked in self._parked.items() if parked.until <= now]:
            self._ask_again(key, ABSENT_MS)
        for key in self._waiters.take_gone():
            self._withdraw(key)

    def _ask_again(self, key: Key, back_ms: int) -> None:
        self._waiters.left(key, back_ms)
        self._answer(self._parked.pop(key).reply, LockTold(LockStatus.waiting))

    def _withdraw(self, key: Key) -> None:
        """Nobody waits for this claim any more, so the desk gives it back."""
        if not self._term or self._ports.locks().find(*key) is None:
            return
        self._withdrawn += 1

        def answered(outcome: Outcome) -> None:
            if isinstance(outcome, Failed):
                self._waiters.left(key, ABSENT_MS)  # once more, unless the desk is another node's by then

        deadline = self._ports.clock.monotonic() + WITHDRAW_SECONDS
        self.request(LockWord(LockAction.release, *key), deadline, answered)

    def lead(self, term: int) -> None:
        """This node serves group 0 with that term, or (0) does not: then whoever waits here asks elsewhere."""
        if term == self._term:
            return
        self._term = term
        queues = self._ports.locks().queues.values() if term else ()
        self._waiters.begin(claim for queue in queues for claim in queue.waiting)
        parked, self._parked = self._parked, {}
        gathered, self._gathered = self._gathered, []
        self._forget_leaving(gathered)
        for reply in [*(waiting.reply for waiting in parked.values()), *(word.reply for word in gathered)]:
            reply(self._not_leader())

    def _not_leader(self) -> Failed:
        return not_done(ErrorCode.not_leader, "the locks are at another node")

    def statistics(self) -> LockStatistics:
        """The desk as it is now."""
        return LockStatistics(
            self._term != 0, len(self._parked), len(self._gathered), self._rounds, self._told_ahead, self._withdrawn
        )
