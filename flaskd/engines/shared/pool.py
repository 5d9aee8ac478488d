"""Threads that work off a queue: started when first needed, never more than allowed, daemons all.

A hung application must not keep the process, so nobody waits for them. A child that the application has forked comes back here
with the thread that forked it: it has no part in the work, and ends with that thread, its only one.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from flaskd.process import forks

Item = TypeVar("Item")

log: Final = logging.getLogger("flaskd.http")


class Pool(Generic[Item]):
    """At most `most` threads that call `work` with what is `put`; it must not raise."""

    def __init__(self, most: int, work: Callable[[Item], None], *, name: str) -> None:
        self._most = most
        self._work = work
        self._name = name
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # protects _started and _idle
        self._started = 0
        self._idle = 0  # threads without work; below 0, work without a thread

    def put(self, item: Item) -> None:
        """Let the next free thread do it."""
        with self._lock:
            self._idle -= 1
            needed = self._idle < 0 and self._started < self._most
            if needed:
                self._started += 1
                self._idle += 1
        self._queue.put(item)
        if needed:
            try:
                threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
            except RuntimeError as error:  # the system has no thread for us: the next free one does it
                log.error("cannot start a thread: %s", error)  # noqa: TRY400 - expected under a limit, no traceback
                with self._lock:
                    self._started -= 1
                    self._idle -= 1

    @property
    def waiting(self) -> int:
        """How many items no thread has taken yet."""
        return self._queue.qsize()

    def end(self) -> None:
        """Let each thread end when the queue is empty."""
        with self._lock:
            for _ in range(self._started):
                self._queue.put(None)

    def _run(self) -> None:
        depth = forks.depth
        while (item := self._queue.get()) is not None:
            self._work(item)
            if forks.depth != depth:
                return
            with self._lock:
                self._idle += 1
