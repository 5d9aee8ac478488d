"""What many callers ask of the workers at once is asked of them once.

Each question costs every worker a thread, and a worker carries out only some tasks at a time. Viewers that ask again and again
must not keep an operator's commands out.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

AGE: Final = 1.0
"""Seconds for which an answer counts."""


class Shared(Generic[T]):
    """Answers from `ask`, which is given the id of a worker or None: one at a time for each, kept for AGE seconds."""

    def __init__(self, ask: Callable[[int | None], Coroutine[Any, Any, T]]) -> None:
        self._ask = ask
        self._asked: dict[int | None, tuple[float, asyncio.Task[T]]] = {}

    async def get(self, worker: int | None = None, *, newer_than: float = 0.0) -> T:
        """Return the answer, or raise what `ask` raises, which is not kept. `newer_than`: monotonic seconds."""
        now = time.monotonic()
        self._asked = {key: each for key, each in self._asked.items() if _counts(*each, now)}
        at, asking = self._asked.get(worker, (0.0, None))
        if asking is None or at < newer_than:
            asking = asyncio.create_task(self._ask(worker))
            self._asked[worker] = now, asking
            asking.add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )  # else asyncio logs it
        return await asyncio.shield(asking)  # a caller that disconnects ends only its own wait


def _counts(at: float, asking: "asyncio.Task[Any]", now: float) -> bool:
    if not asking.done():
        return True
    return now - at < AGE and not asking.cancelled() and asking.exception() is None
