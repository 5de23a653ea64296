"""The loop on which the synchronous client's calls are done, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from protocol.client.arguments import wrong

INTERRUPT_SECONDS = 1.0  # an interrupt that comes just before the thread sleeps does not wake it; it is seen then

Result = TypeVar("Result")


class Background:
    """A thread with an event loop: whoever has work done there waits for it. It ends with the program, at the latest."""

    def __init__(self) -> None:
        self.loop = _Loop()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self.loop.run_forever, name="ringpay client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Its result. An interrupt cancels it and is raised when its own cleaning up has ended; a second one does not wait."""
        if (reason := self.why_not()) is not None:
            work.close()
            raise wrong(reason)
        tasks: list[asyncio.Task[Result]] = []
        ended = threading.Event()

        def begin() -> None:
            tasks.append(self.loop.create_task(work))
            tasks[0].add_done_callback(end)

        def end(task: asyncio.Task[Result]) -> None:
            if not task.cancelled():
                task.exception()  # looked at: nobody asks for it after an interrupt
            ended.set()

        def cancel() -> None:
            if tasks:
                self.loop.call_soon(tasks[0].cancel)  # behind its first step: who cleans up must have begun
            else:
                ended.set()

        try:
            self.loop.call_soon_threadsafe(begin)
            _wait(ended)
        except BaseException:
            self.loop.call_soon_threadsafe(cancel)
            _wait(ended)
            raise
        return tasks.pop().result()

    def why_not(self) -> str | None:
        """The reason why nothing can be done here, None where it can. A copy that a fork has made has no thread that would answer."""
        if os.getpid() != self._process:
            return f"the client was made by process {self._process}: expected one that was made after the fork"
        return "the client is closed: expected one that is open" if self.loop.is_closed() else None

    def end(self) -> None:
        """Ends the thread, for good. Work that nobody waits for is left where it is."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class _Loop(asyncio.SelectorEventLoop):
    """Names are looked up in threads that no end of a program waits for: a slow resolver takes no call longer than its time limit."""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """As any loop does it."""
        answer: Future[Any] = Future()
        answer.set_running_or_notify_cancel()

        def look_up() -> None:
            try:
                answer.set_result(socket.getaddrinfo(host, port, **options))
            except OSError as error:
                answer.set_exception(error)

        threading.Thread(target=look_up, name="ringpay names", daemon=True).start()
        return await asyncio.wrap_future(answer)


def _wait(ended: threading.Event) -> None:
    while not ended.wait(INTERRUPT_SECONDS):
        pass
