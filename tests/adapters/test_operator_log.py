"""The operator's log as it is written: one line a notice whatever that quotes, and what the stores' adapters tell of damaged files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.adapters.operator_log import LINES_KEPT, TEXT_CHARACTERS_MAX, JsonLines, MemoryOperatorLog
from node.adapters.sqlite_log import SqliteLog
from node.adapters.starts import PeerFile
from node.core.raft import HardState
from node.notices import (
    CheckpointWritten,
    ClientRefused,
    LeaderChanged,
    Level,
    LinkLost,
    LogFileMissing,
    LogRowsDamaged,
    MembershipChanged,
    MemoryDamaged,
    Notice,
    Stopping,
    line_of,
)
from node.ports import LogWrite
from tests.adapters.test_flipped_bits import change
from tests.adapters.test_promises import STAMP, write
from tests.core.raft.entries import chain


def written(*notices: Notice, least: Level = Level.info) -> list[str]:
    """The lines that node 3 writes."""
    file = io.StringIO()
    log = JsonLines(file, 3, least)
    for notice in notices:
        log.tell(notice)
    return file.getvalue().splitlines()


def test_a_line_says_when_whose_and_what() -> None:
    """First what all lines have, then the notice's own fields; what has nothing to say is left out."""
    (line,) = written(LeaderChanged(7, 3, 2, None))
    told = json.loads(line)
    assert list(told) == ["timestamp", "level", "node", "event", "group", "term", "leader"]
    assert (told["level"], told["node"], told["event"], told["group"]) == ("info", 3, "leader changed", 7)
    assert told["timestamp"].endswith("Z") and len(told["timestamp"]) == 27
    assert json.loads(written(MembershipChanged(1, (1, 2), (3,), ()))[0])["voters"] == [1, 2]


@given(st.text())
def test_nothing_that_is_quoted_ends_a_line(text: str) -> None:
    """Newlines, control characters, quotes, half characters: a reader gets the text back, or its two ends."""
    (line,) = written(ClientRefused(text, "busy", text))
    assert line.isascii() and line.isprintable()
    assert json.loads(line)["reason"] == text
    assert line_of(ClientRefused(text, "busy", text)).isprintable()


def test_a_long_text_keeps_its_ends() -> None:
    """A trace of a thousand lines is no line of a log."""
    (line,) = written(LinkLost(2, "begin" + "x" * 10_000 + "end"))
    reason = json.loads(line)["reason"]
    assert reason.startswith("begin") and reason.endswith("end") and len(reason) < TEXT_CHARACTERS_MAX + 10


@pytest.mark.parametrize(("least", "count"), [(Level.debug, 3), (Level.info, 2), (Level.warning, 1), (Level.error, 0)])
def test_levels(least: Level, count: int) -> None:
    """What asks for less than is wanted is left out."""
    notices = (CheckpointWritten(1, 2, 3, 0.5), Stopping(), LinkLost(2, "the connection broke"))
    assert len(written(*notices, least=least)) == count


def test_a_full_disk_stops_nobody() -> None:
    """The line is lost."""
    file = open("/dev/full", "w")  # noqa: SIM115 - its closing fails too
    JsonLines(file, 1).tell(Stopping())
    with pytest.raises(OSError):
        file.close()


def test_the_twin_keeps_the_last_ones() -> None:
    """With the time of each."""
    seconds = iter(range(LINES_KEPT + 2))
    log = MemoryOperatorLog(lambda: float(next(seconds)))
    for number in range(LINES_KEPT + 2):
        log.tell(LinkLost(number, "silent"))
    assert len(log.told) == LINES_KEPT and log.told[0].seconds == 2.0
    assert log.told[-1].line(4).split() == [
        f"{LINES_KEPT + 1}.000", "s", "node", "4", "warning", "link", "lost", f"peer={LINES_KEPT + 1}", "reason='silent'",
    ]  # fmt: skip


# -- damaged files ------------------------------------------------------------------------------------------------


async def told_at_start(folder: Path) -> list[Notice]:
    """What a start says of its log."""
    operator = MemoryOperatorLog(lambda: 0.0)
    log = SqliteLog(folder, STAMP, operator)
    await log.open()
    await log.close()
    return [one.notice for one in operator.told]


@pytest.mark.parametrize("name", ["log.db", "log.promises"])
async def test_half_a_log_is_told_once(tmp_path: Path, name: str) -> None:
    """The next start finds both files."""
    await write(tmp_path, [LogWrite(1, HardState(1), chain(1, 3))])
    assert await told_at_start(tmp_path) == []
    (tmp_path / name).unlink()
    assert await told_at_start(tmp_path) == [LogFileMissing(str(tmp_path / name))]
    assert await told_at_start(tmp_path) == []


async def test_damaged_rows_are_told_together(tmp_path: Path) -> None:
    """Of a hundred groups there would be a hundred lines."""
    await write(tmp_path, [LogWrite(group, HardState(1), chain(1, 3)) for group in range(1, 6)])
    change(tmp_path, "UPDATE hard_state SET term = term + 1")
    (told,) = await told_at_start(tmp_path)
    assert isinstance(told, LogRowsDamaged) and (told.table, told.rows) == ("hard_state", 5)
    assert told.first.startswith("[1, 2")


async def test_a_damaged_memory_is_told(tmp_path: Path) -> None:
    """And a whole one is not."""
    operator = MemoryOperatorLog(lambda: 0.0)
    await PeerFile(tmp_path).save([[0, 2, 55, 1, 0]])
    PeerFile(tmp_path, operator).load()
    assert not operator.told
    (tmp_path / "remembered.json").write_text("{")
    PeerFile(tmp_path, operator).load()
    assert [one.notice for one in operator.told] == [MemoryDamaged(str(tmp_path / "remembered.json"))]
