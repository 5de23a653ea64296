"""Which kinds of faults a run has: few kinds often rather than all of them seldom, so that those meet which must (swarm testing)."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

WEIGHTS: Mapping[str, int] = {
    "crash": 14, "crash_leader": 14, "crash_soon": 14, "crash_all": 2, "crash_some": 3, "crash_election": 3, "stop": 4, "pause": 6,
    "silence_shard": 6, "partition": 10, "partition_one_way": 4, "cut_link": 8, "isolate_leader": 10, "reset": 6, "storm": 8,
    "slow_network": 3, "slow_disk": 6, "late_memory": 4, "fail_disk": 3, "jump": 5, "drift": 3, "delay_calls": 6,
    "lose_tail": 6, "lose_tails": 4, "flip_bit": 6, "tear": 3, "lose_write_ahead_log": 6, "lose_log": 3, "lose_promises": 3,
    "tear_promises": 3, "lose_everything": 2, "copy": 8, "put_back": 12,
}  # fmt: skip
"""Kind, and how often it comes compared with the others."""

DRAWN_AIMS: Mapping[str, Mapping[str, int]] = {
    "elections": {"crash_leader": 4, "crash_soon": 4, "crash_some": 8, "crash_all": 4, "isolate_leader": 1, "cut_link": 8, "storm": 5},
    "disks": {
        "crash": 3, "crash_soon": 6, "slow_disk": 3, "late_memory": 4, "lose_tail": 3, "lose_tails": 2, "flip_bit": 3, "tear": 2,
        "lose_write_ahead_log": 6,
        "lose_log": 2, "lose_promises": 1, "tear_promises": 2, "lose_everything": 1, "copy": 6, "put_back": 6,
    },
    "clocks": {"jump": 8, "drift": 2, "crash_leader": 4, "stop": 6, "isolate_leader": 1},
    "snapshots": {"checkpoint_late": 6, "slow_disk": 6, "isolate_leader": 6, "partition": 3, "pause": 3, "crash_leader": 2, "lose_log": 2},
}  # fmt: skip
"""What a seed may aim at by itself."""

AIMS: Mapping[str, Mapping[str, int]] = {
    **DRAWN_AIMS,
    "coordinator": {"crash_leader": 6, "isolate_leader": 2, "pause": 2, "delay_calls": 6},  # and who is called by it
    "writes": {"slow_disks": 6, "crash_some": 8, "crash_all": 3, "crash_leader": 4},  # what is under way to a disk
    "votes": {"crash_election": 6, "slow_disks": 1},
    "copies": {"copy": 8, "put_back": 8, "crash_leader": 2},
    "shards": {"delay_calls": 8, "silence_shard": 1},  # leaders of shards beside it
}
ALL_SHARE = 0.25  # of the runs that have all kinds
AIMED_SHARE = 0.25
KEPT_SHARE = 0.35  # of the kinds, in the other runs


def draw(random: Random, at: str | None) -> Mapping[str, int]:
    """The kinds and their weights: as `at` says, one of AIMS, or drawn."""
    if at is not None:
        return AIMS[at]
    share = random.random()
    if share < ALL_SHARE:
        return WEIGHTS
    if share < ALL_SHARE + AIMED_SHARE:
        return DRAWN_AIMS[random.choice([*DRAWN_AIMS])]
    kept = {kind: weight for kind, weight in WEIGHTS.items() if random.random() < KEPT_SHARE}
    return kept or WEIGHTS
