"""A connected socket, plain or TLS, with a timeout for every call.

The socket is non-blocking: each call tries first, which is one system call if the kernel is ready, and only then waits in
poll(2). Python's own timeouts poll before each try, and setting one costs a system call.

An application can get the socket (`environ["werkzeug.socket"]`). It expects a blocking one, and once it has written to it, the
connection does not speak our HTTP any more: see `Lent`.
"""

import fcntl
import os
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

WRITES: Final = frozenset(
    {"send", "sendall", "sendfile", "sendmsg", "sendmsg_afalg", "sendto", "write", "makefile", "detach"}
)
"""Methods that an application calls to speak another protocol on the socket."""


class TimedSocket:
    """Receives and sends with a timeout. Raises TimeoutError, and other OSErrors as sockets do.

    `taken`: the application has written to the socket itself.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lent = False
        self.taken = False
        sock.setblocking(False)

    @property
    def encrypted(self) -> bool:
        """Whether the socket speaks TLS."""
        return isinstance(self._socket, ssl.SSLSocket)

    def handshake(self, timeout: float) -> None:
        """Do the TLS handshake, if the socket speaks TLS."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._within(timeout, select.POLLIN, self._socket.do_handshake)

    def receive(self, size: int, timeout: float) -> bytes:
        """Receive up to `size` bytes; none at the end of the stream."""
        return self._within(timeout, select.POLLIN, self._socket.recv, size)

    def send(self, data: bytes | memoryview, timeout: float) -> int:
        """Send some of `data`; returns how many bytes."""
        return self._within(timeout, select.POLLOUT, self._socket.send, data)

    def send_file(self, descriptor: int, offset: int, count: int, timeout: float) -> int:
        """Send some of a file with sendfile(2); returns how many bytes, 0 at the end of the file."""
        return self._within(
            timeout, select.POLLOUT, os.sendfile, self._socket.fileno(), descriptor, offset, count
        )

    @property
    def unsent(self) -> int:
        """Bytes that were sent and are still in the kernel's buffer; 0 if that cannot be known."""
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0])
        except (OSError, ValueError):  # not Linux, or closed
            return 0

    def lend(self) -> "Lent":
        """Return the socket for use by the application."""
        return Lent(self)

    def _within(self, timeout: float, events: int, attempt: Callable[..., T], *args: Any) -> T:
        if self._lent:
            self._socket.setblocking(False)
            self._lent = False
        deadline = time.monotonic() + timeout
        while True:
            try:
                return attempt(*args)
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            except BlockingIOError:
                pass
            self._wait(events, deadline - time.monotonic())

    def _wait(self, events: int, seconds: float) -> None:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise ConnectionAbortedError("the connection was closed meanwhile")
        poller = select.poll()
        poller.register(descriptor, events)
        if seconds <= 0 or not poller.poll(seconds * 1000):
            raise TimeoutError("the client took too long")


class Lent:
    """A TimedSocket's socket for use by the application: a blocking socket that notes when it is written to.

    Not a subclass of socket.socket, because the object of a TLS connection cannot be made a second time.
    """

    def __init__(self, timed: TimedSocket) -> None:
        self._timed = timed

    def __getattr__(self, name: str) -> Any:
        timed = self._timed
        if name in WRITES:
            timed.taken = True
        if not timed._lent:
            timed._lent = True
            timed._socket.setblocking(True)
        return getattr(timed._socket, name)
