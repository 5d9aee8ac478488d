"""Requests that no thread has become free for in time (`--max-queue-time`), handed over on a thread of their own.

Otherwise, while all threads are stuck, they would wait for a 503 as long as for a response. They are marked as expired, so the
ledger answers them at once, and one thread is enough. It sleeps while nothing waits, and is started when first needed.
"""

import heapq
import itertools
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from flaskd.http.queue_time import Waiting, queue_time
from flaskd.process import forks


class Waiter:
    """A request that waits for a thread since `since` (monotonic). Whoever takes it first, has it."""

    __slots__ = ("_job", "since")

    def __init__(self, job: Any, since: float) -> None:
        self.since = since
        self._job = [job]

    def take(self) -> Any:
        """Return the job; None if another thread has taken it. From any thread."""
        try:
            return self._job.pop()  # one call: no other thread in between
        except IndexError:
            return None

    @property
    def taken(self) -> bool:
        """Whether it waits no more."""
        return not self._job


class Expiry:
    """Calls `work` with the job of each waiter that has waited for `limit` seconds; 0: for as long as it takes.

    `waiting` is told of each one. `work` must not raise, nor block. From any thread.
    """

    def __init__(self, limit: float, work: Callable[[Any], None], waiting: Waiting) -> None:
        self._limit = limit
        self._work = work
        self._waiting = waiting
        self._changed = threading.Condition()  # protects what follows, and _limit
        self._line: list[tuple[float, int, Waiter]] = []  # a heap, the oldest first
        self._numbers: Final = itertools.count()
        self._started = False

    def add(self, waiter: Waiter) -> None:
        """Have an eye on it."""
        if not self._limit:
            return
        with self._changed:
            self._forget_taken()
            heapq.heappush(self._line, (waiter.since, next(self._numbers), waiter))
            if self._line[0][2] is waiter:
                self._changed.notify()
            start, self._started = not self._started, True
        if start:
            self._start()

    def change_limit(self, limit: float) -> None:
        """Use another limit, for those that come from now on; a shorter one or 0 also for those that wait."""
        with self._changed:
            self._limit = limit
            self._changed.notify()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name="flaskd-expiry", daemon=True).start()
        except RuntimeError:  # no thread left in the system: those that wait find one in the end
            with self._changed:
                self._started = False

    def _forget_taken(self) -> None:
        while self._line and self._line[0][2].taken:
            heapq.heappop(self._line)

    def _run(self) -> None:
        depth = forks.depth
        while forks.depth == depth:
            waiter = self._next()
            job = waiter.take()
            if job is None:
                continue
            self._waiting(-1)
            queue_time.seconds, queue_time.expired = monotonic() - waiter.since, True
            self._work(job)

    def _next(self) -> Waiter:
        """Wait for one whose time is over."""
        with self._changed:
            while True:
                self._forget_taken()
                if not self._limit:
                    self._line.clear()
                left = self._line[0][0] + self._limit - monotonic() if self._line else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._line)[2]
                self._changed.wait(left)
