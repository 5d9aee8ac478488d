"""Whose turn it is: a flood of messages from other callers never keeps the owner, or a signal, waiting."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

BUDGET: Final = 0.002
"""CPU seconds in each round of the loop for callers other than the owner and root."""


class Turns:
    """Runs steps in the order in which they came, on the running loop, a few milliseconds of them in each of its rounds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, step: Callable[[], None]) -> None:
        """Run `step` when it is its turn."""
        if not self._waiting:
            self._loop.call_soon(self._run)
        self._waiting.append(step)

    def _run(self) -> None:
        end = time.thread_time() + BUDGET
        for _ in range(len(self._waiting)):
            try:
                self._waiting[0]()
            finally:
                self._waiting.popleft()  # only now: a step that adds one must not schedule a second round
            if time.thread_time() >= end:
                break
        if self._waiting:
            self._loop.call_soon(self._run)
