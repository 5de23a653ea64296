"""A shard with an allowance."""

from __future__ import annotations

from datetime import datetime

import pytest

from node.core.allowances import Allowances
from node.core.ledger import Ledger
from protocol.status import AllowanceStatus
from tests.core.allowances.driving import change
from tests.core.ledger.model import Transfer
from tests.core.machine.shards import Shard


@pytest.fixture
def shard() -> Shard:
    """Account a has 1,000 and may pay out 100 a day; it is noon."""
    shard = Shard(Ledger(), Allowances())
    shard.now_ns = int(datetime.fromisoformat("2026-05-04T10:00:00+00:00").timestamp()) * 10**9
    shard.accounts("world", minimum=None)
    shard.accounts("a", "b")
    assert shard.transfers(Transfer(1, "world", "a", 1_000)) == [0]
    assert change(shard, 1, 100) == AllowanceStatus.set
    return shard
