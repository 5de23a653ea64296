"""Split accounts on a node: puts right what a sender that does not know them has asked for, opens them, and gathers their funds.

A client's request comes through `mend` first. Its answer says by the ledger's marks, not by this node's list, whether a share was
taken for the whole, or a share had not enough; then the node asks again in the right way, and the client sees one answer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.actors.actor import RETRY_AFTER_MS, Failed, Outcome, Reply, Spawn, overdue, promised
from node.actors.coordinator import Submit
from node.actors.router import Call, Router
from node.core.commit import number_transactions
from node.core.ledger.commands import FollowCommand, ShareCommand, UpdateCommand
from node.core.machine import Body, apply_request
from node.core.splits import ShareMove, Splits, add_command, moves_home, plan_moves
from node.core.splits import status_of as listing_of
from node.ports import Clock
from protocol import ids
from protocol.answers import Transferred, Updated, status_of, transfer_of
from protocol.columns import FINAL_VERSION, SEPARATOR, Flag, Transfers
from protocol.errors import ErrorCode
from protocol.operations import Operation, PeerOperation
from protocol.placement import COORDINATOR, group_of
from protocol.requests import BalancesRequest, SnapshotRequest, SplitRequest, UpdateRequest
from protocol.rows import AccountRow, NewAccount
from protocol.status import SPLIT_ACCOUNTS_MAX, AccountState, AccountStatus, Status

ATTEMPTS_MAX = 16  # of a batch: between gathering and the next attempt, others may take what was gathered
CUTS_BEFORE_REFUSAL = 2  # a cut may miss a credit and hold a later debit of another shard; two in a row hardly do
GRACE_SECONDS = 0.1  # after the deadline: whoever is asked may be the one to say so
PAUSE_SECONDS_MAX = 0.2  # between two cuts
SPENDABLE_MAX = 2**63 - 1  # of a share: its balance is below 2^62, its limit above -2^62; who wants more is refused
MOVE_REFERENCE = "between shares"  # what the record says of a gathering

WATCHED = (Operation.transfers, Operation.balances, Operation.update, Operation.outcome, Operation.transfer)
Cut = Callable[[list[str], Callable[[list[list[Any]] | Failed], None]], None]


@dataclass(slots=True)
class Job:
    """Somebody waits for funds in the home share."""

    wanted: list[int]  # what each transaction takes
    deadline: float
    reply: Reply
    cuts: int = 0  # in a row that had too little

    def lacking(self, total: int) -> list[int]:
        """What its transactions take that wants more than there is."""
        return [amount for amount in self.wanted if amount > total]

    def note_cut(self, total: int, moving: int) -> None:
        """The shares have `total`, and `moving` may be on its way between them: counts the cut if it has too little for certain."""
        lacking = self.lacking(total)
        self.cuts = self.cuts + 1 if lacking and min(lacking) > total + moving else 0


class SplitAccounts:
    """One a node. What opens and gathers has tasks of its own while it does."""

    def __init__(
        self,
        router: Router,
        clock: Clock,
        spawn: Spawn,
        cut: Cut,
        submit: Callable[[Submit], None],
        source: random.Random,
    ) -> None:
        """`cut` reads all shares of accounts at once, `submit` starts a round; both work on the coordinator's node."""
        self._router = router
        self._clock = clock
        self._spawn = spawn
        self._cut = cut
        self._submit = submit
        self._ids = ids.IdGenerator(lambda: clock.wall_ns() // 1_000_000, source.getrandbits)
        self._jobs: dict[str, list[Job]] = {}  # by account, while somebody gathers for it

    # -- what comes from clients ----------------------------------------------------------------------------------

    def mend(self, call: Call) -> Call:
        """The call with a reply that looks at the answer first."""
        if call.operation not in WATCHED:
            return call

        def answered(outcome: Outcome) -> None:
            if isinstance(outcome, Failed):
                call.reply(outcome)
                return
            work: Callable[[Call, Body], Coroutine[Any, Any, Outcome]] | None = None
            match call.operation:
                case Operation.transfers if _has_marks(outcome):
                    work = self._transfers
                case Operation.balances if any(map(_is_split, outcome)):
                    work = self._balances
                case Operation.update if status_of(outcome) == AccountStatus.elsewhere:
                    work = self._update
                case Operation.outcome if status_of(outcome) == Status.elsewhere:
                    work = self._at_home
                case Operation.transfer if call.group not in (-1, self._home(call.request.debit)):
                    work = self._at_home if transfer_of(outcome) is None else None
            if work is None:
                call.reply(outcome)
            else:
                self._spawn(self._finish(call, partial(work, call, outcome)))

        return call.answered_by(answered)

    async def _finish(self, call: Call, work: Callable[[], Coroutine[Any, Any, Outcome]]) -> None:
        call.reply(await work())

    async def _ask(self, call: Call, group: int, operation: str, body: Body, request: Any = None) -> Outcome:
        """A call of its own, within the deadline of `call`; `request` is the body unpacked, where it is a client's."""
        answer, reply = promised()
        asked = Call(group, operation, body, call.deadline, reply, call.source, request=request)
        if group < 0:
            self._router.route(asked)
        else:
            self._router.call(asked)
        try:
            return await asyncio.wait_for(answer, max(0.0, call.deadline - self._clock.monotonic()) + GRACE_SECONDS)
        except TimeoutError:
            return Failed(ErrorCode.outcome_unknown, f"{operation}: no answer in time")

    async def _ask_all(self, call: Call, groups: Iterable[int], operation: str, body: Body) -> list[Body] | Failed:
        outcomes = await asyncio.gather(*(self._ask(call, group, operation, body) for group in groups))
        failed = next((outcome for outcome in outcomes if isinstance(outcome, Failed)), None)
        return failed or [outcome for outcome in outcomes if not isinstance(outcome, Failed)]

    @property
    def _groups(self) -> range:
        return range(1, self._router.placement.shards + 1)

    def _home(self, account: str) -> int:
        return group_of(account, self._router.placement.shards)

    async def _learn(self, call: Call, accounts: Iterable[str]) -> Failed | None:
        """Finds out which of these accounts are split: their home shares know."""
        unknown = [account for account in dict.fromkeys(accounts) if account not in self._router.split]
        asked = BalancesRequest(unknown)
        rows = await self._ask(call, -1, Operation.balances, asked.pack(), asked) if unknown else []
        if isinstance(rows, Failed):
            return rows
        self._router.learn(account for account, row in zip(unknown, rows, strict=True) if _is_split(row))
        return None

    async def _balances(self, call: Call, rows: list[Any]) -> Outcome:
        """Split accounts are read at a cut, all of this request at one."""
        places = [place for place, row in enumerate(rows) if _is_split(row)]
        read: BalancesRequest = call.request
        asked = SnapshotRequest([read.accounts[place] for place in places])
        self._router.learn(asked.accounts)
        whole = await self._ask(call, COORDINATOR, Operation.snapshot, asked.pack(), asked)
        if isinstance(whole, Failed):
            return whole
        for place, row in zip(places, whole, strict=True):
            rows[place] = row
        return rows

    async def _update(self, call: Call, _: Body) -> Outcome:
        """The home share takes the whole of it, or refuses it; the others then follow its state."""
        asked: UpdateRequest = call.request
        home = self._home(asked.account)
        answer = await self._ask(call, home, PeerOperation.ledger, UpdateCommand(asked, is_for_share=True).pack())
        if isinstance(answer, Failed) or "status" not in asked.fields:
            return answer
        told = Updated.unpack(answer)
        if told.status is not AccountStatus.updated:
            return answer
        others = [group for group in self._groups if group != home]
        body = FollowCommand(asked.account, AccountState(asked.fields["status"]), told.version).pack()
        answers = await self._ask_all(call, others, PeerOperation.ledger, body)
        return _in_doubt(answers) if isinstance(answers, Failed) else answer

    async def _at_home(self, call: Call, _: Body) -> Outcome:
        """An id belongs to its debit account's home share, which a sender that names another group has missed."""
        return await self._ask(call, -1, call.operation, call.body, call.request)

    # -- transfers ------------------------------------------------------------------------------------------------

    async def _transfers(self, call: Call, answer: Body) -> Outcome:
        """Tries the rows again that went to a wrong share, or to one that was short, until each has an outcome."""
        batch: Transfers = call.request
        statuses = np.frombuffer(Transferred.unpack(answer).statuses, np.uint8).copy()
        attempts = 0
        while len(rows := rows_to_repeat(batch, statuses)):
            has_happened = bool((np.delete(statuses, rows) <= Status.exists).any())
            if attempts == ATTEMPTS_MAX:
                text = "others took what was gathered, again and again"
                return Failed(ErrorCode.busy, text, RETRY_AFTER_MS, may_have_happened=has_happened)
            attempts += 1
            short, again = statuses[rows] == Status.share_short, batch.take(rows)
            if (statuses[rows] == Status.elsewhere).any():
                failed = await self._learn(call, [*again.debits(), *again.credits()])
            else:
                failed, again = await self._with_funds(call, again, short)
            if failed is not None:
                return replace(failed, may_have_happened=has_happened)
            outcome = await self._ask(call, -1, Operation.transfers, again.pack(), again)
            if isinstance(outcome, Failed):
                return _in_doubt(outcome) if has_happened else outcome
            statuses[rows] = np.frombuffer(Transferred.unpack(outcome).statuses, np.uint8)
        return Transferred(statuses.tobytes()).pack()

    async def _with_funds(
        self, call: Call, batch: Transfers, short: NDArray[np.bool_]
    ) -> tuple[Failed | None, Transfers]:
        """Gathers funds for the debits of the accounts that were short; marks those for refusal that no sum covers."""
        debits = batch.debits()
        takes = (batch.flag_bits() & (Flag.capture | Flag.void)) == 0
        numbers, amounts = number_transactions(batch).tolist(), batch.amounts().tolist()
        final = np.zeros(len(batch), np.bool_)
        for account in dict.fromkeys(debits[row] for row in np.flatnonzero(short).tolist()):
            mine = [row for row in np.flatnonzero(takes).tolist() if debits[row] == account]
            wanted: dict[int, int] = {}
            for row in mine:
                wanted[numbers[row]] = min(wanted.get(numbers[row], 0) + amounts[row], SPENDABLE_MAX)
            answer = await self._ask(call, COORDINATOR, PeerOperation.gather, [account, list(wanted.values())])
            if isinstance(answer, Failed):
                return answer, batch
            (possible,) = answer
            refused = [chain for chain, is_possible in zip(wanted, possible, strict=True) if not is_possible]
            final[[row for row in mine if numbers[row] in refused]] = True
        if not final.any():
            return None, batch
        versions = np.frombuffer(batch.if_version or bytes(8 * len(batch)), "<u8").copy()
        versions[final] = FINAL_VERSION
        return None, replace(batch, if_version=versions.tobytes())

    # -- opening --------------------------------------------------------------------------------------------------

    def open(self, call: Call) -> None:
        """Starts to open a split account."""
        self._spawn(self._finish(call, partial(self._open, call)))

    async def _open(self, call: Call) -> Outcome:
        """The home share first, which may refuse it for all; then the others; then it is listed. All may be repeated."""
        asked: SplitRequest = call.request
        account, id = asked.account, asked.account.id
        if id not in self._router.split and len(self._router.split) >= SPLIT_ACCOUNTS_MAX:
            return [int(AccountStatus.too_many_split_accounts)]
        home, count = self._home(id), self._router.placement.shards
        opened = await self._ask(call, home, PeerOperation.ledger, ShareCommand(account, home, count).pack())
        done = (AccountStatus.created, AccountStatus.exists)
        if isinstance(opened, Failed) or status_of(opened) not in done:
            return opened
        other = NewAccount(id, account.currency, None if account.minimum is None else 0)
        others = [group for group in self._groups if group != home]
        commands = [ShareCommand(other, group, count).pack() for group in others]
        shares = await asyncio.gather(
            *(self._ask(call, group, PeerOperation.ledger, body) for group, body in zip(others, commands, strict=True))
        )
        for share in shares:
            if isinstance(share, Failed):
                return _in_doubt(share)
            if status_of(share) not in done:
                return share
        listed = await self._ask(call, COORDINATOR, PeerOperation.machine, apply_request(Splits.name, add_command(id)))
        if isinstance(listed, Failed):
            return _in_doubt(listed)
        if (status := listing_of(listed)) not in done:
            return [int(status)]
        self._router.learn([id])
        return opened

    # -- gathering ------------------------------------------------------------------------------------------------

    def gather(self, call: Call) -> None:
        """`[account, [amount, ...]]`, one a transaction: all that wait for the same account share a cut and a round.

        Who wants more than there is waits for the next cut, and holds up nobody else.
        """
        account, wanted = call.body
        job = Job(wanted, call.deadline, call.reply)
        if account in self._jobs:
            self._jobs[account].append(job)
        else:
            self._jobs[account] = [job]
            self._spawn(self._gather_for(account))

    async def _gather_for(self, account: str) -> None:
        try:
            while jobs := self._jobs[account]:
                self._jobs[account] = []
                waiting = await self._gather(account, jobs)
                self._jobs[account][:0] = waiting
        finally:
            del self._jobs[account]

    async def _gather(self, account: str, jobs: list[Job]) -> list[Job]:
        """One cut: moves funds to the home share for those whom the sum is enough for; who has to wait for another one."""
        self._router.learn([account])
        began = self._clock.monotonic()
        shares, reply = promised()
        self._cut([account], reply)
        found = await shares
        if isinstance(found, Failed):
            for job in jobs:
                job.reply(found)
            return []
        home = self._home(account)
        (mine,) = found
        rows = dict(zip(dict.fromkeys((home, *self._groups)), mine, strict=False))
        available = {group: row.available for group, row in rows.items()}
        if len(rows) < len(self._groups) or None in available.values():
            for job in jobs:  # not open everywhere, or never short: another attempt will tell
                job.reply([[True] * len(job.wanted)])
            return []
        moving = sum(row.held + row.incoming for group, row in rows.items() if group != home)
        total = sum(available.values())
        for job in jobs:
            job.note_cut(total, moving)
        ready = choose_ready(jobs, total)
        possible, moves = plan_moves(available, home, [amount for job in ready for amount in job.wanted])
        if rows[home].is_undecided and not all(possible):
            moves = moves_home(available, home)  # that share alone can tell what its open rounds may still bring
        if moves and ready:
            await self._move(account, moves, max(job.deadline for job in ready))
        for job in ready:
            size = len(job.wanted)
            job.reply([possible[:size]])
            del possible[:size]
        waiting = self._in_time([job for job in jobs if job not in ready])
        if any(not job.cuts for job in waiting):  # for what others are about to take: a payment takes about as long
            await asyncio.sleep(min(PAUSE_SECONDS_MAX, self._clock.monotonic() - began))
        return waiting

    def _in_time(self, jobs: list[Job]) -> list[Job]:
        """Those whose time is not over; the others are told so."""
        now = self._clock.monotonic()
        for job in jobs:
            if job.deadline < now:
                job.reply(overdue("gathering"))
        return [job for job in jobs if job.deadline >= now]

    async def _move(self, account: str, moves: list[ShareMove], deadline: float) -> None:
        """One round between the shares. Whatever becomes of it, the next attempt of the transfers finds out."""
        names = SEPARATOR.join([account] * len(moves))
        amounts = np.array([move.amount for move in moves], "<i8").tobytes()
        references = SEPARATOR.join([MOVE_REFERENCE] * len(moves))
        batch = Transfers(self._ids.take(len(moves)), names, names, amounts, reference=references)
        groups = np.array([[move.debit_group, move.credit_group] for move in moves], np.int32)
        done, reply = promised()
        self._submit(Submit(batch, groups[:, 0], groups[:, 1], deadline, reply, source=0))
        await done


def choose_ready(jobs: list[Job], total: int) -> list[Job]:
    """Those that need not wait for another cut, when the shares have `total`.

    Who comes later waits until those before leave enough for the first of its amounts, so that each attempt brings it further; who
    wants more than there is, until two cuts have said so.
    """
    ready, left = [], total
    for job in jobs:
        if job.cuts == CUTS_BEFORE_REFUSAL or (not job.lacking(total) and job.wanted[0] <= left):
            ready.append(job)
            for amount in job.wanted:
                left -= amount if amount <= left else 0
    return ready


def _in_doubt(failed: Failed) -> Failed:
    """For a request of which something has happened already."""
    return replace(failed, may_have_happened=True)


def _has_marks(answer: Body) -> bool:
    statuses = Transferred.unpack(answer).statuses
    return Status.elsewhere in statuses or Status.share_short in statuses


def _is_split(row: list[Any] | None) -> bool:
    return row is not None and AccountRow(*row).is_split


def rows_to_repeat(batch: Transfers, statuses: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Rows of the chains that failed for a split account alone."""
    internal = (statuses == Status.elsewhere) | (statuses == Status.share_short)
    if not internal.any():
        return np.zeros(0, np.intp)
    numbers = number_transactions(batch)
    return np.flatnonzero(np.isin(numbers, numbers[internal]))
