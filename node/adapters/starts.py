"""What tells an old copy of a data folder from the folder itself: its starts, its files' identity, and what peers remember."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from node.adapters.checked import read_checked, write_checked
from node.adapters.sqlite import refused_by_system
from node.notices import MemoryDamaged
from node.ports import COPIED, UNHEARD, NodeFolder, OperatorLog, Start

STARTS_MAX = 1_000  # a peer that missed so many starts in a row has been away for longer than anything here
FILES = ("log.db", "log.promises")
TAIL = "log.db-wal"  # the end of log.db, unless that was closed in peace
GET_VERSION = 0x80087601  # FS_IOC_GETVERSION: a random number that a file system gives each new file

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a start finds of a folder that is not new."""

    had_log: bool  # there must be one
    files: Mapping[str, bool]  # by name whether log.db, log.db-wal, log.promises and starts.json are there
    is_copied: bool
    is_damaged: bool  # starts.json
    noted: tuple[str, bool]  # the doubt that stands there

    def doubt(self) -> tuple[str, bool]:
        """Why the folder may not be the newest that its node had, empty for no reason; and whether it certainly is not.

        The promises know whatever the log lacks, and the log with its tail knows all of itself. Without either, the end is lost.
        """
        reason, is_old = self.noted
        has_whole_log = self.files["log.db"] and self.files[TAIL]
        if self.had_log and not self.files["log.promises"] and not has_whole_log:
            return _name_missing(self.files), True
        if self.is_damaged:
            return "starts.json is damaged", False
        if not self.files["starts.json"]:
            return "starts.json is gone", False
        return reason or (COPIED if self.is_copied else ""), is_old


def _name_missing(files: Mapping[str, bool]) -> str:
    *rest, last = [name for name, is_there in files.items() if not is_there and (name != TAIL or files["log.db"])]
    return f"{', '.join(rest)} and {last} are gone" if rest else f"{last} is gone"


class StartFile:
    """Implements `StartBook` by `starts.json`."""

    def __init__(self, folder: Path, identity: NodeFolder) -> None:
        """`identity` is what the folder says of itself: one that was there before, or belongs to a cluster, is not new."""
        self._folder = folder
        self._identity = identity
        self._path = folder / "starts.json"
        self._starts: list[int] = []
        self._files: dict[str, list[int]] = {}  # identity of each file at the last start
        self._turn = asyncio.Lock()

    async def begin(self) -> Start:
        """Looks at the folder, and stores this start before anybody hears of it."""
        return await self._in_thread(self._begin)

    def _begin(self) -> Start:
        found, is_sound = read_checked(self._path)
        if is_sound:
            self._starts, self._files = found["starts"], found["files"]
        reason, is_old = ("", False) if self._identity.is_new else self._remaining(found, is_sound).doubt()
        earlier = frozenset(self._starts) if is_sound or self._identity.is_new else None
        number = secrets.randbits(62) + 1
        self._starts = [*self._starts[1 - STARTS_MAX :], number]
        self._save(reason, is_old)
        return Start(number, earlier, reason, is_old)

    def _remaining(self, found: Mapping[str, Any], is_sound: bool) -> Remaining:
        folder, files = self._folder, self._look()
        has_traces = any(folder.glob("shard-*.db")) or (folder / "remembered.json").exists()
        names = ("log.db", "log.promises", TAIL, self._path.name)
        return Remaining(
            had_log=self._identity.identity != 0 or bool(self._files) or has_traces,
            files={name: (folder / name).exists() for name in names},
            is_copied=any(files[name] != self._files[name] for name in files if name in self._files),
            is_damaged=self._path.exists() and not is_sound,
            noted=(found["doubt"], found["is_old"]) if is_sound else ("", False),
        )

    async def record(self, reason: str, is_old: bool, forgotten: Sequence[int] = ()) -> None:
        """In a thread, one after the other."""
        async with self._turn:
            await self._in_thread(self._record, reason, is_old, forgotten)

    async def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise refused_by_system(self._path, error) from error

    def _record(self, reason: str, is_old: bool, forgotten: Sequence[int]) -> None:
        self._starts = [*forgotten, *self._starts]
        self._files = self._look()
        self._save(reason, is_old)

    def _look(self) -> dict[str, list[int]]:
        return {name: _identity(self._folder / name) for name in FILES if (self._folder / name).exists()}

    def _save(self, reason: str, is_old: bool) -> None:
        write_checked(self._path, {"starts": self._starts, "files": self._files, "doubt": reason, "is_old": is_old})


class PeerFile:
    """Implements `PeerMemory` by `remembered.json`."""

    def __init__(self, folder: Path, operator: OperatorLog = UNHEARD) -> None:
        self._path = folder / "remembered.json"
        self._operator = operator

    def load(self) -> list[list[int]]:
        """What was saved last."""
        found, is_sound = read_checked(self._path)
        if is_sound:
            rows: list[list[int]] = found["rows"]
            return rows
        if self._path.exists():
            self._operator.tell(MemoryDamaged(str(self._path)))
        return []

    async def save(self, rows: list[list[int]]) -> None:
        """In a thread."""
        await asyncio.to_thread(write_checked, self._path, {"rows": rows})


def _identity(path: Path) -> list[int]:
    """Of the file itself, whatever it holds: a copy has another one."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        generation = bytearray(8)
        try:
            fcntl.ioctl(descriptor, GET_VERSION, generation)
        except OSError:
            pass  # a file system without it: the inode's number has to do
        return [os.fstat(descriptor).st_ino, int.from_bytes(generation[:4], "little")]
    finally:
        os.close(descriptor)
