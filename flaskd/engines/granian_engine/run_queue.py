"""A bound on how many requests are in the application at a time; the others wait in the order in which they came.

No thread waits. A request that finds the bound reached leaves its job here, and the next thread that finishes a job does it.
So a pool that has one thread more than the bound always has a free one. granian needs that: it brings the results of its
futures on such a thread. If all of them were in the application, each waiting for a piece of a body, none would ever get it.
"""

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from flaskd.http.queue_time import Waiting, queue_time


class RunQueue:
    """Runs at most `bound` jobs at a time, on the threads that bring them. For any thread; a job must not raise.

    `waiting` is told of each job that has to wait.
    """

    def __init__(self, bound: int, waiting: Waiting) -> None:
        self._lock = threading.Lock()  # protects what follows
        self._free = bound
        self._jobs: deque[tuple[Callable[[Any], None], Any, float]] = deque()
        self._waiting = waiting

    def run(self, job: Callable[[Any], None], argument: Any) -> None:
        """Call `job` now, and then the jobs that wait; or leave it to a thread that is at work."""
        with self._lock:
            if not self._free:
                self._waiting(1)
                self._jobs.append((job, argument, monotonic()))
                return
            self._free -= 1
        job(argument)
        while True:
            with self._lock:
                if not self._jobs:
                    self._free += 1
                    return
                job, argument, since = self._jobs.popleft()
                self._waiting(-1)
            queue_time.seconds = monotonic() - since
            job(argument)
            queue_time.seconds = 0.0
