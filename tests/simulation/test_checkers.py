"""The checkers themselves: histories that are known to be good pass, and each known anomaly is named."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from node.core.raft import StoredGroup
from tests.core.raft.entries import chain
from tests.simulation.disks import Drive
from tests.simulation.events import Told, check_against_bank, check_prefix, check_reader
from tests.simulation.fencing import Grant, Guarded, check_refused
from tests.simulation.linearizability import Operation, Outcome, check_register, check_versions
from tests.simulation.list_append import Transaction, check_lists
from tests.simulation.records import Attempt, Records, Transfer
from tests.simulation.snapshots import Row, Snapshot, check_cuts, check_snapshots

NEVER = float("inf")
UNKNOWN, FAILED = Outcome.unknown, Outcome.failed


def read(invoked: float, returned: float, value: object) -> Operation:
    return Operation("read", invoked, returned, value)


def write(invoked: float, returned: float, value: object, outcome: Outcome = Outcome.done) -> Operation:
    return Operation("write", invoked, returned, value, outcome=outcome)


def cas(invoked: float, returned: float, expected: object, value: object, outcome: Outcome = Outcome.done) -> Operation:
    return Operation("cas", invoked, returned, value, expected, outcome)


GOOD_REGISTERS = {
    "nothing happened": [],
    "one after the other": [write(0, 1, 1), read(2, 3, 1), cas(4, 5, 1, 2), read(6, 7, 2)],
    "a read during a write sees the old value": [write(0, 5, 1), read(1, 2, 0), read(3, 4, 1)],
    "overlapping writes in either order": [write(0, 9, 1), write(0, 9, 2), read(1, 2, 2), read(3, 4, 1)],
    "an unknown write that never happened": [write(0, NEVER, 1, UNKNOWN), read(5, 6, 0)],
    "an unknown write that happened late": [write(0, NEVER, 1, UNKNOWN), read(5, 6, 0), read(7, 8, 1)],
    "an unknown cas that happened": [cas(0, NEVER, 0, 1, UNKNOWN), cas(2, 3, 1, 2), read(4, 5, 2)],
    "a cas that lost": [cas(0, 3, 0, 1), cas(0, 3, 0, 2, FAILED), read(4, 5, 1)],
    "a refused write is nowhere": [write(0, 1, 1, FAILED), read(2, 3, 0)],
    "a read that nobody answered": [write(0, 1, 1), Operation("read", 2, NEVER, None, outcome=UNKNOWN)],
    "at one instant": [write(0, 1, 1), read(1, 2, 0)],
}
BAD_REGISTERS = {
    "stale read": [write(0, 1, 1), read(2, 3, 0)],
    "a value from nowhere": [write(0, 1, 1), read(2, 3, 7)],
    "a read from the future": [read(0, 1, 1), write(2, 3, 1)],
    "read of a refused write": [write(0, 1, 1, FAILED), read(2, 3, 1)],
    "read of a refused cas": [cas(0, 1, 5, 1, FAILED), read(2, 3, 1)],
    "a read goes back": [write(0, 9, 1), read(1, 2, 1), read(3, 4, 0)],
    "two reads disagree on order": [
        write(0, 1, 1), write(0, 1, 2), read(2, 3, 1), read(4, 5, 2),
    ],
    "lost update": [cas(0, 1, 0, 1), cas(2, 3, 0, 2), read(4, 5, 2)],
    "two cas from one version succeed": [cas(0, 5, 0, 1), cas(0, 5, 0, 2)],
    "a cas was refused though nothing stood against it": [cas(0, 1, 0, 1, FAILED), read(2, 3, 0)],
    "an unknown write is undone": [write(0, NEVER, 1, UNKNOWN), read(2, 3, 1), read(4, 5, 0)],
    "an unknown cas happened twice": [
        cas(0, NEVER, 0, 1, UNKNOWN), read(1, 2, 1), cas(3, 4, 1, 0), read(5, 6, 0), read(7, 8, 1),
    ],
}  # fmt: skip


@pytest.mark.parametrize("history", GOOD_REGISTERS.values(), ids=GOOD_REGISTERS)
def test_linearizable_registers_pass(history: list[Operation]) -> None:
    """In whatever order the operations are listed."""
    assert check_register("r", 0, history) == []
    assert check_register("r", 0, history[::-1]) == []


@pytest.mark.parametrize("history", BAD_REGISTERS.values(), ids=BAD_REGISTERS)
def test_broken_registers_are_found(history: list[Operation]) -> None:
    """And named, in whatever order the operations are listed."""
    assert "not linearizable" in check_register("r", 0, history)[0]
    assert check_register("r", 0, history[::-1])


def _explains(order: tuple[Operation, ...], initial: object) -> bool:
    state = initial
    for place, one in enumerate(order):
        holds, state = one.after(state)
        if not holds or any(later.returned < one.invoked for later in order[place + 1 :]):
            return False
    return True


def _is_linearizable(history: list[Operation]) -> bool:
    """By trying everything."""
    known = [one for one in history if one.outcome is not UNKNOWN]
    unknown = [one for one in history if one.outcome is UNKNOWN]
    for chosen in range(1 << len(unknown)):
        some = known + [one for place, one in enumerate(unknown) if chosen >> place & 1]
        if any(_explains(order, 0) for order in permutations(some)):
            return True
    return False


def _random_history(random: Random) -> list[Operation]:
    history = []
    for _ in range(random.randint(1, 5)):
        invoked = random.randint(0, 6)
        returned = invoked + random.randint(1, 4)
        value, expected = random.randint(0, 2), random.randint(0, 2)
        outcome = random.choice((Outcome.done, Outcome.done, FAILED, UNKNOWN))
        kind = random.choice(("read", "write", "cas"))
        if kind == "read" or (kind == "write" and outcome is FAILED):
            history.append(read(invoked, returned, value))
        elif kind == "write":
            history.append(write(invoked, NEVER if outcome is UNKNOWN else returned, value, outcome))
        else:
            history.append(cas(invoked, NEVER if outcome is UNKNOWN else returned, expected, value, outcome))
    return history


def test_the_search_agrees_with_trying_everything() -> None:
    """On small random histories, of which both kinds are common."""
    random = Random(1)
    verdicts = []
    for _ in range(1_500):
        history = _random_history(random)
        verdicts.append(_is_linearizable(history))
        assert (check_register("r", 0, history) == []) == verdicts[-1], history
    assert 200 < sum(verdicts) < 1_300


def test_a_long_register_is_checked_quickly() -> None:
    """Three hundred operations, always three of them at once, some without an answer."""
    random, history, value = Random(2), [], 0
    for number in range(1, 300):
        start = number / 10
        history.append(read(start, start + 0.05, value))
        if number % 15 == 0:
            history.append(cas(start, NEVER, value + 1, number + 1_000, UNKNOWN))
        history.append(cas(start + 0.06, start + 0.06 + random.random() / 30, value, number))
        value = number
    assert check_register("r", 0, history) == []


def test_a_version_names_one_value() -> None:
    """Two values under one version are a broken promise."""
    assert check_versions("r", [(1, "a"), (2, "b"), (1, "a")]) == []
    assert check_versions("r", [(1, "a"), (1, "b")])


# -- lists ------------------------------------------------------------------------------------------------------------


def append(invoked: float, returned: float, outcome: Outcome = Outcome.done, **appended: int) -> Transaction:
    return Transaction(invoked, returned, appended, outcome=outcome)


def look(invoked: float, returned: float, **found: tuple[int, ...]) -> Transaction:
    return Transaction(invoked, returned, read=found)


GOOD_LISTS = {
    "nothing happened": [],
    "one after the other": [append(0, 1, x=1), look(2, 3, x=(1,)), append(4, 5, x=2), look(6, 7, x=(1, 2))],
    "overlapping appends": [append(0, 5, x=1), append(0, 5, x=2), look(1, 2, x=(2,)), look(6, 7, x=(2, 1))],
    "an unknown append appears late": [append(0, NEVER, UNKNOWN, x=1), look(2, 3, x=()), look(4, 5, x=(1,))],
    "a refused append is nowhere": [append(0, 1, FAILED, x=1), look(2, 3, x=())],
    "two keys": [append(0, 1, x=1), append(2, 3, y=1), look(4, 5, x=(1,), y=(1,))],
    "appends after reads": [
        Transaction(0, 1, {"x": 1}, {"x": ()}), Transaction(2, 3, {"x": 2}, {"x": (1,)}), look(4, 5, x=(1, 2)),
    ],
}  # fmt: skip
BAD_LISTS = {
    "stale": ("stale", [append(0, 1, x=1), look(2, 3, x=()), look(4, 5, x=(1,))]),
    "lost": ("loss", [append(0, 1, x=1), look(2, 3, x=())]),
    "aborted": ("refused", [append(0, 1, FAILED, x=1), look(2, 3, x=(1,))]),
    "from nowhere": ("never appended", [look(2, 3, x=(1,))]),
    "doubled": ("2 times", [append(0, 1, x=1), look(2, 3, x=(1, 1))]),
    "disagreement": (
        "does not agree",
        [append(0, 5, x=1), append(0, 5, x=2), look(1, 2, x=(1,)), look(6, 7, x=(2, 1))],
    ),
    "future": ("saw", [look(0, 1, x=(1,)), append(2, 3, x=1)]),
    "appends against time": ("comes after", [append(0, 1, x=1), append(2, 3, x=2), look(4, 5, x=(2, 1))]),
    "lost update": (
        "cycle",
        [Transaction(0, 9, {"x": 1}, {"x": ()}), Transaction(0, 9, {"x": 2}, {"x": ()}), look(10, 11, x=(1, 2))],
    ),
    "long fork": (
        "cycle",
        [append(0, 9, x=1), append(0, 9, y=1), look(1, 8, x=(1,), y=()), look(1, 8, x=(), y=(1,))],
    ),
    "half of a transaction": (
        "cycle",
        [append(0, 9, x=1, y=1), look(1, 8, x=(1,), y=())],
    ),
    "written in two orders": (
        "cycle",
        [append(0, 9, x=1, y=1), append(0, 9, x=2, y=2), look(10, 11, x=(1, 2), y=(2, 1))],
    ),
}


@pytest.mark.parametrize("history", GOOD_LISTS.values(), ids=GOOD_LISTS)
def test_explained_lists_pass(history: list[Transaction]) -> None:
    """In whatever order the transactions are listed."""
    assert check_lists(history) == []
    assert check_lists(history[::-1]) == []


@pytest.mark.parametrize(("words", "history"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_anomalies_of_lists_are_named(words: str, history: list[Transaction]) -> None:
    """Each by its own words."""
    found = check_lists(history)
    assert any(words in one for one in found), found
    assert check_lists(history[::-1])


def test_real_time_between_keys_can_be_left_out() -> None:
    """A cut that misses the first of two acknowledged appends breaks real time, and nothing else."""
    history = [append(0, 1, x=1), append(2, 3, y=1), look(0, 5, x=(), y=(1,))]
    assert "rt" in check_lists(history)[0]
    assert check_lists(history, is_real_time=False) == []


# -- snapshots --------------------------------------------------------------------------------------------------------

ACCOUNTS = {"world": "EUR", "alice": "EUR"}


def snapshot(world: int, alice: int, *, at: float = 0.0, versions: tuple[int, int] = (1, 1)) -> Snapshot:
    rows = {"world": Row("EUR", world, None, versions[0]), "alice": Row("EUR", alice, 0, versions[1])}
    return Snapshot(at, at + 1, rows)


def test_snapshots_that_balance_pass() -> None:
    """Sums are exact and all limits are kept."""
    assert check_snapshots([snapshot(-10, 10), snapshot(0, 0)], ACCOUNTS) == []


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (snapshot(-10, 9), "adds up to -1"),
        (snapshot(10, -10), "below"),
        (Snapshot(0, 1, {"world": Row("EUR", 0, None, 1)}), "lacks alice"),
    ],
)
def test_broken_snapshots_are_found(one: Snapshot, words: str) -> None:
    """Money made or lost, a limit passed, an account left out."""
    assert words in check_snapshots([one], ACCOUNTS)[0]


def test_cuts_lie_in_one_order() -> None:
    """In every account alike, and not against time."""
    early, late = snapshot(0, 0, at=0.0, versions=(1, 1)), snapshot(0, 0, at=2.0, versions=(1, 2))
    assert check_cuts([early, late, snapshot(0, 0, at=0.5, versions=(1, 2))]) == []
    assert check_cuts([snapshot(0, 0, at=0.0, versions=(1, 2)), snapshot(0, 0, at=2.0, versions=(1, 1))])
    crossed = [snapshot(0, 0, at=0.0, versions=(1, 2)), snapshot(0, 0, at=0.5, versions=(2, 1))]
    assert "other way round" in check_cuts(crossed)[0]


def test_a_refusal_under_a_token_that_holds_is_found() -> None:
    """Within the lease's time since it was asked for, by the slowest clock."""
    grants = [Grant("lock", 7, 10.0, 10.5, ttl=2.0)]
    assert check_refused([Guarded(1, "lock", 7, 11.0, 12.5), Guarded(2, "lock", 6, 11.0, 11.5)], grants) == []
    (broken,) = check_refused([Guarded(1, "lock", 7, 11.0, 11.9)], grants)
    assert "under token 7, which holds until 11.998" in broken


def test_what_a_lost_folder_held_counts_as_stored() -> None:
    """Its acknowledgement may arrive when it is gone: that the entry was committed rightly is no broken promise."""
    entry, other = chain(1, 2)
    lost = Drive(Random(1))
    lost.disk.groups[0] = StoredGroup(entries=[entry])
    drive = Drive(Random(2), before=lost)
    assert drive.holds(0, entry) and not drive.holds(0, other)


# -- events -------------------------------------------------------------------------------------------------------


def told(number: int, name: str = "transfer", shard: int = 1, series: str = "record") -> Told:
    return Told(shard, series, number, name, (("id", number),))


LOG = [told(0), told(1), told(0, "account_opened", series="journal"), told(4), told(0, shard=2)]
LATER = told(1, "hold_ended", series="journal")
BAD_READERS = {
    "was told twice of transfer 1": [*LOG[:2], *LOG[1:]],
    "was not told of transfer 1": [LOG[0], *LOG[2:]],
    "was told out of order of transfer 0": [LOG[1], LOG[0], *LOG[2:]],
    "was told of transfer 5": [*LOG, told(5)],
    "was not told of transfer 4": LOG[:3],
    "but then of hold 1": [LOG[0], told(1, "hold"), *LOG[2:]],
}


def test_readers_who_were_told_the_log_pass() -> None:
    """Shards in any order, and without what only time has done since; a reader of some time ago has a beginning."""
    assert check_reader("r", LOG, LOG) == check_reader("r", [LOG[-1], *LOG[:-1]], LOG) == []
    assert check_reader("r", LOG, [*LOG, LATER]) == []
    assert check_prefix("r", LOG[:2], LOG) == check_prefix("r", [], LOG) == []
    assert check_prefix("r", [LOG[0], LOG[4]], LOG) == []


@pytest.mark.parametrize(("broken", "reader"), BAD_READERS.items())
def test_wrong_readings_are_found(broken: str, reader: list[Told]) -> None:
    """And named."""
    assert broken in check_reader("r", reader, LOG)[0]


def test_what_the_bank_does_not_know_is_found() -> None:
    """A transfer that was told although it did not happen, one that happened and was not, and one told as another."""

    def transfer(id: int, outcome: str) -> Transfer:
        return Transfer(id, "a", "b", 5, attempts=[Attempt(0, 1, outcome)])

    def event(id: int, amount: int = 5) -> Told:
        return Told(1, "record", id, "transfer", (("id", id), ("debit", "a"), ("credit", "b"), ("amount", amount)))

    records = Records(transfers={1: transfer(1, "created"), 2: transfer(2, "exceeds_credits")}, events=[event(1)])
    assert check_against_bank(records) == []
    records.events = [event(1, 6), event(2)]
    assert [broken.removeprefix(f"transfer {0:030x}")[2:] for broken in check_against_bank(records)] == [
        " was told with another amount", " did not happen, and was told 1 times",
    ]  # fmt: skip
    records.events = []
    assert "happened, and was told 0 times" in check_against_bank(records)[0]
