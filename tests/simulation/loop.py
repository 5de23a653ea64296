"""An event loop in virtual time, with processes that can be paused and killed between any two steps.

Every callback belongs to an *owner*, the simulated process in whose context it was scheduled. Context variables carry
it, so unmodified asyncio code is followed without knowing it. Time stands still while callbacks run and jumps to the
next timer when none is ready. Callbacks that are due together run in the order in which they were scheduled, so a run
depends on its seed alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")

TASKS_KEPT = 256  # finished tasks of an owner that are remembered before the list is cleaned

OWNER: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("owner", default=None)


class Owner:
    """A simulated process: `name` is unique, `host` is where it runs; several processes may follow each other there."""

    def __init__(self, name: str, host: int) -> None:
        self.name = name
        self.host = host
        self.is_dead = False
        self.is_paused = False
        self.fuse: int | None = None  # callbacks left until `blown` is called
        self.blown: Callable[[], None] = lambda: None
        self.context = contextvars.copy_context()
        self.context.run(OWNER.set, self)
        self.parked: deque[asyncio.Handle] = deque()
        self.grave: deque[asyncio.Handle] = deque()
        self.tasks: dict[asyncio.Task[Any], None] = {}

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Remembers a task, to end it when the process dies."""
        self.tasks[task] = None
        if len(self.tasks) > TASKS_KEPT:
            self.tasks = {one: None for one in self.tasks if not one.done()}


class Stuck(Exception):
    """Nothing is ready and no timer is set: the run would stand still for ever."""


class SimLoop(asyncio.BaseEventLoop):
    """The loop; `network` carries its connections, `after_step` is called whenever all that was ready has run."""

    def __init__(self) -> None:
        super().__init__()
        self.network: Any = None
        self.after_step: Callable[[], None] = lambda: None
        self.failed: Callable[[Owner | None, BaseException], None] = lambda owner, error: None
        self.running_owner: Owner | None = None
        self.stepped: dict[Owner, None] = {}  # processes of which a callback has run; whoever looks at them clears it
        self.root = contextvars.copy_context()
        self._now = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Owner | None, asyncio.TimerHandle]] = []
        self._queue: deque[tuple[Owner | None, asyncio.Handle]] = deque()
        self._dying: list[Owner] = []
        self.set_task_factory(self._make_task)

    # -- time and callbacks ---------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_soon(  # type: ignore[override]  # type variables would say no more here
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Queues behind everything that is ready."""
        handle = asyncio.Handle(callback, args, self, context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None and owner.is_dead:
            owner.grave.append(handle)
        else:
            self._queue.append((owner, handle))
        return handle

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Runs at a virtual time; equal times in the order of the calls."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        heapq.heappush(self._timers, (when, next(self._order), owner, handle))
        return handle

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Runs after so many virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when their time comes."""

    def _run_once(self) -> None:
        timers, queue = self._timers, self._queue
        while timers and timers[0][3].cancelled():
            heapq.heappop(timers)
        if not queue:
            if not timers:
                raise Stuck
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            _, _, owner, handle = heapq.heappop(timers)
            if not handle.cancelled():
                queue.append((owner, handle))
        for _ in range(len(queue)):
            self._run_handle(*queue.popleft())
            while self._dying:
                self._bury(self._dying.pop())
        self.after_step()

    def _run_handle(self, owner: Owner | None, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        if owner is None:
            handle._run()
            return
        if owner.is_dead:
            return
        if owner.is_paused:
            owner.parked.append(handle)
            return
        self.running_owner = owner
        handle._run()
        self.running_owner = None
        self.stepped[owner] = None
        if owner.fuse is not None:
            owner.fuse -= 1
            if owner.fuse <= 0:
                owner.fuse = None
                owner.blown()

    # -- processes ------------------------------------------------------------------------------------------------

    def run_as(self, owner: Owner, callback: Callable[..., None], *args: Any) -> None:
        """Runs a callback in a process, at once or when that goes on. Call it from outside of all processes."""
        self._run_handle(owner, asyncio.Handle(callback, args, self, owner.context.copy()))

    def spawn(self, owner: Owner, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Starts a task that belongs to a process."""
        return owner.context.run(self.create_task, work)

    def resume(self, owner: Owner) -> None:
        """A paused process goes on; what came in meanwhile is handled first."""
        owner.is_paused = False
        self._queue.extend((owner, handle) for handle in owner.parked)
        owner.parked.clear()

    def kill(self, owner: Owner) -> None:
        """Ends a process where it stands: none of its callbacks runs again, and nothing it does later has an effect."""
        owner.is_dead = True
        self._dying.append(owner)

    def _bury(self, owner: Owner) -> None:
        """Unwinds the coroutines of a dead process, so that they do not complain when they are collected."""
        owner.grave.extend([*owner.parked, *(handle for whose, handle in self._queue if whose is owner)])
        owner.parked.clear()
        for task in [task for task in owner.tasks if not task.done()]:
            task.cancel()
        self.running_owner = owner
        while owner.grave:
            handle = owner.grave.popleft()
            if not handle.cancelled():
                handle._run()
        self.running_owner = None
        owner.tasks.clear()

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Result] | Generator[Any, None, Result],
        **options: Any,
    ) -> asyncio.Task[Result]:
        task: asyncio.Task[Result] = asyncio.Task(work, loop=self, **options)
        owner = OWNER.get()
        if owner is not None:
            owner.adopt(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An exception that left a callback is a fault of the program; one that nobody collected is not."""
        error = context.get("exception")
        owner = self.running_owner
        if "handle" in context and error is not None and not (owner is not None and owner.is_dead):
            self.failed(owner, error)

    # -- what asyncio's own loops get from the operating system -----------------------------------------------------

    def _write_to_self(self) -> None:
        """Nobody else wakes this loop up."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no file descriptors."""

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """Connects over the simulated network."""
        return await self.network.connect(OWNER.get(), protocol_factory, host, port)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """Listens on the simulated network."""
        return self.network.listen(OWNER.get(), protocol_factory, host, port)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There are no threads."""


def run(loop: SimLoop, work: Awaitable[Result]) -> Result:
    """Runs to the end and closes the loop."""
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
