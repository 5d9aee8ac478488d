"""What many callers ask of the workers at once is asked of them once.

Each question costs every worker a thread, and a worker carries out only some tasks at a time. Viewers that ask again and again
must not keep an operator's commands out.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

AGE: Final = 1.0
"""Seconds for which an answer counts."""


class Shared(Generic[T]):
    """Answers from `ask`, which is given the id of a worker or None: one at a time for each, kept for `age` seconds.

    With an `age` of 0, only who asks while an answer is on its way gets the same one.
    """

    def __init__(self, ask: Callable[[int | None], Coroutine[Any, Any, T]], *, age: float = AGE) -> None:
        self._ask = ask
        self._age = age
        self._asked: dict[int | None, tuple[float, asyncio.Task[T]]] = {}

    async def get(self, worker: int | None = None, *, newer_than: float = 0.0) -> T:
        """Return the answer, or raise what `ask` raises, which is not kept. `newer_than`: monotonic seconds."""
        now = time.monotonic()
        self._asked = {key: each for key, each in self._asked.items() if self._counts(*each, now)}
        at, asking = self._asked.get(worker, (0.0, None))
        if asking is None or at < newer_than:
            asking = asyncio.create_task(self._ask(worker))
            self._asked[worker] = now, asking
            asking.add_done_callback(functools.partial(self._ended, worker))
        return await asyncio.shield(asking)  # a caller that disconnects ends only its own wait

    def _ended(self, worker: int | None, asking: "asyncio.Task[T]") -> None:
        """Keep no failure, which asyncio would log if nobody looked at it, and with an age of 0 no answer."""
        failed = asking.cancelled() or asking.exception() is not None
        if (failed or not self._age) and self._asked.get(worker, (0.0, None))[1] is asking:
            del self._asked[worker]

    def _counts(self, at: float, asking: "asyncio.Task[T]", now: float) -> bool:
        return not asking.done() or now - at < self._age
