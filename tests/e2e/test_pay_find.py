"""Looking up what happened under an id, and what is left of a hold, on a real node process: within a shard and across two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from node.cli.shown import moment
from protocol import ids
from protocol.client import Transfer, connect
from protocol.columns import Flag
from protocol.errors import Refused
from protocol.placement import group_of
from protocol.status import Status
from scripts.local import LocalCluster
from tests.e2e.paying import alice_has_100_eur, pay

SHARDS = 2
NEAR, FAR = (
    "{alice}near",
    next(f"shop{n}" for n in range(100) if group_of(f"shop{n}", SHARDS) != group_of("alice", SHARDS)),
)
UNKNOWN = 12345


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Alice, a shop in her shard and one in the other."""
    with alice_has_100_eur(NEAR, FAR) as made:
        yield made


def rows(cluster: LocalCluster, *arguments: object) -> list[dict[str, Any]]:
    """As programs read them."""
    told = pay(cluster, *arguments, "-o", "json")
    assert told.returncode == 0, told.stderr
    return list(json.loads(told.stdout))


@pytest.mark.parametrize("shop", [NEAR, FAR])
def test_what_is_left_of_a_hold(cluster: LocalCluster, shop: str) -> None:
    """It falls with each capture, and is 0 when the hold has ended, captured or void; its captures name it on both sides."""
    with connect(cluster.addresses) as client:
        hold, other = (client.hold("alice", shop, 500, ttl=600).id for _ in range(2))
        opened = client.find(hold)
        assert opened is not None and opened.rest == 500 and opened.expires_ns == opened.timestamp_ns + 600 * 10**9
        part = client.capture(hold, 200).id
        assert [found.rest for id in (hold, other) if (found := client.find(id)) is not None] == [300, 500]
        last = client.capture(hold, 100, final=True).id
        void = client.void(other).id
        assert [found.rest for id in (hold, other) if (found := client.find(id)) is not None] == [0, 0]
        for account in ("alice", shop):
            entries = {entry.id: entry for entry in client.history(account)}
            named = [(entries[id].kind, entries[id].hold, entries[id].reverses) for id in (part, last, void)]
            assert named == [("capture", hold, None), ("capture", hold, None), ("void", other, None)]
            assert entries[last].flags == Flag.capture | Flag.final and entries[hold].hold is None


def test_pay_find_only_looks(cluster: LocalCluster) -> None:
    """An id that it does not find can still be paid; `outcome` would have cancelled it."""
    for place in ((), ("--debit", "alice")):
        missing = pay(cluster, "find", ids.format(UNKNOWN), *place, "-o", "json")
        (row,) = json.loads(missing.stdout)
        assert missing.returncode == 1 and row["status"] == "transfer_not_found" and row["id"] == ids.format(UNKNOWN)
    rows(cluster, "transfer", "alice", FAR, 10, "--id", ids.format(UNKNOWN), "--metadata", "order:=7")
    (found,) = rows(cluster, "find", ids.format(UNKNOWN), "--debit", "alice")
    assert (found["kind"], found["amount"], found["debit"], found["credit"]) == ("transfer", 10, "alice", FAR)
    assert (found["metadata"], found["hold"], found["left"], found["expires_ns"]) == ({"order": 7}, None, None, None)
    assert pay(cluster, "find", ids.format(UNKNOWN), "--debit", NEAR).returncode == 1


def test_pay_find_shows_a_hold(cluster: LocalCluster) -> None:
    """For people in the currency, with the time at which it ends."""
    (hold,) = rows(cluster, "hold", "alice", FAR, 500, "--ttl", 60)
    (taken,) = rows(cluster, "capture", hold["id"], 150)
    (row,) = rows(cluster, "find", hold["id"])
    assert (row["kind"], row["left"]) == ("hold", 350)
    shown = dict(line.split(None, 1) for line in pay(cluster, "find", hold["id"]).stdout.splitlines() if " " in line)
    assert (shown["amount"], shown["left"], shown["expires"]) == ("5.00", "3.50", moment(row["expires_ns"]))
    assert f"of         {hold['id']}" in pay(cluster, "find", taken["id"]).stdout
    rows(cluster, "void", hold["id"])
    assert "\nexpires    ended\n" in pay(cluster, "find", hold["id"]).stdout
    (captured,) = [row for row in rows(cluster, "history", FAR) if row["id"] == taken["id"]]
    assert (captured["kind"], captured["hold"], captured["reverses"]) == ("capture", hold["id"], None)


@pytest.mark.parametrize("shop", [NEAR, FAR])
def test_who_was_refused_is_told(cluster: LocalCluster, shop: str) -> None:
    """By the id that the payment, or the leg, was sent under, made by the client or given."""
    with connect(cluster.addresses) as client:
        for given in (None, client.new_id()):
            with pytest.raises(Refused) as refused:
                client.transfer("alice", shop, 10**9, id=given)
            id = refused.value.id
            assert id is not None and id == (given or id) and client.outcome(id, "alice") == Status.insufficient_funds
        numbers = [client.new_id() for _ in range(2)]
        with pytest.raises(Refused) as refused:
            client.transaction([Transfer("alice", shop, 1), Transfer("alice", shop, 10**9)], ids=numbers)
        assert (refused.value.leg, refused.value.id) == (1, numbers[1])
