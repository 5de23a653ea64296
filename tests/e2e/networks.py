"""Node processes in network namespaces of their own, where the packets between two of them can be dropped in the kernel.

All nodes have one address, as the settings want it, beside one of their own; who calls the shared one is led to the node of the port.
A cut makes a node address its packets to a network card that nobody has: nothing is refused, closed or told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.local import LocalCluster, create
from tests.e2e.programs import ROOT, environment, script

SHARED = "10.77.0.100"
HUB = 250  # the host part of the address from which clients call
NOBODY = "02:de:ad:be:ef:01"  # a network card
BASE_PORT = 7101
SERVE_SECONDS = 60.0


def lacks() -> str:
    """Why there can be no namespaces here; empty where there can."""
    if os.geteuid() or shutil.which("ip") is None:
        return "network namespaces need root and the command ip"
    probe = f"ringpay-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "the system lets nobody make network namespaces"
    _ip("netns", "del", probe)
    return ""


def _ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True)


@dataclass(slots=True)
class Net:
    """The namespaces of a cluster's nodes around a switch."""

    cluster: LocalCluster
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def space(self, host: int) -> str:
        """The namespace of a node, or of the clients."""
        return f"ringpay-{os.getpid()}-{host}"

    def build(self) -> None:
        """Makes all of them."""
        hosts = dict.fromkeys(self.cluster.numbers, "eth0") | {HUB: "bridge"}
        for host in hosts:
            _ip("netns", "add", self.space(host))
            _ip("-n", self.space(host), "link", "set", "lo", "up")
        hub = ("-n", self.space(HUB))
        _ip(*hub, "link", "add", "bridge", "type", "bridge")
        for number in self.cluster.numbers:
            port = f"port{number}"
            _ip(*hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self.space(number))
            _ip(*hub, "link", "set", port, "master", "bridge")
            _ip(*hub, "link", "set", port, "up")
            _ip("-n", self.space(number), "addr", "add", f"{SHARED}/32", "dev", "lo")
        for host, device in hosts.items():
            _ip("-n", self.space(host), "addr", "add", f"10.77.0.{host}/24", "dev", device)
            _ip("-n", self.space(host), "link", "set", device, "up")
            self._lead(host, device)

    def _lead(self, host: int, device: str) -> None:
        """By its port, a call to the shared address is led to its node, before it is taken for one to this host itself."""
        settings = "for f in /proc/sys/net/ipv4/conf/*/{}; do echo {} > $f; done"
        for name, value in (("rp_filter", 0), ("accept_local", 1)):
            _ip("netns", "exec", self.space(host), "sh", "-c", settings.format(name, value))
        here = ("-n", self.space(host))
        _ip(*here, "rule", "add", "pref", 5_000, "lookup", "local")
        _ip(*here, "rule", "del", "pref", 0)
        for number in self.cluster.numbers:
            if number != host:
                table, port = 100 + number, BASE_PORT + number - 1
                way = ("default", "via", f"10.77.0.{number}", "dev", device, "src", f"10.77.0.{host}")
                _ip(*here, "route", "add", *way, "table", table)
                _ip(*here, "rule", "add", "pref", table, "ipproto", "tcp", "dport", port, "lookup", table)

    def start(self) -> None:
        """Starts all nodes, each in its namespace."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        for node in self.cluster.nodes():
            command = ["ip", "netns", "exec", self.space(node.number), *node.command()]
            with node.log.open("ab") as log:
                self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def cut(self, source: int, target: int) -> None:
        """From here on nothing that the one sends reaches the other."""
        place = (f"10.77.0.{target}", "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
        _ip("-n", self.space(source), "neigh", "replace", *place)

    def heal(self, source: int, target: int) -> None:
        """It does again."""
        _ip("-n", self.space(source), "neigh", "del", f"10.77.0.{target}", "dev", "eth0")

    def run(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs a script of the product where clients are."""
        addresses = ",".join(f"{SHARED}:{BASE_PORT + number - 1}" for number in self.cluster.numbers)
        command = ["ip", "netns", "exec", self.space(HUB), script(name), *map(str, arguments)]
        variables = environment(RINGPAY_ADDRESSES=addresses)
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    def wait_until_whole(self) -> None:
        """Returns once every node answers and everything has a leader."""
        deadline = time.monotonic() + SERVE_SECONDS
        while (done := self.run("pay", "status")).returncode:
            assert time.monotonic() < deadline, done.stderr

    def end(self) -> None:
        """Ends the nodes, and what was made."""
        for process in self.processes:
            process.kill()
            process.wait()
        for host in (*self.cluster.numbers, HUB):
            subprocess.run(["ip", "netns", "del", self.space(host)], capture_output=True, check=False)


@contextmanager
def apart(folder: Path, nodes: int, shards: int) -> Iterator[Net]:
    """A cluster that serves, with a network that can fail."""
    settings: dict[str, int | str] = {
        "nodes": nodes,
        "shards": shards,
        "replication": nodes,
        "host": SHARED,
        "base_port": BASE_PORT,
    }
    net = Net(create(folder, settings))
    try:
        net.build()
        net.start()
        net.wait_until_whole()
        yield net
    finally:
        net.end()
