"""The owner's mailbox: a queue that can be waited on together with signals.

A lock will not do. A signal that comes just before the main thread blocks on a lock (queue.get, Condition.wait) runs its Python
handler only when something else wakes the thread: the order to stop would lie there unread. So waiting is on a descriptor, and
the same descriptor is the process's wakeup fd while signals are ours (signal.set_wakeup_fd): the C-level handler writes to it.
"""

import collections
import contextlib
import select
import socket
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Orders from any thread or signal handler to one reader, from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self._letters: collections.deque[T] = collections.deque()
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._read_end.close()
        self._write_end.close()

    def wake_descriptor(self) -> int:
        """Return the descriptor to which a byte is written to wake the reader."""
        return self._write_end.fileno()

    def read_descriptor(self) -> int:
        """Return the descriptor that is readable when a letter may be there, for a reader who waits for other things too."""
        return self._read_end.fileno()

    def put(self, letter: T) -> None:
        """Leave a letter and wake the reader. Reentrant; after the reader has gone the letter just stays."""
        self._letters.append(letter)
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody reads any more
            self._write_end.send(b"\0")

    def get(self, timeout: float | None) -> T | None:
        """Return the next letter, waiting up to `timeout` seconds (None: without bound); None where none came."""
        if not self._letters:
            poller = select.poll()
            poller.register(self._read_end, select.POLLIN)
            poller.poll(None if timeout is None else max(0.0, timeout) * 1000)
            with contextlib.suppress(BlockingIOError):
                self._read_end.recv(4096)
        return self._letters.popleft() if self._letters else None

    def rest(self) -> list[T]:
        """Take what is left, without waiting."""
        rest: list[T] = []
        with contextlib.suppress(IndexError):  # one by one: others may put, and take the rest too
            while True:
                rest.append(self._letters.popleft())
        return rest
