"""Whose turn it is: a flood of messages from other callers never keeps the owner, or a signal, waiting."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

BUDGET: Final = 0.0005
"""CPU seconds in each round of the loop for callers other than the owner and root."""

RESUMED: Final = 0.0001
"""CPU seconds that we charge for a task that goes on: asyncio runs it later, so we cannot see what it takes."""


class Turns:
    """Runs steps in the order in which they came, on the running loop, half a millisecond of them in each of its rounds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Callable[[], float | None]] = deque()

    def add(self, step: Callable[[], float | None]) -> None:
        """Run `step` when it is its turn. It may return the CPU seconds of what it has scheduled."""
        if not self._waiting:
            self._loop.call_soon(self._run)
        self._waiting.append(step)

    async def wait(self) -> None:
        """Return when it is the turn of the task that calls."""
        come = self._loop.create_future()

        def resume() -> float | None:
            if come.done():  # cancelled
                return None
            come.set_result(None)
            return RESUMED

        self.add(resume)
        await come

    def _run(self) -> None:
        end = time.thread_time() + BUDGET
        for _ in range(len(self._waiting)):
            try:
                end -= self._waiting[0]() or 0.0
            finally:
                self._waiting.popleft()  # only now: a step that adds one must not schedule a second round
            if time.thread_time() >= end:
                break
        if self._waiting:
            self._loop.call_soon(self._run)
