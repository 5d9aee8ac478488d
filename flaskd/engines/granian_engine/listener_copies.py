"""What granian accepts from: a duplicate of each listener, which can be disconnected, for good or for a moment.

**For good.** The duplicate is removed from granian's epoll set, then a dummy socket takes its place (dup2): a Unix socket
that listens where nobody can connect. granian gets no event for a connection any more, and accept(2) finds none. dup2 alone
would be enough for an edge-triggered loop such as tokio's, but an epoll set refers to the open file, not to the number, and
the file stays open with our listener: granian would wake up for each connection that others accept, and, once it has closed
the number, for an event that points to memory that tokio has freed. (A kqueue drops the number by itself.)

**For a moment**, when the process is out of descriptors. granian 2.8 then calls accept(2) again and again, without a pause, and
over TLS before it looks at any handshake: those neither complete nor time out, so no descriptor ever becomes free. An accept(2)
that finds nothing ends that. But it takes a descriptor before it looks, so some are kept in reserve and closed then. The
duplicate stays in the epoll set; after the pause, a connection of our own makes the edge for those that have come meanwhile.
From 2.8.9 on granian waits half a second before it calls accept(2) again, and looks at no handshake in that time either. So the
pause is longer than that: otherwise that call fails again, and the next ones too.

**For a moment**, too, so that clients who were sent away come to other workers (`step_aside`).
"""

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Sequence
from typing import Final

from flaskd.engines.granian_engine import epoll
from flaskd.engines.shared import even_load
from flaskd.listening.listeners import queue_length

PAUSE: Final = 0.7
"""Seconds. A descriptor may come free at any time, but granian must call accept(2) within the pause: see above."""

ASIDE: Final = even_load.PAUSE
"""Seconds for which connections are left to other workers."""

SPARE: Final = 4  # descriptors; others may be quicker to take one


class ListenerCopies:
    """Duplicates of `listeners` for granian, which closes them."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._listeners = listeners
        self._dummy: socket.socket | None = _dummy_socket()
        self._lock = threading.Lock()  # protects what the duplicates refer to
        self._duplicates: list[int] = []
        self._spare: list[int] = []
        self._paused = self._aside = False
        self._reserve(self._dummy)

    def duplicate(self) -> int:
        """Duplicate the next listener."""
        self._duplicates.append(os.dup(self._listeners[len(self._duplicates)].fileno()))
        return self._duplicates[-1]

    def descriptors(self) -> list[int]:
        """Return the duplicates, as long as they are listeners."""
        return [] if self._dummy is None else self._duplicates

    def stop_accepting(self) -> None:
        """Disconnect the duplicates for good."""
        with self._lock:
            dummy, self._dummy = self._dummy, None
            if dummy is None:
                return
            if self._paused or self._aside:
                self._paused = self._aside = False
                self._restore()
            self._free_reserve()
            with dummy:
                for duplicate in self._duplicates:
                    epoll.remove(duplicate)
                    os.dup2(dummy.fileno(), duplicate, inheritable=False)

    def pause(self) -> None:
        """Disconnect the duplicates for a moment; from any thread, and without a descriptor."""
        with self._lock:
            if self._dummy is None or self._paused:
                return
            self._paused = True
            self._disconnect(self._dummy)
            self._free_reserve()
        threading.Thread(target=self._resume, name="flaskd-granian-pause", daemon=True).start()

    def step_aside(self) -> None:
        """Leave connections to other workers for a moment; from any thread."""
        with self._lock:
            if self._dummy is None or self._aside:
                return
            self._aside = True
            self._disconnect(self._dummy)
        try:
            threading.Thread(
                target=self._step_back, args=[ASIDE], name="flaskd-granian-aside", daemon=True
            ).start()
        except RuntimeError:  # no thread left in the system
            self._step_back(0)

    def _step_back(self, after: float) -> None:
        threading.Event().wait(after)
        with self._lock:
            self._aside = False
            if self._dummy is None:
                return
            self._restore()
        for listener in self._listeners:
            if listener.fileno() >= 0 and queue_length(listener):
                _connect_to(listener)

    def _resume(self) -> None:
        pause = threading.Event()
        while not pause.wait(PAUSE):
            with self._lock:
                if self._dummy is None:
                    return
                if self._reserve(self._dummy):
                    self._paused = False
                    self._restore()
                    break
        for listener in self._listeners:
            _connect_to(listener)

    def _reserve(self, dummy: socket.socket) -> bool:
        """Keep descriptors in reserve; returns False where there are none."""
        try:
            while len(self._spare) < SPARE:
                self._spare.append(os.dup(dummy.fileno()))
        except OSError:
            self._free_reserve()
            return False
        return True

    def _free_reserve(self) -> None:
        while self._spare:
            os.close(self._spare.pop())

    def _disconnect(self, dummy: socket.socket) -> None:
        for duplicate in self._duplicates:
            os.dup2(dummy.fileno(), duplicate, inheritable=False)

    def _restore(self) -> None:
        if self._paused or self._aside:
            return
        for duplicate, listener in zip(self._duplicates, self._listeners, strict=False):
            os.dup2(listener.fileno(), duplicate, inheritable=False)


def _connect_to(listener: socket.socket) -> None:
    with (
        contextlib.suppress(OSError),
        socket.socket(listener.family) as sock,
    ):  # still out of descriptors: it pauses again
        sock.setblocking(False)
        sock.connect(listener.getsockname())


def _dummy_socket() -> socket.socket:
    """Listen where nobody will connect, without a file: a service may have no directory to write to.

    On Linux that is an abstract name which the kernel makes up (unix(7), autobind); elsewhere a path that is gone at once.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        if epoll.LINUX:
            sock.bind("")
            sock.listen()
            return sock
        with tempfile.TemporaryDirectory(prefix="flaskd-") as directory:
            sock.bind(os.path.join(directory, "dummy"))
            sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock
