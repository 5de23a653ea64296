"""Of clients, and of whoever else connects. Outsiders bring these about, so only some a second are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from node.notices.notice import Level, Notice


@dataclass(frozen=True, slots=True)
class ClientRefused(Notice):
    """Somebody was not let in."""

    level: ClassVar[Level] = Level.warning
    address: str
    code: str  # as the wire names it: not_authenticated, wrong_cluster, wrong_version, bad_message, busy
    reason: str


@dataclass(frozen=True, slots=True)
class ClientCutOff(Notice):
    """A client's connection was ended from here."""

    level: ClassVar[Level] = Level.warning
    address: str
    reason: str
    unsent_bytes: int  # of answers that it had not taken


@dataclass(frozen=True, slots=True)
class ClientsLeftOut(Notice):
    """More were refused or cut off in a second than are told one by one."""

    level: ClassVar[Level] = Level.warning
    count: int  # of those that were not told


@dataclass(frozen=True, slots=True)
class TooManyClients(Notice):
    """As many are connected as may be, and more are refused; nothing more is said until that has ended."""

    level: ClassVar[Level] = Level.warning
    limit: int


@dataclass(frozen=True, slots=True)
class RoomForClients(Notice):
    """None was refused for that reason for a while."""

    refused: int
    seconds: float  # from the first to the last of them
