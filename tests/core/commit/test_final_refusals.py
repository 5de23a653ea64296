"""What is final stays so: the same request gets the same statuses again, whatever was lost and whoever was silent in between."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from node.core.commit import Ask, Decisions
from node.core.commit.decisions import unpack_records
from node.core.ledger import Ledger, history
from node.core.machine import Body
from protocol.columns import COMMIT_PROTOCOLS
from protocol.status import REPEATED, AccountState, Status
from tests.core.commit.bench import Bench, resolved
from tests.core.ledger.driving import id_bytes
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard
from tests.simulation.more_mutants import forget_finished, take_late_prepares, take_stale_legs
from tests.simulation.mutants import judge_chains_anew, record_whole_chains, refuse_without_the_debit

SHARDS = (1, 2, 3)
STEPS = 60
SETTLING_STEPS = 200
CHAINS = 6
Rows = tuple[tuple[int, int, int], ...]


class World:
    """A coordinator and real shards; calls and answers are lost, shards are silent, coordinators change, accounts freeze."""

    def __init__(self, seed: int, protocol: str) -> None:
        self.random = Random(seed)
        self.protocol = protocol
        self.shards = {0: Shard(Decisions())} | {group: Shard(Ledger()) for group in SHARDS}
        for group in SHARDS:
            self.shards[group].accounts(f"d{group}", f"c{group}")
            self.shards[group].accounts(f"source{group}", minimum=None)
            self.shards[group].transfers(Transfer(group, f"source{group}", f"d{group}", 40))
        self.requests: list[tuple[Rows, tuple[int, ...]]] = []
        self.told: dict[int, list[int]] = {}  # by request, its first final answer
        self.asked: dict[int, int] = {}  # ticket -> request
        self.epoch = self.tickets = self.updates = 0
        self.is_faulty = True
        self.created: dict[int, None] = {}
        self.late: list[Ask] = []
        self.bench: Bench = self.lead()

    def lead(self) -> Bench:
        """The next coordinator; whatever the last one had under way is forgotten, or comes late."""
        if self.epoch:
            self.late = [ask for ask in self.bench.asks if self.random.random() < 0.5]
        self.asked.clear()
        self.epoch += 1
        answer = self.shards[0].command("decisions", ["begin", self.epoch, 1])
        records = unpack_records(answer[1])
        bench = Bench(self.epoch, records, self.protocol, SHARDS)
        self.random.shuffle(bench.asks)
        return bench

    def resolved(self, ask: Ask) -> Body:
        """A call as its group's leader puts it into an entry, perhaps long before it is applied."""
        return resolved(ask, self.shards[ask.group].round)

    def chance(self, share: float) -> bool:
        """Whether a fault happens now."""
        return self.is_faulty and self.random.random() < share

    def submit(self, number: int) -> None:
        """A client sends a request, or sends it again."""
        rows, linked = self.requests[number]
        self.tickets += 1
        self.asked[self.tickets] = number
        self.bench.submit(self.tickets, *rows, linked=linked)

    def new_request(self) -> None:
        """A payment, or a chain of them, between shards."""
        count, base = self.random.choice((1, 1, 2, 3)), 10 * (len(self.requests) + 1)
        pairs = [self.random.sample(SHARDS, 2) for _ in range(count)]
        rows = tuple((base + row, payer, payee) for row, (payer, payee) in enumerate(pairs))
        self.requests.append((rows, tuple(range(count - 1))))
        self.submit(len(self.requests) - 1)

    def freeze(self) -> None:
        """An account opens or freezes."""
        group, name = self.random.choice(SHARDS), self.random.choice("dc")
        state = self.random.choice((AccountState.open, AccountState.frozen)) if self.is_faulty else AccountState.open
        self.set_state(group, f"{name}{group}", state)

    def set_state(self, group: int, name: str, state: AccountState) -> None:
        """By somebody who has just read the account."""
        (row,) = self.shards[group].query("ledger", "accounts", [name]).body[1]
        self.updates += 1
        body = ["update", name, {"status": int(state)}, id_bytes(self.updates), row[13]]
        self.shards[group].command("ledger", body)

    def step(self) -> None:
        """Some calls go through, some are lost, some are answered and nobody hears it."""
        self.bench.go_on()
        unwanted = [ask for ask in self.bench.asks if not self.bench.core.wants(ask)]
        self.late += unwanted
        self.bench.asks = [ask for ask in self.bench.asks if ask not in unwanted]
        sent = [(ask, self.resolved(ask)) for ask in self.bench.asks if not self.chance(0.25)]
        for ask, request in sent:
            (answer,) = self.shards[ask.group].entry(request)
            if self.bench.core.wants(ask) and not self.chance(0.15):
                self.bench.answer(ask, answer)
        for ask in [ask for ask in self.late if self.chance(0.02)]:
            self.come_late(ask)
        for record in list(self.bench.records):
            if not self.chance(0.3):
                body = ["record", list(record.forgotten), record.round_id, list(record.groups), record.decision]
                self.shards[0].command("decisions", body)
                self.bench.records.remove(record)
                self.bench.take(self.bench.core.recorded(record.round_id))
        for round_id in list(self.bench.core.rounds):
            if self.chance(0.1):
                self.bench.abandon(round_id)
        self.bench.core.hurry()
        self.hear()

    def come_late(self, ask: Ask) -> None:
        """A call reaches its group although nobody waits for it any more."""
        self.shards[ask.group].entry(self.resolved(ask))
        self.late.remove(ask)

    def hear(self) -> None:
        """What clients are told now must be what they were told before."""
        for ticket, answered in list(self.bench.answers.items()):
            statuses = [status & ~REPEATED for status in answered]
            del self.bench.answers[ticket]
            number = self.asked.pop(ticket)
            for (id, _, _), status in zip(self.requests[number][0], statuses, strict=True):
                assert status != Status.created or id not in self.created, f"{id}: told created, then created again"
                self.created.update({id: None} if status == Status.created else {})
            if max(statuses) >= Status.elsewhere:
                continue
            happened = [int(Status.exists) if status == Status.created else status for status in statuses]
            first = self.told.setdefault(number, happened)
            assert happened == first, f"{self.requests[number]}: told {first}, then {statuses}"

    def play(self) -> None:
        """A time of faults, then one without, at whose end every request is asked for once more."""
        for _ in range(STEPS):
            match self.random.choice("nnaaffssssssl"):
                case "n":
                    self.new_request()
                case "a" if self.requests:
                    self.submit(self.random.randrange(len(self.requests)))
                case "f":
                    self.freeze()
                case "l":
                    self.bench = self.lead()
                case _:
                    self.step()
        self.is_faulty = False
        for group in SHARDS:
            for name in "dc":
                self.set_state(group, f"{name}{group}", AccountState.open)
        for number in range(len(self.requests)):
            self.submit(number)
        for _ in range(SETTLING_STEPS):
            self.step()
        for ask in list(self.late):
            self.come_late(ask)
        told = f"told of {len(self.told)} requests, then {len(self.asked)} under way and {len(self.requests)} in all"
        assert not self.asked and len(self.told) == len(self.requests), told
        for group in SHARDS:
            books = self.shards[group]
            left = [self.shards[group].balances(f"{name}{group}")[1:] for name in "dc"]
            assert not books.machine.rounds and left == [(0, 0)] * 2, f"told {group} all, then a round was open there"


@pytest.fixture(autouse=True, params=[1, 8_192], ids=["small segments", "large segments"])
def segments(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small ones, ids have left the memory between the resolving of a call and its applying."""
    if request.param == 1:
        monkeypatch.setattr(history, "SEGMENT_TRANSFERS", 1)
        monkeypatch.setattr(history, "WINDOW_SEGMENTS", 1)


@pytest.mark.parametrize("protocol", COMMIT_PROTOCOLS)
@pytest.mark.parametrize("seed", range(30))
def test_a_final_answer_is_given_again(seed: int, protocol: str) -> None:
    """Row by row, chains too: created stays created, and a refusal stays the same refusal at the same row."""
    World(seed, protocol).play()


PLANTED = [
    refuse_without_the_debit, record_whole_chains, judge_chains_anew, forget_finished, take_late_prepares,
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("protocol", COMMIT_PROTOCOLS)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what clients are told."""
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=r"told .* then"):
        for seed in range(100):
            World(seed, protocol).play()


@pytest.mark.parametrize("protocol", COMMIT_PROTOCOLS)
def test_a_stale_prepare_that_counts_is_found(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where segments are small: an id happens again that has left the memory since it was looked for."""
    monkeypatch.setattr(history, "SEGMENT_TRANSFERS", 1)
    monkeypatch.setattr(history, "WINDOW_SEGMENTS", 1)
    take_stale_legs(monkeypatch)
    with pytest.raises(AssertionError, match=r"told .* then"):
        for seed in range(100):
            World(seed, protocol).play()


def test_the_runs_exercise_what_they_claim() -> None:
    """Payments and refusals, alone and in chains."""
    told: list[list[int]] = []
    for seed in range(20):
        world = World(seed, "2pc")
        world.play()
        told += world.told.values()
    seen = {status for statuses in told for status in statuses}
    assert {Status.exists, Status.linked_event_failed, Status.credit_account_frozen, Status.insufficient_funds} <= seen
    assert sum(Status.linked_event_failed in statuses for statuses in told) >= CHAINS
