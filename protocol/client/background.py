"""The loop on which the synchronous client's calls are done, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from protocol.client.arguments import wrong

CLOSED = "the client is closed: expected one that is open"
ENDING_SECONDS = 2.0  # for work that is under way when the client closes: its connections are gone, and it tells what has become of it
INTERRUPT_SECONDS = 1.0  # an interrupt that comes just before the thread sleeps does not wake it; it is seen then

Result = TypeVar("Result")


class Background:
    """A thread with an event loop: whoever has work done there waits for it. It ends with the program, at the latest."""

    def __init__(self) -> None:
        self.loop = _Loop()
        self._process = os.getpid()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._ending = threading.Lock()
        self._is_ended = False
        self._thread = threading.Thread(target=self._serve, name="ringpay client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Its result. An interrupt cancels it and is raised when its own cleaning up has ended; a second one does not wait.

        Raises ProtocolError(bad_request) where nothing can be done, or no longer since another thread has called `end`.
        """
        if (reason := self.why_not()) is not None:
            work.close()
            raise wrong(reason)
        tasks: list[asyncio.Task[Result]] = []
        ended = threading.Event()

        def begin() -> None:
            tasks.append(self.loop.create_task(work))
            self._under_way.add(tasks[0])
            tasks[0].add_done_callback(end)

        def end(task: asyncio.Task[Result]) -> None:
            if not task.cancelled():
                task.exception()  # looked at: nobody asks for it after an interrupt
            self._under_way.discard(task)
            ended.set()

        def cancel() -> None:
            if tasks:
                self.loop.call_soon(tasks[0].cancel)  # behind its first step: who cleans up must have begun
            else:
                ended.set()

        try:
            self._soon(begin)
            self._wait(ended)
        except BaseException:
            self._soon(cancel)
            self._wait(ended)
            raise
        if not tasks:
            work.close()
        if not tasks or (self._is_ended and tasks[0].cancelled()):
            raise wrong(CLOSED)
        return tasks.pop().result()

    def why_not(self) -> str | None:
        """The reason why nothing can be done here, None where it can. A copy that a fork has made has no thread that would answer."""
        if os.getpid() != self._process:
            return f"the client was made by process {self._process}: expected one that was made after the fork"
        return CLOSED if self._is_ended else None

    def end(self) -> None:
        """Ends the thread, for good. Work that another thread waits for ends by itself in a moment, or is cancelled."""
        with self._ending:
            if not self._is_ended:
                self._is_ended = True
                self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        self.loop.run_forever()
        self.loop.run_until_complete(self._leave())
        self.loop.close()

    async def _leave(self) -> None:
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=ENDING_SECONDS)
        await _cancel(self._under_way)
        await self.loop.shutdown_asyncgens()
        await _cancel(asyncio.all_tasks() - {asyncio.current_task()})
        await asyncio.sleep(0)  # a connection lets its socket go in the turn behind its end

    def _soon(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: whoever waits sees that
            self.loop.call_soon_threadsafe(call)

    def _wait(self, ended: threading.Event) -> None:
        while not ended.wait(INTERRUPT_SECONDS) and self._thread.is_alive():
            pass


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


async def _cancel(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    cancelled = [task for task in tasks if task is not None]
    for task in cancelled:
        task.cancel()
    if cancelled:
        await asyncio.wait(cancelled, timeout=ENDING_SECONDS)
