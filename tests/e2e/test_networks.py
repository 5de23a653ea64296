"""A link between two nodes fails in the kernel, where connections stay open and TCP waits for ever longer before it tries again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protocol.placement import group_of
from tests.e2e.networks import Net, apart, lacks

SHARDS = 3
PATIENCE = ("--timeout", 6)  # shorter than the cut: a payment that waited for its end would be given up


@pytest.mark.skipif(bool(lack := lacks()), reason=lack)
@pytest.mark.parametrize("way", ["both ways", "there", "back"])
def test_payments_go_on_around_a_failed_link(tmp_path: Path, way: str) -> None:
    """Between the coordinator and the leader of another shard, during the failure and after it; then all nodes are whole again."""
    with apart(tmp_path / "it", 3, SHARDS) as net:
        coordinator, leader, far, near = find(net)
        for name in (far, near):
            pay(net, "account", "create", name, "--minimum-balance", "none")
        ways = {"there": [(coordinator, leader)], "back": [(leader, coordinator)]}
        cut = ways.get(way) or [*ways["there"], *ways["back"]]
        for source, target in cut:
            net.cut(source, target)
        for payer, payee in [(far, near), (near, far)] * 2:
            pay(net, "transfer", payer, payee, 10)
        for source, target in cut:
            net.heal(source, target)
        pay(net, "transfer", far, near, 10)
        net.wait_until_whole()
        pay(net, "audit")


def find(net: Net) -> tuple[int, int, str, str]:
    """The coordinator, the leader of another group, an account there and one elsewhere."""
    rows = json.loads(net.run("pay", "status", "-o", "json").stdout)
    homes = [nodes[0] for nodes in net.cluster.config.cluster.placement().replicas]
    coordinator = next(row["node"] for row in rows if row["coordinator"])
    group = next(group for group in range(1, SHARDS + 1) if homes[group] != coordinator)
    far, near = (
        next(n for n in map("a{}".format, range(99)) if (group_of(n, SHARDS) == group) == is_far)
        for is_far in (True, False)
    )
    return coordinator, homes[group], far, near


def pay(net: Net, *arguments: object) -> None:
    """A command of scripts/pay that succeeds in time."""
    done = net.run("pay", *arguments, *PATIENCE)
    assert done.returncode == 0, done.stderr
