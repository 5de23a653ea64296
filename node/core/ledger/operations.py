"""What the ledger serves: shapes of the requests, where they go, and what their answers weigh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.core.ledger.commands import AccountsCommand, CancelCommand, UpdateCommand
from node.core.ledger.questions import AccountsQuestion
from node.core.machine.operation import Body, Merging, Served, after_first
from protocol.answers import transfer_of
from protocol.columns import SEPARATOR, Flag, Transfers
from protocol.metadata import check as check_metadata
from protocol.operations import Operation
from protocol.requests import (
    AccountsRequest,
    BalancesRequest,
    FindRequest,
    HistoryRequest,
    OutcomeRequest,
    TransferRequest,
    UpdateRequest,
)
from protocol.requests.checks import expect
from protocol.status import ACCOUNT_ID_BYTES_MAX, Status

LEDGER = "ledger"
ACCOUNT_BYTES = 1_280  # a row of an account at its longest: id, owner, metadata and a dozen numbers
ENTRY_BYTES = 592  # a row of history at its longest: two account ids, a reference, metadata and eight numbers
SEARCH_BYTES = 64 << 10  # for which a look into the record counts beside what it finds: segments take their time
SHARDS_ASKED = 4  # for so many searches one that goes through all shards is counted: most look into memory only
LIGHT_ROWS = 64  # accounts that are read at once; more take longer than a payment does
_EXPECTED_IDS = f"account ids of at most {ACCOUNT_ID_BYTES_MAX} bytes"


def decode_transfers(body: Body) -> Transfers:
    """`Transfers.pack()`. Names that no account can have would be kept in the record, so their length is bounded, if only in sum."""
    batch = Transfers.unpack(body)
    short = len(batch) * (ACCOUNT_ID_BYTES_MAX + 1)
    expect(len(batch.debit) < short and len(batch.credit) < short, _EXPECTED_IDS)
    for text in dict.fromkeys(batch.metadata.split(SEPARATOR)) if batch.metadata else ():
        check_metadata(text)
    return batch


def bytes_of_accounts(body: Body) -> int:
    """What an answer with as many accounts may weigh."""
    return ACCOUNT_BYTES * len(body)


def _bytes_of_page(body: Body) -> int:
    return SEARCH_BYTES + ENTRY_BYTES * HistoryRequest.rows_in(body)


def _history_question(asked: HistoryRequest) -> Body:
    return ["history", asked.account, asked.cursor, asked.rows, asked.newest_first]


def _both_sides(batch: Transfers) -> list[str]:
    return [*batch.debits(), *batch.credits()]


def _first_found(answers: Sequence[Body]) -> Body:
    """What happened comes before what was refused or cancelled under the same id in another shard."""
    found = [(row.status, answer) for answer in answers if (row := transfer_of(answer)) is not None]
    return min(found, key=lambda each: each[0], default=(Status.created, [None]))[1]


def _batch(command: Body) -> Transfers:
    """Of a command that has been made here: it holds the batch as it was decoded."""
    _, batch = command
    assert isinstance(batch, Transfers)
    return batch


def _ends_in_chain(command: Body) -> bool:
    flags = _batch(command).flags
    return bool(flags) and bool(int.from_bytes(flags[-2:], "little") & Flag.linked)


def _merge(commands: Sequence[Body]) -> Body:
    return ["transfers", Transfers.concatenate([_batch(command) for command in commands])]


OPERATIONS: tuple[Served[Any], ...] = (
    Served(
        Operation.accounts, LEDGER, True, AccountsRequest.unpack, lambda asked: [row.id for row in asked.accounts],
        AccountsCommand.ask, lambda answer: list(answer[1]), is_work=True,
    ),
    Served(
        Operation.update, LEDGER, True, UpdateRequest.unpack, lambda asked: [asked.account],
        lambda asked: UpdateCommand(asked, is_for_share=False).pack(), after_first, is_work=True,
    ),
    Served(
        Operation.transfers, LEDGER, True, decode_transfers, _both_sides, lambda batch: ["transfers", batch], after_first,
        is_work=True, size=len, merging=Merging(lambda command: _batch(command).length(), _ends_in_chain, _merge),
    ),
    Served(
        Operation.outcome, LEDGER, True, OutcomeRequest.unpack, lambda asked: [asked.debit],
        CancelCommand.ask, after_first, is_work=True,
    ),
    Served(
        Operation.balances, LEDGER, False, BalancesRequest.unpack, lambda asked: asked.accounts,
        lambda asked: AccountsQuestion(asked.accounts).pack(), lambda answer: list(answer[1]), answer_bytes=bytes_of_accounts,
        is_heavy=lambda asked: len(asked.accounts) > LIGHT_ROWS,
    ),
    Served(
        Operation.history, LEDGER, False, HistoryRequest.unpack,
        lambda asked: [asked.account] if asked.group is None else [], _history_question, after_first,
        answer_bytes=_bytes_of_page, is_heavy=lambda _: True, group=lambda asked: asked.group,
    ),
    Served(
        Operation.transfer, LEDGER, False, TransferRequest.unpack, lambda asked: [asked.debit],
        lambda asked: ["transfer", asked.id], after_first, answer_bytes=lambda _: SEARCH_BYTES,
    ),
    Served(
        Operation.find_by_id, LEDGER, False, FindRequest.unpack, lambda _: [], lambda asked: ["transfer", asked.id],
        after_first, answer_bytes=lambda _: SHARDS_ASKED * SEARCH_BYTES, merge_all=_first_found,
    ),
)  # fmt: skip
