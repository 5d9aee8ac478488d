"""Work that may block (a file on a server that is gone), aside from the loop that must not."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Runs one piece of work at a time on a thread that nobody waits for: not even the end of the process."""

    def __init__(self) -> None:
        self._busy = False

    async def run(self, work: Callable[[], T], *, seconds: float) -> T:
        """Return what `work` returns. Raises TimeoutError if that takes longer, or if work of before still runs."""
        if self._busy:
            raise TimeoutError
        done: Future[T] = Future()

        def run() -> None:
            complete: Callable[[Any], None]
            try:
                outcome: Any = work()
                complete = done.set_result
            except Exception as error:  # noqa: BLE001 - a thread's outer edge: who asked is told
                outcome, complete = error, done.set_exception
            self._busy = False  # first: who is told may ask again at once
            with contextlib.suppress(
                InvalidStateError, RuntimeError
            ):  # nobody waits any more; the loop is closed
                complete(outcome)

        self._busy = True
        try:
            threading.Thread(target=run, name="flaskd-aside", daemon=True).start()
        except BaseException:
            self._busy = False
            raise
        return await asyncio.wait_for(asyncio.wrap_future(done), seconds)
