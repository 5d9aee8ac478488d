"""Who may be in the application: at most so many at a time, the others in the order in which they came.

Nobody waits on a thread: who finds no place leaves its job here, and the thread that frees a place does it next. So a pool with
one thread more than there are places always has one that is free (granian brings the results of its futures with such a thread:
were all of them in the application, each waiting for the next piece of a body, none would ever get it).
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Turns:
    """Does jobs, which raise nothing, on the threads of those who bring them. From any thread."""

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()  # protects what follows
        self._free = places
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()

    def do(self, job: Callable[[Any], None], argument: Any) -> None:
        """Call `job` now, and what waited when it is done; or leave it to a thread that is at work."""
        with self._lock:
            if not self._free:
                self._waiting.append((job, argument))
                return
            self._free -= 1
        while True:
            job(argument)
            with self._lock:
                if not self._waiting:
                    self._free += 1
                    return
                job, argument = self._waiting.popleft()
