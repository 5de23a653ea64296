"""The votes of a round, added up by whoever comes later: the decision is the same, byte for byte."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from node.core.commit import Coordinator, Record, Ticket
from node.core.commit.legs import CREDIT, DEBIT, cut_legs, legs_of, number_transactions
from node.core.commit.phases import Event
from node.core.commit.recovery import Attempt, Outcome, Poll, abort_all, find_in_votes
from node.core.commit.rounds import Ask, Round
from node.core.machine import SETTLED, Body, Votes, unpack_decision
from protocol.columns import SEPARATOR, Flag, Transfers
from protocol.status import Status

SHARDS = (1, 2, 3, 4)
REASONS = (*[0] * 12, 4, 22, 38, 56, int(Status.exists), int(Status.undecided), int(Status.retry))
CURRENCIES = (0, 1, 1, 1, 1, 1, 1, 2)  # 0: the account is not known


def random_batch(random: Random) -> tuple[Transfers, np.ndarray, np.ndarray]:
    """Up to a dozen rows over some shards: chains, rows within one shard, rows under a lock."""
    count = random.choice((1, 1, 2, 3, 12))
    flags = [Flag.linked if random.random() < 0.3 else 0 for _ in range(count - 1)] + [0]
    locks = [random.choice(("", "till", "safe")) for _ in range(count)] if random.random() < 0.4 else []
    shards = random.sample(SHARDS, random.randint(1, len(SHARDS)))
    batch = Transfers(
        b"".join(id.to_bytes(16, "big") for id in range(1, count + 1)), SEPARATOR.join(["d"] * count),
        SEPARATOR.join(["c"] * count), np.full(count, 10, "<i8").tobytes(), np.array(flags, "<u2").tobytes(),
        lock=SEPARATOR.join(locks), token=np.full(count, 5, "<u8").tobytes() if locks else b"",
    )  # fmt: skip
    debits, credits = (np.array([random.choice(shards) for _ in range(count)], np.int32) for _ in range(2))
    return batch, debits, credits


def random_votes(random: Random, prepare: Body) -> Votes:
    """What a shard, or the locks, may answer to a PREPARE."""
    _, count, _, _, _, ((part, body),) = prepare
    if part == "locks":
        objections = np.zeros(count, np.uint8)
        own = [random.choice((0, 0, int(Status.lock_not_held))) for _ in body[1]]
        for (number, _, _), status in zip(body[1], own, strict=True):
            objections[number] = objections[number] or status
        return Votes(objections.tobytes(), {"locks": bytes(own)})
    numbers, sides = np.frombuffer(body[2], "<i4"), body[3]
    own = [random.choice(REASONS) for _ in numbers]
    votes = np.zeros(count, np.uint8)
    for number, status in zip(numbers.tolist(), own, strict=True):
        votes[number] = votes[number] or status
    if random.random() < 0.2:  # another part of the shard objects, where the ledger does not
        votes[votes == 0] = random.choice((0, 41))
    told = [
        status | SETTLED if side & DEBIT and status in (Status.exists, Status.undecided) else status
        for status, side in zip(own, sides, strict=True)
    ]
    currencies = np.array([random.choice(CURRENCIES) for _ in numbers], "<u2")
    return Votes(votes.tobytes(), {"ledger": currencies.tobytes() + bytes(told)})


def opened_round(random: Random) -> tuple[Coordinator, Round, dict[int, Body]]:
    """A coordinator with one round that is being voted on, and its PREPAREs by group."""
    batch, debits, credits = random_batch(random)
    core = Coordinator("2pc")
    for ask in core.lead(1, (0, *SHARDS), {}):
        assert isinstance(ask, Ask)
        core.asked(ask, ["epoch", [], []])
    core.submit(Ticket(1), batch, debits, credits)
    asks = [ask for ask in core.go_on() if isinstance(ask, Ask)]
    prepares = {ask.group: ask.prepare.pack() for ask in asks if ask.prepare is not None}
    (opened,) = core.rounds.values()
    return core, opened, prepares


def poll(opened: Round, prepare: Body, votes: Votes) -> Poll:
    """What a participant that has answered so tells the next coordinator."""
    return Poll({opened.round_id: Attempt(0, b"", prepare[4], votes)}, {})


@pytest.mark.parametrize("seed", range(200))
def test_the_next_coordinator_adds_the_votes_up_to_the_same_decision(seed: int) -> None:
    """Refusals with their reasons, chains, guards, currencies that differ between shards; in whatever order they are heard."""
    random = Random(seed)
    core, opened, prepares = opened_round(random)
    answers = {group: random_votes(random, prepare) for group, prepare in prepares.items()}
    for group in random.sample(list(prepares), len(prepares)):
        core._voted(group, opened.round_id, answers[group])
    assert opened.phase == "deciding" and len(unpack_decision(opened.decision)) == opened.count
    groups = random.sample(list(prepares), len(prepares))
    polls = {group: poll(opened, prepares[group], answers[group]) for group in groups}
    assert find_in_votes(opened.orphan(), polls, {}) == Outcome(Event.votes_found, opened.decision)


@pytest.mark.parametrize("seed", range(60))
def test_without_some_votes_the_decision_is_recorded_first(seed: int) -> None:
    """The next coordinator finds the record, or all votes, or that one is missing for ever; and waits until it knows which."""
    random = Random(seed)
    core, opened, prepares = opened_round(random)
    answers = {group: random_votes(random, prepare) for group, prepare in prepares.items()}
    missing = random.sample(list(prepares), random.randint(1, len(prepares)))
    for group in prepares:
        if group not in missing:
            core._voted(group, opened.round_id, answers[group])
    (record,) = core.abandon(opened.round_id)
    assert isinstance(record, Record) and opened.phase == "recording"
    polls = {group: poll(opened, prepares[group], answers[group]) for group in prepares}
    orphan = opened.orphan()
    assert find_in_votes(orphan, polls, {opened.round_id: record.decision}) == Outcome(
        Event.decision_found, record.decision
    )
    away = random.choice(missing)
    heard = {group: known for group, known in polls.items() if group != away}
    assert find_in_votes(orphan, heard, {}) is None
    never = heard | {away: Poll({}, {})}
    assert find_in_votes(orphan, never, {}) == Outcome(Event.no_decision_exists, abort_all(opened.count))


@pytest.mark.parametrize("seed", range(60))
def test_a_place_says_where_its_legs_stand(seed: int) -> None:
    """Rows, sides, parts and transactions come back as they were."""
    batch, debits, credits = random_batch(Random(seed))
    numbers = number_transactions(batch)
    legs = cut_legs(batch, numbers, debits, credits)
    placed, again = legs_of({group: leg.layout(numbers) for group, leg in legs.items()})
    assert again.tolist() == numbers.tolist() and list(placed) == list(legs)
    for group, leg in legs.items():
        assert placed[group].part == leg.part and placed[group].rows.tolist() == leg.rows.tolist()
        assert placed[group].sides.tolist() == leg.sides.tolist()


def test_the_runs_exercise_what_they_claim() -> None:
    """Lone transfers, chains, guards; commits, each kind of refusal, and transfers that wait."""
    seen: dict[int, None] = {}
    shapes: dict[tuple[bool, bool, bool], None] = {}
    for seed in range(200):
        random = Random(seed)
        core, opened, prepares = opened_round(random)
        shapes[len(opened.numbers) == 1, opened.count < len(opened.numbers), 0 in prepares] = None
        for group, prepare in prepares.items():
            core._voted(group, opened.round_id, random_votes(random, prepare))
        seen.update(dict.fromkeys(unpack_decision(opened.decision).tolist()))
    assert len(shapes) == 6, "a lone transfer is no chain"
    assert {0, 38, 56, int(Status.exists), int(Status.accounts_must_have_the_same_currency)} <= set(seen)
    assert max(seen) >= Status.undecided and CREDIT not in seen
