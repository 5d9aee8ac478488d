"""Waiting in asyncio's event loop."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

T = TypeVar("T")


class Asyncio:
    """The backend of `AsyncClient`."""

    async def wait(self, *readable: int, writable: Sequence[int] = (), deadline: float) -> bool:
        """Wait until one of the descriptors is ready; return False at the deadline."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        left = deadline - time.monotonic()
        try:
            for descriptor in readable:
                loop.add_reader(descriptor, ready.set)
            for descriptor in writable:
                loop.add_writer(descriptor, ready.set)
            async with asyncio.timeout(None if left == float("inf") else left):
                await ready.wait()
        except TimeoutError:
            return False
        finally:
            for descriptor in readable:
                loop.remove_reader(descriptor)
            for descriptor in writable:
                loop.remove_writer(descriptor)
        return True

    async def call(self, function: Callable[[], T]) -> T:
        """Call the function in a thread."""
        return await asyncio.to_thread(function)

    def finish(self, function: Callable[[], None]) -> None:
        """Call the function in a thread, without waiting for it."""
        threading.Thread(target=function).start()

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Return a lock for tasks."""
        return asyncio.Lock()
