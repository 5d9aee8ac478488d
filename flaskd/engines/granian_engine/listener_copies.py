"""What granian accepts from: a duplicate of each listener, which can be made deaf, for good or for a moment.

**For good.** The duplicate is taken out of granian's epoll set, then a deaf socket takes its place (dup2): a Unix socket that
listens where nobody can connect. Nothing tells granian of connections any more, and an accept(2) finds none. dup2 alone would
do for an edge-triggered loop, as tokio's, but an epoll set knows the open file, not the number, and the file stays open with
our listener: granian would wake up for each connection that others accept, and, once it has let go of the number, for an event
that points to memory that tokio has freed. (A kqueue forgets by itself.)

**For a moment**, when the process is out of descriptors. granian 2.8 then tries accept(2) again and again, without a pause, and
over TLS before it looks at any handshake: those neither complete nor time out, so that no descriptor comes free any more. An
accept(2) that finds nothing ends that; but it takes a descriptor before it looks, so some are kept in reserve and let go then.
The duplicate stays in the epoll set; when it hears again, one connection of our own makes the edge for those that have come
meanwhile.
"""

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Sequence
from typing import Final

from flaskd.engines.granian_engine import epoll

PAUSE: Final = 0.1  # seconds; a descriptor may come free at any time
SPARE: Final = 4  # descriptors; others may be quicker to take one


class Ears:
    """Duplicates of `listeners` for granian, which closes them."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._listeners = listeners
        self._deaf_socket: socket.socket | None = _deaf_socket()
        self._lock = threading.Lock()  # protects what the duplicates refer to
        self._duplicates: list[int] = []
        self._spare: list[int] = []
        self._resting = False
        self._save(self._deaf_socket)

    def lend(self) -> int:
        """Duplicate the next listener."""
        self._duplicates.append(os.dup(self._listeners[len(self._duplicates)].fileno()))
        return self._duplicates[-1]

    def descriptors(self) -> list[int]:
        """Name the duplicates, as long as they are listeners."""
        return [] if self._deaf_socket is None else self._duplicates

    def stop_accepting(self) -> None:
        """Let nothing more be accepted."""
        with self._lock:
            deaf, self._deaf_socket = self._deaf_socket, None
            if deaf is None:
                return
            if self._resting:
                self._restore()
            self._let_go()
            with deaf:
                for duplicate in self._duplicates:
                    epoll.take_out(duplicate)
                    os.dup2(deaf.fileno(), duplicate, inheritable=False)

    def rest(self) -> None:
        """Let nothing be accepted for a moment; from any thread, and without a descriptor."""
        with self._lock:
            if self._deaf_socket is None or self._resting:
                return
            self._resting = True
            for duplicate in self._duplicates:
                os.dup2(self._deaf_socket.fileno(), duplicate, inheritable=False)
            self._let_go()
        threading.Thread(target=self._hear_again, name="flaskd-granian-rest", daemon=True).start()

    def _hear_again(self) -> None:
        pause = threading.Event()
        while not pause.wait(PAUSE):
            with self._lock:
                if self._deaf_socket is None:
                    return
                if self._save(self._deaf_socket):
                    self._restore()
                    break
        for listener in self._listeners:
            _knock(listener)

    def _save(self, deaf: socket.socket) -> bool:
        """Keep descriptors in reserve; returns False where there are none."""
        try:
            while len(self._spare) < SPARE:
                self._spare.append(os.dup(deaf.fileno()))
        except OSError:
            self._let_go()
            return False
        return True

    def _let_go(self) -> None:
        while self._spare:
            os.close(self._spare.pop())

    def _restore(self) -> None:
        for duplicate, listener in zip(self._duplicates, self._listeners, strict=False):
            os.dup2(listener.fileno(), duplicate, inheritable=False)
        self._resting = False


def _knock(listener: socket.socket) -> None:
    with (
        contextlib.suppress(OSError),
        socket.socket(listener.family) as sock,
    ):  # out of descriptors still: it rests again
        sock.setblocking(False)
        sock.connect(listener.getsockname())


def _deaf_socket() -> socket.socket:
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
            sock.bind(os.path.join(directory, "deaf"))
            sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock
