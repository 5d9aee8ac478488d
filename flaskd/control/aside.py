"""Work that may block (a file on a server that is gone), aside from the loop that must not."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Runs one piece of work at a time on a thread that nobody waits for: not even the end of the process."""

    def __init__(self) -> None:
        self._running: threading.Thread | None = None

    async def run(self, work: Callable[[], T], *, seconds: float) -> T:
        """Return what `work` returns. Raises TimeoutError if that takes longer, or if work of before still runs."""
        if self._running is not None and self._running.is_alive():
            raise TimeoutError
        done: Future[T] = Future()

        def run() -> None:
            with contextlib.suppress(
                InvalidStateError, RuntimeError
            ):  # nobody waits any more; the loop is closed
                try:
                    result = work()
                except Exception as error:  # noqa: BLE001 - a thread's outer edge: who asked is told
                    done.set_exception(error)
                else:
                    done.set_result(result)

        self._running = threading.Thread(target=run, name="flaskd-aside", daemon=True)
        self._running.start()
        return await asyncio.wait_for(asyncio.wrap_future(done), seconds)
