"""Accepts connections in a thread that waits on a selector."""

import contextlib
import resource
import selectors
import socket
import threading
import time
from typing import Any, Final

from flaskd.engines.shared.waker import Waker
from flaskd.listening.listeners import unblock
from flaskd.process.descriptors import RESERVE

MAX_CONNECTIONS: Final = 1024
"""Open connections at most, if the descriptor limit allows; further ones wait in the kernel's accept queue.

It is far more than `threads`, because an idle kept connection occupies one without a thread. It is not more, because the accept
queue is the better place to wait: other processes serve it when this one is killed.
"""

RETRY_AFTER: Final = 0.1  # seconds; accept(2) failed with EMFILE, a descriptor may come free at any time


class Acceptor:
    """Listeners that are in `selector` while connections are wanted.

    `stop` and `wait` are for any thread, the rest for the one that waits on the selector.
    """

    def __init__(self, selector: selectors.BaseSelector, waker: Waker) -> None:
        self.stopping = False
        self._waker = waker
        self._selector = selector
        self._listeners: dict[socket.socket, object] = {}  # with the data of their selector keys
        self._listening = False
        self._stopped = threading.Event()
        self._retry_at: float | None = None

    def add(self, listener: socket.socket, data: object) -> None:
        """Accept on `listener`, whose selector key gets `data`, from the next `listen` on."""
        self._listeners[listener] = data

    def stop(self) -> None:
        """Accept nothing more after the next `listen`, and wake the thread for it."""
        self.stopping = True
        self._waker.wake()

    def wait(self) -> None:
        """Wait until `stop` has taken effect or the thread has ended."""
        if self._listeners:
            self._stopped.wait()

    def end(self) -> None:
        """Note that the thread has ended."""
        self._stopped.set()

    def listen(self, *, wanted: bool) -> float | None:
        """Wait for connections from now on, or no longer; returns the seconds after which to call again."""
        stopping, now = self.stopping, time.monotonic()
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
        wanted = wanted and not stopping and self._retry_at is None
        if wanted != self._listening:
            for listener, data in self._listeners.items():
                if wanted:
                    self._selector.register(listener, selectors.EVENT_READ, data)
                else:
                    self._selector.unregister(listener)
            self._listening = wanted
        if stopping:
            self.end()
        return None if self._retry_at is None else self._retry_at - now

    def accept(self, listener: socket.socket) -> tuple[socket.socket, Any] | None:
        """Accept a connection; None if there is none. Raises OSError when the process has no descriptor left."""
        with contextlib.suppress(BlockingIOError, InterruptedError, ConnectionError):
            # Not accept(), which makes an object of the class that the application may have put in place of Python's.
            descriptor, address = listener._accept()  # type: ignore[attr-defined]  # of _socket.socket
            sock = socket.socket(listener.family, listener.type, listener.proto, fileno=descriptor)
            try:
                unblock(sock)
            except OSError:  # the client has left
                sock.close()
                return None
            return sock, address
        return None  # another process was quicker, or the client has left the queue

    def pause(self) -> None:
        """Accept nothing for a moment."""
        self._retry_at = time.monotonic() + RETRY_AFTER


def max_connections(threads: int) -> int:
    """Return how many connections an engine may have open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(threads, min(MAX_CONNECTIONS, limit - RESERVE))
