"""cluster.toml as frozen dataclasses. Every setting is required to make sense with the others before a node starts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from node.core.machine import FACTS_KEPT, FORM
from node.core.ring import place
from node.notices import Level
from protocol.columns import COMMIT_PROTOCOLS
from protocol.placement import NODES_MAX, SHARDS_MAX, NodeAddress, Placement

NAME_CHARACTERS_MAX = 64  # it is in every Hello, whose frame is short, and in the lines of logs
HOST_CHARACTERS_MAX = 253  # of DNS
PORT_MAX = 65_535  # TCP's
TICK_MS_MAX = 10_000  # an election takes tens of ticks: minutes, with a clock as slow as this
HEARTBEATS_PER_ELECTION = 3  # so that one lost heartbeat, or two, topple no leader
LOG_BYTES_MIN = 1 << 20  # one full batch is half of it; less would make a checkpoint of every entry
FACTS_KEPT_MAX = 1 << 40  # for ever


class ConfigError(Exception):
    """A setting that cannot be: names the setting and what was expected."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What the cluster is; the same on every node, for ever."""

    name: str
    shards: int = 16
    replication: int = 3
    nodes: int = 5
    host: str = "127.0.0.1"
    base_port: int = 7101
    commit: str = "2pc"

    @property
    def shared(self) -> str:
        """What a node must not serve with unless its peers have the same, as `name=value` with blanks between; also what it writes."""
        names = ("nodes", "shards", "replication", "host", "base_port")
        return " ".join([*(f"{name}={getattr(self, name)}" for name in names), f"form={FORM}"])

    def addresses(self) -> tuple[NodeAddress, ...]:
        """Where the nodes listen, node 1 first."""
        return tuple(NodeAddress(node, self.host, self.base_port + node - 1) for node in range(1, self.nodes + 1))

    def placement(self) -> Placement:
        """The cluster's first placement table: the same on every node."""
        return place(self.addresses(), self.shards, self.replication).placement


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """Who may connect."""

    client_token: str = ""
    peer_token: str = ""


@dataclass(frozen=True, slots=True)
class TimingSettings:
    """The clock of the replicated log."""

    tick_ms: int = 50
    heartbeat_ticks: int = 2
    election_ticks: int = 12
    lost_leader_ticks: int = 2


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """How much lies behind the last checkpoints, and how much is kept for readers."""

    log_bytes: int = 32 << 20
    facts_kept: int = FACTS_KEPT


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """What the operator's log has."""

    level: str = Level.info.value

    @property
    def least(self) -> Level:
        """What asks for less is left out."""
        return Level(self.level)


@dataclass(frozen=True, slots=True)
class TestingSettings:
    """What only a cluster under test allows."""

    fault_switch: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """All settings."""

    cluster: ClusterSettings
    security: SecuritySettings = SecuritySettings()
    timing: TimingSettings = TimingSettings()
    storage: StorageSettings = StorageSettings()
    logging: LoggingSettings = LoggingSettings()
    testing: TestingSettings = TestingSettings()


def load(path: Path) -> Config:
    """Reads and checks a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return from_table(table)


def from_table(table: Mapping[str, Any]) -> Config:
    """Checks a parsed file. Raises ConfigError."""
    sections = {field.name for field in fields(Config)}
    for name in table:
        if name not in sections:
            raise ConfigError(f"[{name}]: no such section; expected {', '.join(sorted(sections))}")
    config = Config(
        _section(ClusterSettings, table, "cluster"),
        _section(SecuritySettings, table, "security"),
        _section(TimingSettings, table, "timing"),
        _section(StorageSettings, table, "storage"),
        _section(LoggingSettings, table, "logging"),
        _section(TestingSettings, table, "testing"),
    )
    _check(config)
    return config


Section = TypeVar("Section")


def _section(kind: type[Section], table: Mapping[str, Any], section: str) -> Section:
    values = table.get(section, {})
    if not isinstance(values, dict):
        raise ConfigError(f"{section}: expected a section")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{section}.{name}: no such setting; expected {', '.join(known)}")
        expected = {"int": int, "str": str, "bool": bool}[str(known[name].type)]
        if type(value) is not expected:
            raise ConfigError(f"{section}.{name}: expected {expected.__name__}, got {value!r}")
    for name, field in known.items():
        if field.default is MISSING and name not in values:
            raise ConfigError(f"{section}.{name}: missing")
    return kind(**values)


def _check(config: Config) -> None:
    cluster, timing = config.cluster, config.timing
    rules = [
        (0 < len(cluster.name) <= NAME_CHARACTERS_MAX, "cluster.name", f"1 to {NAME_CHARACTERS_MAX} characters"),
        (1 <= cluster.shards <= SHARDS_MAX, "cluster.shards", f"1 to {SHARDS_MAX}"),
        (1 <= cluster.nodes <= NODES_MAX, "cluster.nodes", f"1 to {NODES_MAX}"),
        (1 <= cluster.replication <= cluster.nodes, "cluster.replication", "1 to the number of nodes"),
        (1 <= cluster.base_port <= PORT_MAX - cluster.nodes, "cluster.base_port", "a port with room for every node"),
        (
            0 < len(cluster.host) <= HOST_CHARACTERS_MAX and not re.search(r"[\s=]", cluster.host),
            "cluster.host",
            "a name or an address",
        ),
        (cluster.commit in COMMIT_PROTOCOLS, "cluster.commit", " or ".join(COMMIT_PROTOCOLS)),
        (1 <= timing.tick_ms <= TICK_MS_MAX, "timing.tick_ms", f"1 to {TICK_MS_MAX}"),
        (timing.heartbeat_ticks >= 1, "timing.heartbeat_ticks", "1 or more"),
        (
            timing.election_ticks >= HEARTBEATS_PER_ELECTION * timing.heartbeat_ticks,
            "timing.election_ticks",
            f"{HEARTBEATS_PER_ELECTION} heartbeats or more",
        ),
        (timing.lost_leader_ticks >= 1, "timing.lost_leader_ticks", "1 or more"),
        (config.logging.level in list(Level), "logging.level", " or ".join(Level)),
        (0 <= config.storage.facts_kept <= FACTS_KEPT_MAX, "storage.facts_kept", f"0 to {FACTS_KEPT_MAX}"),
        (config.storage.log_bytes >= LOG_BYTES_MIN, "storage.log_bytes", f"{LOG_BYTES_MIN} or more"),
    ]
    for holds, name, expected in rules:
        if not holds:
            raise ConfigError(f"{name}: expected {expected}")
