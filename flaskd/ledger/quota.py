"""Counts a worker's requests, so that it can ask to be replaced after a number of them; costs nothing if there is no quota."""

import itertools
import random
from collections.abc import Callable

from flaskd.ledger.middleware import Ledger


class Quota:
    """Calls `on_reached` after a number of requests, and again after each further batch of that size.

    It is called on the thread of the batch's last request, which has been answered.
    """

    def __init__(self, ledger: Ledger, on_reached: Callable[[], None]) -> None:
        self._ledger = ledger
        self._on_reached = on_reached
        self._asked = (0, 0)
        self._size = 0  # 0: no quota
        self._next = 0
        self._counts = False

    def set(self, requests: int, *, jitter: int) -> None:
        """Allow `requests` requests and up to `jitter` more, counted from the worker's first; 0: any number."""
        if self._asked == (requests, jitter):
            return
        self._asked = requests, jitter
        self._size = requests + random.randint(0, jitter) if requests else 0  # noqa: S311 - no secret
        self._next = self._size
        if self._size and not self._counts:
            self._counts = True
            self._count(self._ledger.table.finished())

    def _count(self, already: int) -> None:
        numbers = itertools.count(already + 1)  # counts without a lock
        on_end = self._ledger.on_end

        def ended() -> None:
            on_end()
            number, size = next(numbers), self._size
            if size and number >= self._next:
                self._next = number + size
                self._on_reached()

        self._ledger.on_end = ended
