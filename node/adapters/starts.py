"""What tells an old copy of a data folder from the folder itself: its starts, its files' identity, and what peers remember."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from node.adapters.checked import read_checked, write_checked
from node.ports import COPIED, Start, StorageFailed

STARTS_MAX = 1_000  # a peer that missed so many starts in a row has been away for longer than anything here
FILES = ("log.db", "log.promises")
GET_VERSION = 0x80087601  # FS_IOC_GETVERSION: a random number that a file system gives each new file

log = structlog.get_logger()

Result = TypeVar("Result")


class StartFile:
    """Implements `StartBook` by `starts.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "starts.json"
        self._starts: list[int] = []
        self._files: dict[str, list[int]] = {}  # identity of each file at the last start
        self._turn = asyncio.Lock()

    async def begin(self) -> Start:
        """Looks at the folder, and stores this start before anybody hears of it."""
        return await self._in_thread(self._begin)

    def _begin(self) -> Start:
        found, is_sound = read_checked(self._path)
        number = secrets.randbits(62) + 1
        earlier: frozenset[int] | None = None
        reason, is_old = "", False
        files = self._look()
        if is_sound:
            self._starts, self._files = found["starts"], found["files"]
            earlier = frozenset(self._starts)
            reason, is_old = found["doubt"], found["is_old"]
            if self._files and not files:
                reason, is_old = "log.db and log.promises are gone", True
            elif any(files[name] != self._files[name] for name in files if name in self._files) and not reason:
                reason = COPIED
        elif self._path.exists():
            reason = "starts.json is damaged"
        elif files:
            reason = "starts.json is gone"
        elif any(self._folder.glob("shard-*.db")) or (self._folder / "remembered.json").exists():
            reason, is_old = "log.db, log.promises and starts.json are gone", True
        else:
            earlier = frozenset()
        self._starts = [*self._starts[1 - STARTS_MAX :], number]
        self._save(reason, is_old)
        return Start(number, earlier, reason, is_old)

    async def record(self, reason: str, is_old: bool, forgotten: Sequence[int] = ()) -> None:
        """In a thread, one after the other."""
        async with self._turn:
            await self._in_thread(self._record, reason, is_old, forgotten)

    async def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise StorageFailed(f"{self._path}: {error.strerror}") from error

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

    def __init__(self, folder: Path) -> None:
        self._path = folder / "remembered.json"

    def load(self) -> list[list[int]]:
        """What was saved last."""
        found, is_sound = read_checked(self._path)
        if is_sound:
            rows: list[list[int]] = found["rows"]
            return rows
        if self._path.exists():
            log.warning("what was remembered of the peers is damaged and forgotten", file=str(self._path))
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
