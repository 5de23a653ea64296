"""How the votes of a round's shards add up."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.core.commit.legs import CREDIT, DEBIT, LOCKS_GROUP, Legs, legs_of
from node.core.commit.votes import Verdict, Vote, merge_votes
from node.core.machine import SETTLED, SUPERSEDED, Votes
from protocol.status import Status, split_status

EUR = 7
LINKED, EXISTS, RETRY = int(Status.linked_event_failed), int(Status.exists), int(Status.retry)
FUNDS, FROZEN, LOCK = int(Status.insufficient_funds), int(Status.credit_account_frozen), int(Status.lock_not_held)
WORDS = (0, LOCK, FROZEN, FUNDS, 98, 99, 100, RETRY)
"""What a shard may say of a row: agreed, each kind of refusal, and each kind of waiting."""

SETTLED_WORDS = (EXISTS, FUNDS, int(Status.exists_with_different_amount), int(Status.cancelled), 100)
DEBIT_WORDS = (None, *WORDS, EXISTS, *(word | SETTLED for word in SETTLED_WORDS))
"""The same of the debit's shard, which may know the id; None: it does not vote."""


def vote(rows: list[int], transactions: list[int], currency: int = EUR) -> Votes:
    """A shard's answer: the ledger's status a row, and the shard's status a transaction."""
    extra = np.full(len(rows), currency, "<u2").tobytes() + bytes(rows)
    return Votes(bytes(transactions), {"ledger": extra})


@dataclass
class Ballot:
    """Rows of (debit's group, credit's group, transaction), and what each group says of each row; None: it is silent."""

    rows: list[tuple[int, int, int]]
    said: dict[int, dict[int, int] | None]
    guarded: dict[int, int]  # what the locks say of rows

    def legs(self) -> dict[int, Legs]:
        """Of each group that takes part."""
        legs: dict[int, Legs] = {}
        for group in self.said:
            sides = [DEBIT * (payer == group) | CREDIT * (payee == group) for payer, payee, _ in self.rows]
            rows = np.flatnonzero(sides)
            if len(rows):
                legs[group] = Legs(rows, np.array(sides, np.uint8)[rows], "ledger", [])
        if self.guarded:
            rows = np.array(sorted(self.guarded))
            legs[LOCKS_GROUP] = Legs(rows, np.zeros(len(rows), np.uint8), "locks", [])
        return legs

    def votes(self) -> dict[int, Vote]:
        """In the form in which shards give them."""
        votes: dict[int, Vote] = {}
        count = self.rows[-1][2] + 1
        for group, leg in self.legs().items():
            told = self.guarded if group == LOCKS_GROUP else self.said[group]
            if told is None:
                votes[group] = SUPERSEDED
                continue
            words = [told[row] for row in leg.rows.tolist()]
            transactions = [0] * count
            for row, word in zip(leg.rows.tolist(), words, strict=True):
                transactions[self.rows[row][2]] = transactions[self.rows[row][2]] or word & ~SETTLED
            votes[group] = vote(words, transactions)
            if group == LOCKS_GROUP:
                votes[group] = Votes(bytes(transactions), {"locks": bytes(words)})
        return votes

    def verdict(self) -> Verdict:
        """Of the coordinator, which a successor that knows only what the shards hold agrees with."""
        numbers = np.array([number for _, _, number in self.rows], np.int32)
        legs, votes = self.legs(), self.votes()
        verdict = merge_votes(legs, votes, numbers)
        placed, known = legs_of({group: leg.layout(numbers) for group, leg in legs.items()})
        recovered = merge_votes(placed, votes, known)
        assert recovered.pack() == verdict.pack() and recovered.rows.tolist() == verdict.rows.tolist()
        return verdict

    def told(self) -> list[int]:
        """The verdict's rows as statuses. A refusal that was on record is marked as such, and nothing else."""
        statuses = []
        for row, answered in enumerate(self.verdict().rows.tolist()):
            status, is_repeat = split_status(answered)
            is_refusal = status.is_recorded and status != Status.created
            assert is_repeat == (is_refusal and self.word(row) == status | SETTLED)
            statuses.append(int(status))
        return statuses

    def word(self, row: int) -> int:
        """Of the debit's shard."""
        told = self.said[self.rows[row][0]]
        return RETRY if told is None else told[row]


def lone(debit: int | None, credit: int | None, lock: int | None = None) -> int:
    """What becomes of a lone transfer whose debit's shard, credit's shard and lock say this."""
    said = {1: None if debit is None else {0: debit}, 2: None if credit is None else {0: credit}}
    return Ballot([(1, 2, 0)], said, {} if lock is None else {0: lock}).told()[0]


def is_final(status: int) -> bool:
    """Whether its sender asks no more."""
    return status < Status.elsewhere


@pytest.mark.parametrize("debit", DEBIT_WORDS)
def test_no_lone_transfer_is_final_without_the_word_of_its_debits_shard(debit: int | None) -> None:
    """Whatever the others say; and what that shard knows of the id is the answer. All combinations."""
    for credit, lock in product((None, *WORDS), (None, 0, LOCK, 100)):
        told = lone(debit, credit, lock)
        if debit is None or is_final(debit) < (debit < SETTLED):
            assert not is_final(told), (debit, credit, lock, told)
        elif debit >= SETTLED:
            assert told == debit & ~SETTLED, (debit, credit, lock, told)
        elif is_final(told) and told:
            assert told in (debit, credit, lock)
        else:
            assert debit == 0 and (told or not (credit or lock))


@pytest.mark.parametrize("debit", DEBIT_WORDS)
def test_a_lone_transfer_is_judged_like_one_of_many(debit: int | None) -> None:
    """The short way for a single row gives what the columns give."""
    for credit, lock in product((None, *WORDS), (None, 0, LOCK, 100)):
        said = {
            1: None if debit is None else dict.fromkeys((0, 1), debit),
            2: None if credit is None else dict.fromkeys((0, 1), credit),
        }
        many = Ballot([(1, 2, 0), (1, 2, 1)], said, {} if lock is None else dict.fromkeys((0, 1), lock))
        assert many.told() == many.verdict().transactions.tolist() == [lone(debit, credit, lock)] * 2


@st.composite
def ballots(draw: st.DrawFn) -> Ballot:
    """Up to five rows in chains over three shards; some shards silent, some rows guarded."""
    count, number = draw(st.integers(1, 5)), 0
    rows: list[tuple[int, int, int]] = []
    for _ in range(count):
        rows.append((draw(st.integers(1, 3)), draw(st.integers(1, 3)), number))
        number += draw(st.sampled_from([0, 0, 1]))
    said: dict[int, dict[int, int] | None] = {}
    for group in (1, 2, 3):
        words = {}
        for row, (payer, _, _) in enumerate(rows):
            known = [word for word in DEBIT_WORDS if word is not None] if payer == group else list(WORDS)
            agreed = [0, 0, 0, 0, EXISTS] if payer == group else [0, 0, 0, 0]
            words[row] = draw(st.sampled_from([*agreed, *known]))
        said[group] = draw(st.sampled_from([words, words, words, words, None]))
    guarded = draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from([0, LOCK, 100]), max_size=2))
    return Ballot(rows, said, guarded)


@settings(max_examples=600, deadline=None)
@given(ballots())
def test_no_transaction_is_final_without_the_word_of_all_its_debits_shards(ballot: Ballot) -> None:
    """It fails at one row, whose debit's shard has spoken and so records it; a row that is known fails before all others."""
    verdict, rows = ballot.verdict(), ballot.told()
    for number, status in enumerate(verdict.transactions.tolist()):
        mine = [row for row, (_, _, one) in enumerate(ballot.rows) if one == number]
        told = [rows[row] for row in mine]
        words = [ballot.word(row) for row in mine]
        if any(not is_final(word & ~SETTLED) for word in words):
            assert not is_final(status), (words, told)
            continue
        if not status:
            assert set(told) == {0} and set(words) == {0}
        elif is_final(status) and told != [EXISTS] * len(mine):
            (place,) = [place for place, one in enumerate(told) if one != LINKED]
            assert told[place] == status
            known = [one for one, word in enumerate(words) if word >= SETTLED or word == EXISTS]
            if known:
                assert place == known[0] and status == words[place] & ~SETTLED
            if len(verdict.failed):
                assert verdict.failed[number] == mine[place]
        elif is_final(status):
            assert {word & ~SETTLED for word in words} == {EXISTS}


def test_another_parts_refusal_counts_like_the_ledgers() -> None:
    """A part that the ledger knows nothing of can refuse a transaction; the reason reaches the client."""
    limit = int(Status.exceeds_maximum_balance)
    legs = {1: Legs(np.arange(2), np.full(2, DEBIT, np.uint8), "ledger", [])}
    legs[2] = Legs(np.arange(2), np.full(2, CREDIT, np.uint8), "ledger", [])
    votes = {1: vote([0, 0], [limit, 0]), 2: vote([0, 0], [0, 0])}
    assert merge_votes(legs, votes, np.array([0, 1], np.int32)).rows.tolist() == [limit, 0]


def test_the_ledgers_reason_names_the_row_of_a_chain() -> None:
    """Where the ledger objects to one row of a chain, its other rows fail for that only."""
    ballot = Ballot([(1, 2, 0), (1, 2, 0)], {1: {0: 0, 1: FUNDS}, 2: {0: 0, 1: 0}}, {})
    assert ballot.verdict().rows.tolist() == [LINKED, FUNDS]


def test_a_repeated_chain_waits_for_the_shard_that_does_not_know_yet() -> None:
    """`exists` in one shard and `undecided` in the other: the chain came before, and is asked again as a whole."""
    undecided = int(Status.undecided)
    waiting = Ballot([(1, 3, 0), (2, 3, 0)], {1: {0: EXISTS}, 2: {1: undecided | SETTLED}, 3: {0: 0, 1: 0}}, {})
    assert waiting.verdict().rows.tolist() == [undecided, undecided]
    known = Ballot(waiting.rows, {**waiting.said, 2: {1: EXISTS}}, {})
    assert known.verdict().rows.tolist() == [EXISTS, EXISTS]


def test_a_lone_transfer_between_currencies_is_refused() -> None:
    """The shard that does not know its account says nothing about a currency."""
    legs = Ballot([(1, 2, 0)], {1: {0: 0}, 2: {0: 0}}, {}).legs()
    for currency, expected in ((EUR, 0), (EUR + 1, Status.accounts_must_have_the_same_currency), (0, 0)):
        votes = {1: vote([0], [0]), 2: vote([0], [0], currency)}
        assert merge_votes(legs, votes, np.zeros(1, np.int32)).transactions.tolist() == [expected]
