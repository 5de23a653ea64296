"""The loop behind the synchronous client, when another thread ends it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from protocol.client import background as module
from protocol.client.background import Background
from protocol.errors import ProtocolError, Unreachable

PATIENCE_SECONDS = 20.0  # of a test: it fails then instead of hanging


def waiting(background: Background, work: Callable[[threading.Event], Coroutine[Any, Any, None]]) -> Future[None]:
    """What a thread that waits for the work is told; the work is under way."""
    is_begun, told = threading.Event(), Future[None]()

    def wait() -> None:
        try:
            told.set_result(background.run(work(is_begun)))
        except BaseException as error:
            told.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    assert is_begun.wait(PATIENCE_SECONDS)
    return told


def test_work_without_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it is told that the client is closed."""
    monkeypatch.setattr(module, "ENDING_SECONDS", 0.1)
    background = Background()

    async def work(is_begun: threading.Event) -> None:
        is_begun.set()
        await asyncio.Event().wait()

    told = waiting(background, work)
    background.end()
    with pytest.raises(ProtocolError, match="the client is closed: expected one that is open"):
        told.result(PATIENCE_SECONDS)


def test_work_that_ends_by_itself_tells_how() -> None:
    """It has its moment."""
    background = Background()

    async def work(is_begun: threading.Event) -> None:
        is_begun.set()
        await asyncio.sleep(0.1)
        raise Unreachable("no node answers in time")

    told = waiting(background, work)
    background.end()
    with pytest.raises(Unreachable):
        told.result(PATIENCE_SECONDS)


def test_work_at_the_very_end_hangs_nowhere() -> None:
    """Threads ask and end as they like: each is answered, or told that the client is closed."""

    async def work() -> int:
        return 7

    def ask(background: Background) -> int | str:
        try:
            while True:
                assert background.run(work()) == 7
        except ProtocolError as error:
            return str(error)

    for _ in range(20):
        background = Background()
        with ThreadPoolExecutor(6) as threads:
            askers = [threads.submit(ask, background) for _ in range(4)]
            enders = [threads.submit(background.end) for _ in range(2)]
            for ender in enders:
                ender.result(PATIENCE_SECONDS)
            assert {asker.result(PATIENCE_SECONDS) for asker in askers} == {module.CLOSED}
