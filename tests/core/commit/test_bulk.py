"""Rounds of bulky transfers: what the coordinator sends must fit a frame between nodes."""

from __future__ import annotations

import numpy as np

from node.core.commit import Ticket
from protocol import frames
from protocol.status import Status
from tests.core.commit.bench import ready
from tests.core.ledger.driving import columns
from tests.core.ledger.model import Transfer


def test_long_references_do_not_gather_beyond_a_frame() -> None:
    """They are refused only by the shards, so they travel; all that wait at once go out in several rounds."""
    bench = ready()
    one, two = np.array([1], np.int32), np.array([2], np.int32)
    for number in range(1, 25):
        batch = columns([Transfer(number, "a", "b", 1, reference="r" * 1_500_000)])
        bench.take(bench.core.submit(Ticket(number), batch, one, two))
    while len(bench.answers) < 24:
        bench.go_on()
        asks = bench.prepares()
        assert asks and all(len(frames.pack(ask.request.pack())) < frames.FRAME_BYTES_MAX // 2 for ask in asks)
        bench.round()
    assert set(map(tuple, bench.answers.values())) == {(int(Status.created),)}
