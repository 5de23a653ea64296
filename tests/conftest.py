"""What all tests share: which event loop they run on, and how Hypothesis searches."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import hypothesis
import pytest
import uvloop

REAL_LOOP_FOLDERS = ("adapters", "e2e")  # real sockets and files: the loop that production uses
TESTS = Path(__file__).parent

hypothesis.settings.register_profile(
    "default",
    deadline=None,  # a busy machine is not a failure
    database=None,  # a failure prints what reproduces it; runs leave no files behind
    print_blob=True,
)
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("default"), max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop where real I/O is tested; the standard loop elsewhere, since virtual time needs it."""
    folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    if folder in REAL_LOOP_FOLDERS:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
