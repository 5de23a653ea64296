"""What readers of facts are told: a question from a position on, answered from the record and the journal, in one order.

`["facts", [record kinds and journal kinds], prefix, position, most]` is answered by `FactsTold`, what kinds and prefix choose between two
positions; by `FactsTooOld` where the journal is read, and what stands at the position is not kept any more; or by `FactsAhead`.

A position counts what has been told; it says of a series that is not read how far it was read before. Whoever asks from `following` on
misses nothing and is told nothing twice: no answer depends on who has asked before, so nothing is kept for a reader, however slow. All
that is applied has been committed, so what was told stays true.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from node.core.machine.journal import Journal, Row
from node.core.machine.operation import Body, Served
from node.core.machine.part import Answer, Loaded, Need, Part
from node.core.machine.questions import MACHINE
from protocol.answers import FactsAhead, FactsTold, FactsTooOld
from protocol.events import FACTS_MAX, NEWEST, ROWS_MAX, JournalFact, Position, TransferEvents
from protocol.operations import Operation
from protocol.requests import FactsRequest

ROW_BYTES = 320  # of the record at its longest: two account ids, a reference and seven numbers
FACT_BYTES = 1_536  # of the journal: an account with its metadata


def answer_facts(
    parts: Collection[Part], journal: Journal, is_settled: bool, body: Body, loaded: Loaded
) -> Answer | Need:
    """See the module. `is_settled`: no round is open here that may have been decided, and told of, elsewhere."""
    _, kinds, prefix, at, most = body
    record = next((part for part in parts if part.record_kinds), None)
    recorded = record.recorded() if record is not None else 0
    newest = Position(recorded, journal.count)
    reads_journal = any(kind in part.kinds for part in parts for kind in kinds)
    if record is not None and not any(kind in record.record_kinds for kind in kinds):
        record = None
    if isinstance(at, str):
        start = newest if at == NEWEST else Position(0, journal.oldest)
    else:
        start = Position.unpack(at)
    row, fact = start.rows, start.facts
    if newest.is_before(start):
        return Answer(FactsAhead(start, newest).pack(), is_news=False)
    if reads_journal and fact < journal.oldest:
        return Answer(FactsTooOld(start, Position(row, journal.oldest)).pack())
    facts: Sequence[Row] = ()
    if reads_journal and fact < journal.count and most:
        found = journal.read(fact, min(most, FACTS_MAX), loaded)
        if isinstance(found, Need):
            return found
        facts = found
    transfers, next_row = None, row
    if record is not None and most:
        is_all = fact + len(facts) == journal.count or not reads_journal
        stop = recorded if is_all else max(row, facts[-1][0])
        told = record.query(["record", row, stop, min(most, ROWS_MAX), kinds, prefix], loaded)
        if isinstance(told, Need):
            return told
        _, next_row, columns = told.body
        transfers = None if columns is None else TransferEvents.unpack(columns)
        facts = [each for each in facts if each[0] <= next_row]
    end = Position(row if record is None else recorded, journal.count if reads_journal else fact)
    following = Position(next_row, fact + len(facts))
    chosen = [JournalFact(number, *each) for number, each in enumerate(facts, fact) if _is_chosen(each, kinds, prefix)]
    is_news = following != start if most else is_settled
    answer = FactsTold(start, following, end, transfers, chosen)
    return Answer(answer.pack(), not most and not is_settled, is_news)


def _is_chosen(fact: Row, kinds: Sequence[str], prefix: str) -> bool:
    _, _, kind, _, subjects, _ = fact
    return kind in kinds and any(subject.startswith(prefix) for subject in subjects)


def _answer_bytes(body: Body) -> int:
    rows = FactsRequest.rows_in(body)
    return ROW_BYTES * rows + FACT_BYTES * min(rows, FACTS_MAX)


def _question(asked: FactsRequest) -> Body:
    position = asked.position if isinstance(asked.position, str) else asked.position.pack()
    return ["facts", asked.kinds, asked.prefix, position, asked.most]


FACTS = Served(
    Operation.facts, MACHINE, False, FactsRequest.unpack, lambda _: [], _question, lambda answer: answer,
    answer_bytes=_answer_bytes, is_heavy=lambda _: True, group=lambda asked: asked.group,
    is_early=lambda asked: asked.most > 0, wait_ms=lambda asked: asked.wait_ms,
)  # fmt: skip
"""Of every machine, whatever its parts."""
