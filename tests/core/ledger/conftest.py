"""What the ledger's tests share: each of its two ways of working through a batch."""

from __future__ import annotations

import pytest

from node.core.ledger import legs, resolve, rounds, transfers


@pytest.fixture(params=[0, 1000], ids=["columns", "small"])
def either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of any size go by columns, or one transfer after the other."""
    for module in (legs, resolve, rounds, transfers):
        monkeypatch.setattr(module, "SMALL_BATCH", request.param)
