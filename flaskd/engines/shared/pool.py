"""A thread pool: its threads are started when first needed, and are daemons.

A hung application must not keep the process alive, so nothing waits for the threads. When the application forks, the child
returns here on the thread that forked it. It must not take more work, and ends with that thread, its only one.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, Generic, TypeVar

from flaskd.engines.shared.expiry import Expiry, Waiter
from flaskd.http.queue_time import Waiting, queue_time
from flaskd.process import forks

Item = TypeVar("Item")

log: Final = logging.getLogger("flaskd.http")


class Pool(Generic[Item]):
    """At most `max_threads` threads that call `work` with each item that is `put`; `work` must not raise.

    `waiting` is told of each item for which no thread is free. One that waits for `max_wait` seconds is expired (see `expiry`);
    0: none is.
    """

    def __init__(
        self,
        max_threads: int,
        work: Callable[[Item], None],
        *,
        name: str,
        waiting: Waiting,
        max_wait: float = 0.0,
    ) -> None:
        self._max_threads = max_threads
        self._work = work
        self._name = name
        self._waiting = waiting
        self._expiry = Expiry(max_wait, self._expired, waiting)
        self._queue: queue.SimpleQueue[Item | Waiter | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # protects what follows, and _max_threads
        self._started = 0
        self._idle = 0  # threads without work; below 0, work without a thread
        self._surplus = 0  # orders in the queue for threads to end, which are no work
        self._expired_inside = 0  # items in the queue that have expired, which are none any more

    def put(self, item: Item, *, waited: float = 0.0) -> None:
        """Give the item to the next free thread; it has `waited` for so many seconds already."""
        waiter, lock = None, self._lock
        lock.acquire()  # `with` takes twice as long
        try:
            self._idle -= 1
            needed = self._idle < 0 and self._started < self._max_threads
            if needed:
                self._started += 1
                self._idle += 1
            if waited or (self._idle < 0 and not needed):
                waiter = Waiter(item, monotonic() - waited)
                self._waiting(1)
        finally:
            lock.release()
        self._queue.put(waiter or item)
        if needed:
            self._start()
        if waiter is not None:
            self._expiry.add(waiter)

    def change_max_wait(self, seconds: float) -> None:
        """Let items expire after other seconds; 0: never."""
        self._expiry.change_limit(seconds)

    def resize(self, max_threads: int) -> None:
        """Have at most so many threads. Surplus ones end after their work, before any of it that is `put` later begins."""
        with self._lock:
            self._max_threads = max_threads
            surplus = max(0, self._started - max_threads)
            self._started -= surplus
            self._idle -= surplus
            self._surplus += surplus
            for _ in range(surplus):
                self._queue.put(None)
            needed = max(0, min(max_threads - self._started, -self._idle))
            self._started += needed
            self._idle += needed
        for _ in range(needed):
            self._start()

    @property
    def waiting(self) -> int:
        """How many items no thread has taken yet."""
        return max(0, self._queue.qsize() - self._surplus - self._expired_inside)

    @property
    def busy(self) -> int:
        """How many items are at work or wait."""
        return self._started - self._idle

    def end(self) -> None:
        """End each thread once the queue is empty."""
        with self._lock:
            self._surplus += self._started
            for _ in range(self._started):
                self._queue.put(None)

    def _start(self) -> None:
        """Start a thread that is counted already."""
        try:
            threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        except RuntimeError as error:  # no thread left in the system: the next free one does it
            log.error("cannot start a thread: %s", error)  # noqa: TRY400 - expected under a limit, no traceback
            with self._lock:
                self._started -= 1
                self._idle -= 1

    def _run(self) -> None:
        depth, lock = forks.depth, self._lock
        while (taken := self._queue.get()) is not None:
            if not isinstance(taken, Waiter):
                self._work(taken)
            elif (item := taken.take()) is None:
                with self._lock:
                    self._expired_inside -= 1
                continue
            else:
                self._waiting(-1)
                queue_time.seconds = monotonic() - taken.since
                self._work(item)
                queue_time.seconds = 0.0
            if forks.depth != depth:
                return
            lock.acquire()
            self._idle += 1  # it cannot fail, and `with` takes twice as long
            lock.release()
        with self._lock:
            self._surplus -= 1

    def _expired(self, item: Item) -> None:
        """Hand an item over for which no thread has become free."""
        with self._lock:
            self._idle += 1
            self._expired_inside += 1
        # It is usually the oldest in the queue; while all threads hang, nobody else takes it out.
        with contextlib.suppress(queue.Empty):
            oldest = self._queue.get_nowait()
            if isinstance(oldest, Waiter) and oldest.taken:
                with self._lock:
                    self._expired_inside -= 1
            else:
                self._queue.put(oldest)
        self._work(item)
