"""The end of `chaos`: open outcomes are settled, and the books are held against all that the clients know."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from node.cli.shown import amount
from protocol.client import Client, Undecided
from protocol.columns import Flag
from protocol.errors import Refused, RingpayError
from protocol.status import Status
from scripts.load.proof import CURRENCY, Check, check_report, settled_audit, side_by_side
from tests.chaos.bank import FUNDING, Bank, Movement, send

SETTLE_SECONDS = 30.0  # for one open outcome, with all nodes up
RETRY_SECONDS = 0.1
ACKNOWLEDGED_MIN = SNAPSHOTS_MIN = AUDITS_MIN = 1  # while faults fell: without any nothing was put to the test
UNDECIDED_SECONDS_MAX = 2.0  # for a round between shards, once a majority is back: what the product promises
WATCH_SECONDS = 3.0  # long enough to see a round that takes longer
LOOK_SECONDS = 0.1  # between two looks at what is undecided


async def settle(client: Client, bank: Bank) -> Counter[str]:
    """Settles every unknown outcome, by asking for it or by sending the same again in turn; how each came out."""
    found: Counter[str] = Counter()

    async def settle_one(numbered: tuple[int, Movement]) -> None:
        number, movement = numbered
        status = await _outcome(client, movement, is_sent_again=number % 2 == 1)
        if status is None:
            bank.violations.append(f"{movement.kind.name} {movement.id:032x} has no outcome with all nodes up")
            return
        found[status.name] += 1
        happened = status <= Status.exists
        (bank.acknowledged if happened else bank.refused)[movement.id] = movement
        del bank.unknown[movement.id]
        if status is Status.cancelled:
            await _check_cancelled(client, bank, movement)

    await side_by_side(enumerate(list(bank.unknown.values())), settle_one)
    return found


async def _outcome(client: Client, movement: Movement, *, is_sent_again: bool) -> Status | None:
    """What became of it; None if nobody says."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        try:
            if is_sent_again:
                return (await send(client, movement)).status
            return await client.outcome(movement.id, movement.debit)
        except Refused as refused:
            return Status[refused.status]
        except RingpayError:
            await asyncio.sleep(RETRY_SECONDS)
    return None


async def _check_cancelled(client: Client, bank: Bank, movement: Movement) -> None:
    """What was cancelled never happens, though it is sent again."""
    status = await _outcome(client, movement, is_sent_again=True)
    if status not in (Status.cancelled, None):
        text = f"{movement.kind.name} {movement.id:032x} was cancelled, then {status.name}"
        bank.violations.append(text)


async def watch_undecided(client: Client, bank: Bank) -> None:
    """For a while from now on, as all nodes run again: how long rounds stay undecided."""
    began = time.monotonic()
    while (asked := time.monotonic() - began) < WATCH_SECONDS:
        try:
            found = await client.undecided()
        except RingpayError:
            bank.failed_reads += 1
        else:
            note_undecided(bank, found, asked)
        await asyncio.sleep(LOOK_SECONDS)


def note_undecided(bank: Bank, found: Undecided, seconds: float) -> None:
    """What was undecided so many seconds after all nodes ran again; what a round waited before is not held against it."""
    oldest = max((row.age_seconds for row in found.rounds), default=0.0)
    bank.undecided_seconds = max(bank.undecided_seconds, min(oldest, seconds))
    if not found.silent:
        bank.watched_seconds = seconds


def check_undecided(bank: Bank) -> Check:
    """No round stays undecided for long while all nodes run."""
    return Check(
        f"rounds are decided within {UNDECIDED_SECONDS_MAX:g} s once all nodes run again",
        f"the longest seen took {bank.undecided_seconds:.2f} s",
        bank.undecided_seconds <= UNDECIDED_SECONDS_MAX,
    )


def not_shown(bank: Bank, faults: Sequence[tuple[float, float]]) -> list[str]:
    """What the run gives no evidence of. `faults` are their times of this machine's monotonic clock, recovery included."""
    lacking = []
    for name, times, least in (
        ("acknowledged payments", bank.answered, ACKNOWLEDGED_MIN),
        ("complete snapshots", bank.snapshots, SNAPSHOTS_MIN),
        ("audits", bank.audits, AUDITS_MIN),
    ):
        count = sum(any(began <= time <= ended for began, ended in faults) for time in times)
        if count < least:
            lacking.append(f"{name} while faults fell: {count} of {len(times):,} in all, expected {least} or more")
    if bank.watched_seconds < UNDECIDED_SECONDS_MAX:
        text = f"what is undecided {UNDECIDED_SECONDS_MAX:g} s after all nodes run again"
        lacking.append(f"{text}: the last complete look was after {bank.watched_seconds:.1f} s")
    return lacking


async def prove(client: Client, bank: Bank) -> list[Check]:
    """Every check of the books at rest."""
    report = await settled_audit(client)
    histories = await _histories(client, bank)
    return [*check_histories(bank, histories), *await _balances(client, bank), *check_report(report)]


async def _histories(client: Client, bank: Bank) -> dict[str, Counter[tuple[int, int]]]:
    """By account, how often each movement stands in its history, as id and amount; the funding left out."""
    found: dict[str, Counter[tuple[int, int]]] = {account: Counter() for account in bank.accounts}

    async def read(account: str) -> None:
        async for entry in client.history(account):
            if entry.debit in found:
                amount = 0 if entry.flags & Flag.void else entry.amount
                found[account][entry.id, amount] += 1

    await side_by_side(bank.accounts, read)
    return found


def check_histories(bank: Bank, histories: dict[str, Counter[tuple[int, int]]]) -> list[Check]:
    """Both accounts' histories hold what was acknowledged, once, and nothing else."""
    lost = doubled = 0
    known: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for movement in bank.acknowledged.values():
        key = movement.id, movement.amount
        counts = [histories[account][key] for account in (movement.debit, movement.credit)]
        lost += min(counts) == 0
        doubled += max(counts) > 1
        known[movement.debit].add(key)
        known[movement.credit].add(key)
    strange = sum(key not in known[account] for account, found in histories.items() for key in found)
    once = len(bank.acknowledged) - lost - doubled
    never = [*bank.refused, *bank.unserved]
    ids = {id for found in histories.values() for id, _ in found}
    happened = sum(id in ids for id in never)
    return [
        Check(
            "acknowledged movements are in both histories exactly once",
            f"{once:,} of {len(bank.acknowledged):,}, {lost:,} lost, {doubled:,} doubled",
            once == len(bank.acknowledged),
        ),
        Check("what was refused or not taken did not happen", f"{happened:,} of {len(never):,} did", happened == 0),
        Check("histories hold nothing else", f"{strange:,} strange rows", strange == 0),
    ]


async def _balances(client: Client, bank: Bank) -> list[Check]:
    """Each balance and what is held of it against the sum of what was acknowledged."""
    posted, held = expected_balances(bank, bank.acknowledged.values())
    accounts = [account for account in await client.accounts(bank.accounts) if account is not None]
    right = sum((account.posted, account.held) == (posted[account.id], held[account.id]) for account in accounts)
    low = sum(account.posted - account.held < bank.minimums[account.id] for account in accounts)
    total = sum(account.posted for account in accounts)
    count, money = len(bank.minimums), [str(amount(sum, CURRENCY)) for sum in (total, bank.total)]
    return [
        Check("balances are the sum of the acknowledged", f"{right:,} of {count:,}", right == count),
        Check("no balance is below its limit", f"{low:,} of {count:,} are", low == 0),
        Check("the accounts hold all money", " of ".join(money), total == bank.total),
    ]


def expected_balances(bank: Bank, movements: Iterable[Movement]) -> tuple[dict[str, int], dict[str, int]]:
    """Posted and held of each account."""
    posted = dict.fromkeys(bank.minimums, FUNDING)
    left: dict[int, int] = {}  # of each hold
    debits: dict[int, str] = {}
    for movement in sorted(movements, key=lambda movement: (movement.kind != Flag.hold, movement.kind == Flag.void)):
        match movement.kind:
            case Flag.hold:
                left[movement.id], debits[movement.id] = movement.amount, movement.debit
                continue
            case Flag.void:
                left[movement.hold] = 0
            case Flag.capture:
                left[movement.hold] -= movement.amount
        posted[movement.debit] -= movement.amount
        posted[movement.credit] += movement.amount
    held = dict.fromkeys(bank.minimums, 0)
    for id, rest in left.items():
        held[debits[id]] += rest
    return posted, held
