"""Accepts connections in a thread that waits on a selector."""

import contextlib
import os
import resource
import select
import selectors
import socket
import sys
import threading
import time
from typing import Any, Final

from flaskd.engines.shared.even_load import Decision
from flaskd.engines.shared.load_share import LoadShare
from flaskd.engines.shared.waker import Waker
from flaskd.listening.listeners import queue_length, unblock
from flaskd.process.descriptors import RESERVE

MAX_CONNECTIONS: Final = 1024
"""Open connections at most, if the descriptor limit allows; further ones wait in the kernel's accept queue.

It is far more than `threads`, because an idle kept connection occupies one without a thread. It is not more, because the accept
queue is the better place to wait: other processes serve it when this one is killed.
"""

RETRY_AFTER: Final = 0.1  # seconds; accept(2) failed with EMFILE, a descriptor may come free at any time


class Acceptor:
    """Accepts from listeners while connections are wanted and it is this worker's turn, as `load_share` says.

    The selector's keys of its listeners have the acceptor as their data. `stop` and `wait` are for any thread, the
    rest for the one that waits on the selector.
    """

    def __init__(
        self, selector: selectors.BaseSelector, waker: Waker, load_share: LoadShare | None = None
    ) -> None:
        self.stopping = False
        self._waker = waker
        self._selector = selector
        self._edges = _edges_of(selector)
        self._load_share = load_share if load_share is not None and self._edges is not None else LoadShare()
        self._listeners: dict[socket.socket, Any] = {}  # with what `accept_next` returns for them
        self._rung: dict[socket.socket, None] = {}  # those that connections may wait at, in this order
        self._listening = False
        self._stopped = threading.Event()
        self._retry_at: float | None = None

    def add(self, listener: socket.socket, data: Any) -> None:
        """Accept on `listener` from the next `listen` on; `accept_next` returns `data` with its connections."""
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
        self._load_share.accepts(False)
        if self._edges is not None:
            self._edges.close()
        self._stopped.set()

    def listen(self, *, wanted: bool) -> float | None:
        """Wait for connections from now on, or no longer; returns the seconds after which to call again."""
        stopping, now = self.stopping, time.monotonic()
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
        wanted = wanted and not stopping and self._retry_at is None
        if wanted != self._listening:
            for listener in self._listeners:
                if wanted:
                    self._selector.register(listener, selectors.EVENT_READ, self)
                    if self._edges is not None:
                        # One event for each connection, which may then be left to others.
                        self._edges.modify(listener, select.EPOLLIN | select.EPOLLET)
                else:
                    self._selector.unregister(listener)
            self._listening = wanted
            self._load_share.accepts(wanted)
            self._rung = dict.fromkeys(self._listeners) if wanted else {}
        if stopping:
            self.end()
        if not wanted:
            return None if self._retry_at is None else self._retry_at - now
        if not self._rung:
            return None
        again = self._load_share.ask_again
        return 0.0 if again is None else max(0.0, again - now)

    def ring(self, listener: Any) -> None:
        """Take note that the selector has found `listener` readable."""
        self._rung[listener] = None

    def waits(self) -> bool:
        """Tell whether a connection waits, whosever turn it is."""
        self._rung = {listener: None for listener in self._rung if queue_length(listener)}
        return bool(self._rung) and self._listening and not self.stopping

    def accept_next(self) -> tuple[socket.socket, Any, Any] | None:
        """Accept a connection, if one waits and it is our turn; returns it, its address, and the data of its listener.

        Raises OSError when the process has no descriptor left.
        """
        while self._rung and self._listening and not self.stopping:
            listener = next(iter(self._rung))
            decision = self._load_share.may_accept(lambda: queue_length(listener))  # noqa: B023 - called at once
            if decision is Decision.LEAVE:
                return None
            accepted = self._accept(listener) if decision is Decision.ACCEPT else None
            del self._rung[listener]
            if accepted is not None:
                self._load_share.accepted()
                self._rung[listener] = None  # behind the others
                return *accepted, self._listeners[listener]
            self._load_share.none_waits()
        return None

    def _accept(self, listener: socket.socket) -> tuple[socket.socket, Any] | None:
        """Accept a connection; None if there is none. Raises OSError when the process has no descriptor left."""
        with contextlib.suppress(BlockingIOError, InterruptedError, ConnectionError):
            # Not accept(), which makes an object of the class that the application may have put in place of Python's.
            descriptor, address = listener._accept()  # type: ignore[attr-defined]  # of _socket.socket
            sock = socket.socket(listener.family, listener.type, listener.proto, fileno=descriptor)
            unblock(sock)
            return sock, address
        return None  # another process was quicker, or the client has left the queue

    def pause(self) -> None:
        """Accept nothing for a moment."""
        self._retry_at = time.monotonic() + RETRY_AFTER


def _edges_of(selector: selectors.BaseSelector) -> Any:
    """Return an object to make descriptors in the selector edge-triggered; None if that is not epoll."""
    if sys.platform == "linux" and isinstance(selector, selectors.EpollSelector):
        return select.epoll.fromfd(os.dup(selector.fileno()))
    return None


def max_connections(threads: int) -> int:
    """Return how many connections an engine may have open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(threads, min(MAX_CONNECTIONS, limit - RESERVE))
