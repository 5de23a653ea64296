"""The synchronous twin."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from functools import wraps
from inspect import CORO_CREATED, getcoroutinestate
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from protocol.client.arguments import wrong
from protocol.client.client import HISTORY_PAGE, Client
from protocol.client.locks import Lock, LockOwner
from protocol.errors import RingpayError
from protocol.views import Entry

INTERRUPT_SECONDS = 1.0  # an interrupt that comes just before the thread sleeps does not wake it; it is seen then

Result = TypeVar("Result")
Given = ParamSpec("Given")


class SyncLock:
    """A lock of the cluster; `with` acquires it, renews it meanwhile, and releases it."""

    def __init__(self, lock: Lock, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._lock = lock
        self._run = run

    def __enter__(self) -> SyncLock:
        try:
            self._run(self._lock.acquire())
            return self
        except RingpayError:
            raise
        except BaseException as error:
            if self._lock.token:  # the interrupt came when the lock was granted already
                self.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        release = self._lock.__aexit__(kind, error, trace)
        try:
            self._run(release)
        except BaseException:
            if getcoroutinestate(release) == CORO_CREATED:  # the interrupt came before it was begun
                self._run(release)
            raise

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self._lock.name

    @property
    def token(self) -> int:
        """Rises from holder to holder."""
        return self._lock.token

    @property
    def is_held(self) -> bool:
        """Whether the lease has not run out, as far as is known here."""
        return self._now(lambda: self._lock.is_held)

    @property
    def seconds_left(self) -> float:
        """Of the lease, as far as is known here; 0 when it is over."""
        return self._now(lambda: self._lock.seconds_left)

    def check(self) -> None:
        """Raises Refused(lock_not_held) if the lease is lost."""
        self._now(self._lock.check)

    def renew(self, ttl: float | None = None) -> None:
        """Begins the lease anew."""
        self._run(self._lock.renew(ttl))

    def _now(self, look: Callable[[], Result]) -> Result:
        found: list[Result] = []

        async def on_the_loop() -> None:
            found.append(look())

        self._run(on_the_loop())
        return found[0]


def _taking(
    call: Callable[Concatenate[Client, Given], object],
) -> Callable[[Callable[..., Result]], Callable[Concatenate[SyncClient, Given], Result]]:
    """A method that takes what a call of `Client` takes."""
    return lambda method: method


class _Loop(asyncio.SelectorEventLoop):
    """Names are looked up in threads that no end of a program waits for: a slow resolver takes nobody more than his time limit."""

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


class _Twin(Generic[Given, Result]):
    """A call of `Client`, with the same arguments, that waits for its result."""

    def __init__(self, call: Callable[Concatenate[Client, Given], Coroutine[Any, Any, Result]]) -> None:
        self._call = call

    def __get__(self, client: SyncClient, owner: type[SyncClient]) -> Callable[Given, Result]:
        @wraps(self._call)
        def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
            return client._run(self._call(client._client, *arguments, **options))

        return call


class SyncClient:
    """The same calls as `Client`, without await; `history` gives a list. Owns a thread with an event loop."""

    create_account = _Twin(Client.create_account)
    create_accounts = _Twin(Client.create_accounts)
    update_account = _Twin(Client.update_account)
    account = _Twin(Client.account)
    accounts = _Twin(Client.accounts)
    transfer = _Twin(Client.transfer)
    hold = _Twin(Client.hold)
    capture = _Twin(Client.capture)
    void = _Twin(Client.void)
    transfer_many = _Twin(Client.transfer_many)
    outcome = _Twin(Client.outcome)
    find = _Twin(Client.find)
    trace = _Twin(Client.trace)
    undecided = _Twin(Client.undecided)
    snapshot = _Twin(Client.snapshot)
    audit = _Twin(Client.audit)
    cluster = _Twin(Client.cluster)

    def __init__(self, addresses: str | Sequence[str], **options: Any) -> None:
        self._client = Client(addresses, **options)
        self._process = os.getpid()
        self._loop = _Loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ringpay client", daemon=True)
        self._thread.start()
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self.close()
            raise

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Its result. An interrupt cancels it and is raised when its own cleaning up has ended; a second one does not wait."""
        if (reason := self._why_not()) is not None:
            work.close()
            raise wrong(reason)
        tasks: list[asyncio.Task[Result]] = []
        ended = threading.Event()

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(end)

        def end(task: asyncio.Task[Result]) -> None:
            if not task.cancelled():
                task.exception()  # looked at: nobody asks for it after an interrupt
            ended.set()

        def cancel() -> None:
            if tasks:
                self._loop.call_soon(tasks[0].cancel)  # behind its first step: who cleans up must have begun
            else:
                ended.set()

        try:
            self._loop.call_soon_threadsafe(begin)
            _wait(ended)
        except BaseException:
            self._loop.call_soon_threadsafe(cancel)
            _wait(ended)
            raise
        return tasks.pop().result()

    def _why_not(self) -> str | None:
        """A copy that a fork has made has no thread that would ever answer."""
        if os.getpid() != self._process:
            return f"the client was made by process {self._process}: expected one that was made after the fork"
        return "the client is closed: expected one that is open" if self._loop.is_closed() else None

    @property
    def cluster_name(self) -> str:
        """As of `Client`."""
        return self._client.cluster_name

    def new_id(self) -> int:
        """As of `Client`."""
        return self._client.new_id()

    def lock_owner(self) -> LockOwner:
        """As of `Client`."""
        return self._client.lock_owner()

    @_taking(Client.history)
    def history(self, *arguments: Any, **options: Any) -> list[Entry]:
        """The account's transfers, all at once."""
        return [entry for page in self.history_pages(*arguments, **options) for entry in page]

    @_taking(Client.history)
    def history_pages(self, *arguments: Any, **options: Any) -> Iterator[list[Entry]]:
        """The same in lists of `page` at most, each read when it is asked for."""
        entries = self._client.history(*arguments, **options)
        while page := self._run(_next(entries, options.get("page", HISTORY_PAGE))):
            yield page

    @_taking(Client.lock)
    def lock(self, *arguments: Any, **options: Any) -> SyncLock:
        """`with` it: acquires, renews meanwhile, releases. An interrupt while it waits leaves no claim behind."""
        return SyncLock(self._client.lock(*arguments, **options), self._run)

    def close(self) -> None:
        """Closes the connections and ends the thread."""
        if self._why_not() is None:
            self._run(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wait(ended: threading.Event) -> None:
    while not ended.wait(INTERRUPT_SECONDS):
        pass


async def _next(entries: AsyncIterator[Entry], count: int) -> list[Entry]:
    """So many more, fewer at the end."""
    page: list[Entry] = []
    async for entry in entries:
        page.append(entry)
        if len(page) == count:
            break
    return page


def _made_as(maker: Callable[Given, Client]) -> Callable[[Callable[..., Result]], Callable[Given, Result]]:
    """A function that takes what the maker of a client takes."""
    return lambda call: call


@_made_as(Client)
def connect(*arguments: Any, **options: Any) -> SyncClient:
    """A synchronous client; the arguments are those of `Client`."""
    return SyncClient(*arguments, **options)
