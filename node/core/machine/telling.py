"""What readers of facts are told: a question from a position on, answered from the record and the journal, in one order.

`["facts", [record kinds and journal kinds], prefix, position, most]` is answered by one of

| answer | when |
|---|---|
| ["told", start, next, end, columns or None, facts] | what kinds and prefix choose between two positions; all ends at `end` |
| ["too_old", start, oldest] | the journal is read, and what stands at the position is not kept any more |
| ["ahead", start, end] | nobody can have been told so much: the shard is an older one, put back |

A position is `[rows of the record, facts of the journal]` that have been told; it says of a series that is not read how far it was read
before. Whoever asks from `next` on misses nothing and is told nothing twice: no answer depends on who has asked before, so nothing is kept
for a reader, however slow. All that is applied has been committed, so what was told stays true.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from node.core.machine.journal import Journal, Row
from node.core.machine.operation import Body, Served, expect
from node.core.machine.part import Answer, Loaded, Need, Part
from protocol.events import CLUSTER_KINDS, FACTS_MAX, NEWEST, OLDEST, PREFIX_BYTES_MAX, ROWS_MAX, WAIT_MS_MAX, EventKind
from protocol.operations import Operation
from protocol.placement import COORDINATOR, SHARDS_MAX, called

MACHINE = "machine"  # whom the question is for: no part
ROW_BYTES = 320  # of the record at its longest: two account ids, a reference and seven numbers
FACT_BYTES = 1_536  # of the journal: an account with its metadata


def answer_facts(
    parts: Collection[Part], journal: Journal, is_settled: bool, body: Body, loaded: Loaded
) -> Answer | Need:
    """See the module. `is_settled`: no round is open here that may have been decided, and told of, elsewhere."""
    _, kinds, prefix, position, most = body
    record = next((part for part in parts if part.record_kinds), None)
    recorded = record.recorded() if record is not None else 0
    newest = [recorded, journal.count]
    reads_journal = any(kind in part.kinds for part in parts for kind in kinds)
    if record is not None and not any(kind in record.record_kinds for kind in kinds):
        record = None
    if position in (OLDEST, NEWEST):
        position = newest if position == NEWEST else [0, journal.oldest]
    row, fact = position
    if row > recorded or fact > journal.count:
        return Answer(["ahead", position, newest], is_news=False)
    if reads_journal and fact < journal.oldest:
        return Answer(["too_old", position, [row, journal.oldest]])
    facts: Sequence[Row] = ()
    if reads_journal and fact < journal.count and most:
        found = journal.read(fact, min(most, FACTS_MAX), loaded)
        if isinstance(found, Need):
            return found
        facts = found
    columns, next_row = None, row
    if record is not None and most:
        is_all = fact + len(facts) == journal.count or not reads_journal
        stop = recorded if is_all else max(row, facts[-1][0])
        told = record.query(["record", row, stop, min(most, ROWS_MAX), kinds, prefix], loaded)
        if isinstance(told, Need):
            return told
        _, next_row, columns = told.body
        facts = [each for each in facts if each[0] <= next_row]
    end = [row if record is None else recorded, journal.count if reads_journal else fact]
    following = [next_row, fact + len(facts)]
    chosen = [[number, *each] for number, each in enumerate(facts, fact) if _is_chosen(each, kinds, prefix)]
    is_news = following != position if most else is_settled
    return Answer(["told", position, following, end, columns, chosen], not most and not is_settled, is_news)


def _is_chosen(fact: Row, kinds: Sequence[str], prefix: str) -> bool:
    _, _, kind, _, subjects, _ = fact
    return kind in kinds and any(subject.startswith(prefix) for subject in subjects)


@dataclass(frozen=True, slots=True)
class FactsRequest:
    """What a reader asks for."""

    group: int
    kinds: list[str]
    prefix: str
    position: str | list[int]  # rows and facts; or oldest, or newest
    most: int  # rows of the record
    wait_ms: int  # for news

    def question(self) -> Body:
        """As the machine takes it."""
        return ["facts", self.kinds, self.prefix, self.position, self.most]


def decode_facts(body: Body) -> FactsRequest:
    """`[shard, kinds, prefix, position, rows, wait_ms]`."""
    expect(len(body) == 6, "[shard, kinds, prefix, position, rows, wait_ms]")
    asked = FactsRequest(*body)
    expect(type(asked.group) is int and 0 <= asked.group <= SHARDS_MAX, f"a shard of 0 to {SHARDS_MAX}")
    known = [kind.value for kind in EventKind if (kind in CLUSTER_KINDS) == (asked.group == COORDINATOR)]
    is_list = type(asked.kinds) is list and 0 < len(asked.kinds) <= len(EventKind)
    is_known = is_list and all(kind in known for kind in asked.kinds)
    expect(is_known, f"kinds of {called(asked.group)}, some of {', '.join(known)}")
    is_prefix = type(asked.prefix) is str and len(asked.prefix.encode(errors="replace")) <= PREFIX_BYTES_MAX
    expect(is_prefix, f"a prefix of at most {PREFIX_BYTES_MAX} bytes")
    position = asked.position
    is_position = type(position) is list and len(position) == 2 and all(map(_is_count, position))
    expect(is_position or position in (OLDEST, NEWEST), f"[rows, facts] from 0, {OLDEST} or {NEWEST} as a position")
    expect(_is_count(asked.most) and asked.most <= ROWS_MAX, f"0 to {ROWS_MAX} rows")
    expect(_is_count(asked.wait_ms) and asked.wait_ms <= WAIT_MS_MAX, f"a wait of 0 to {WAIT_MS_MAX} ms")
    return asked


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _answer_bytes(body: Body) -> int:
    """Of a body of which nothing has been checked."""
    match body:
        case [_, _, _, _, int(most), _] if _is_count(most):
            rows = min(most, ROWS_MAX)
            return ROW_BYTES * rows + FACT_BYTES * min(rows, FACTS_MAX)
    return 0


FACTS = Served(
    Operation.facts, MACHINE, False, decode_facts, lambda _: [], FactsRequest.question, lambda answer: answer,
    answer_bytes=_answer_bytes, is_heavy=lambda _: True, group=lambda asked: asked.group,
    is_early=lambda asked: asked.most > 0, wait_ms=lambda asked: asked.wait_ms,
)  # fmt: skip
"""Of every machine, whatever its parts."""
