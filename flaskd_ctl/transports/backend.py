"""How the client waits: blocking, or in asyncio's event loop.

The client is written once, as coroutines. They await only the methods of a `Backend`: the thread waits in `Blocking`, the event
loop in `asyncio_backend.Asyncio`. A coroutine that waits with `Blocking` never suspends, so `run` needs no event loop.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")

LONGEST_MS: Final = 2**31 - 1
"""The longest timeout that poll(2) takes."""


class Backend(Protocol):
    """What the coroutines of the client wait with. Deadlines are monotonic seconds."""

    async def wait(self, *readable: int, writable: Sequence[int] = (), deadline: float) -> bool:
        """Wait until one of the descriptors is ready; return False at the deadline."""

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function that may block."""

    def finish(self, function: Callable[[], None]) -> None:
        """Call a function that takes a moment and whose result nobody needs."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Return a new lock."""


class Blocking:
    """Wait in the calling thread."""

    async def wait(self, *readable: int, writable: Sequence[int] = (), deadline: float) -> bool:
        """Wait until one of the descriptors is ready; return False at the deadline."""
        poller = select.poll()
        for descriptor in readable:
            poller.register(descriptor, select.POLLIN)
        for descriptor in writable:
            poller.register(descriptor, select.POLLOUT)
        left = deadline - time.monotonic()
        return bool(poller.poll(None if left == float("inf") else min(max(left, 0.0) * 1000, LONGEST_MS)))

    async def call(self, function: Callable[[], T]) -> T:
        """Call the function."""
        return function()

    def finish(self, function: Callable[[], None]) -> None:
        """Call the function."""
        function()

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Return a lock for threads."""
        return _Lock()


class _Lock:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


BLOCKING: Final = Blocking()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits with `BLOCKING`, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine has suspended: it does not wait with BLOCKING")


def iterate(items: AsyncGenerator[T, None]) -> Iterator[T]:
    """Iterate over an asynchronous generator that waits with `BLOCKING`."""
    try:
        while True:
            yield run(items.__anext__())
    except StopAsyncIteration:
        return
    finally:
        run(items.aclose())
