"""The published interaction scenarios: same messages, effects, logs and states at each step; log wording left out."""

from __future__ import annotations

import re

import pytest

from tests.core.raft.cluster import Cluster
from tests.core.raft.datadriven import cases, data_folder

REPLAYED = [
    "async_storage_writes", "async_storage_writes_append_aba_race", "campaign", "campaign_learner_must_vote",
    "checkquorum", "confchange_v1_add_single", "confchange_v1_remove_leader", "confchange_v1_remove_leader_stepdown",
    "confchange_v2_add_double_auto", "confchange_v2_add_double_implicit", "confchange_v2_add_single_auto",
    "confchange_v2_add_single_explicit", "confchange_v2_replace_leader", "confchange_v2_replace_leader_stepdown",
    "forget_leader", "forget_leader_prevote_checkquorum", "heartbeat_resp_recovers_from_probing", "lagging_commit",
    "prevote", "prevote_checkquorum", "probe_and_replicate", "replicate_pause", "single_node",
    "slow_follower_after_compaction", "snapshot_succeed_via_app_resp", "snapshot_succeed_via_app_resp_behind",
]  # fmt: skip
LEFT_OUT = {
    "confchange_disable_validation": "a change that does not fit is always refused here; there is no such switch",
    "forget_leader_read_only_lease_based": "reads never rest on a lease here",
}

_WORDING = re.compile(r"^\s*(DEBUG|INFO|WARN|ERROR) ")


def normal(text: str) -> list[str]:
    """The lines of an output without log wording and without the two versions of a change's encoding."""
    lines = [line.rstrip().replace("EntryConfChangeV2", "EntryConfChange") for line in text.split("\n")]
    return [line for line in lines if line and line != "ok" and not _WORDING.match(line)]


@pytest.mark.parametrize("name", REPLAYED)
def test_published_scenario(name: str) -> None:
    """Every step of the file has the published output."""
    cluster = Cluster()
    for case in cases(data_folder() / "testdata" / f"{name}.txt"):
        output = cluster.run(case)
        if not cluster.is_silent and case.options.get("log-level") != "none":
            assert normal(output) == normal(case.expected), f"{name} line {case.line}"


def test_every_published_scenario_is_replayed_or_named() -> None:
    """Nothing is left out silently."""
    files = sorted(path.stem for path in (data_folder() / "testdata").glob("*.txt"))
    assert files == sorted([*REPLAYED, *LEFT_OUT])
