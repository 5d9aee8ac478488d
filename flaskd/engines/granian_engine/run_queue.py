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

from flaskd.engines.shared.expiry import Expiry, Waiter
from flaskd.http.queue_time import Waiting, queue_time


class RunQueue:
    """Runs at most `bound` jobs at a time, on the threads that bring them. For any thread; a job must not raise.

    `waiting` is told of each job that has to wait. One that waits for `max_wait` seconds is expired (see `shared.expiry`); 0:
    none is.
    """

    def __init__(self, bound: int, waiting: Waiting, *, max_wait: float = 0.0) -> None:
        # The free ones. It is never looked at and changed in two steps.
        self._places: deque[None] = deque([None] * bound)
        self._lock = threading.Lock()  # protects _jobs, but for a look whether there are any
        self._jobs: deque[Waiter] = deque()
        self._waiting = waiting
        self._expiry = Expiry(max_wait, _do, waiting)

    def run(self, job: Callable[[Any], None], argument: Any) -> None:
        """Call `job` now, and then the jobs that wait; or leave it to a thread that is at work."""
        places = self._places
        try:
            places.pop()
        except IndexError:
            self._leave(job, argument)
        else:
            job(argument)
            if self._jobs:
                self._do_waiting()
            places.append(None)
        # A job may have come after the look at the jobs, and found no place before this one was free again. So both
        # sides look a second time, each after it has changed what the other looks at.
        while self._jobs:
            try:
                places.pop()
            except IndexError:
                return
            self._do_waiting()
            places.append(None)

    def _leave(self, job: Callable[[Any], None], argument: Any) -> None:
        """Leave a job to a thread that is at work."""
        waiter = Waiter((job, argument), monotonic())
        self._waiting(1)
        with self._lock:
            while self._jobs and self._jobs[0].taken:  # expired
                self._jobs.popleft()
            self._jobs.append(waiter)
        self._expiry.add(waiter)

    def _do_waiting(self) -> None:
        """Do the jobs that wait, in the place that this thread has."""
        while True:
            with self._lock:
                if not self._jobs:
                    return
                waiter = self._jobs.popleft()
            if (waits := waiter.take()) is None:
                continue
            self._waiting(-1)
            queue_time.seconds = monotonic() - waiter.since
            _do(waits)
            queue_time.seconds = 0.0

    def change_max_wait(self, seconds: float) -> None:
        """Let jobs expire after other seconds; 0: never."""
        self._expiry.change_limit(seconds)


def _do(work: tuple[Callable[[Any], None], Any]) -> None:
    job, argument = work
    job(argument)
