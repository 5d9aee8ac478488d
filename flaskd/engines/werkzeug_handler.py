"""Werkzeug's handler of one connection, for the engine: it tells when its request is complete, and serves no half one."""

import http.client
import io
import logging
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from werkzeug.serving import WSGIRequestHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from flaskd.engines.werkzeug_engine import Front

BLANK: Final = (b"\r\n", b"\n")

log = logging.getLogger("flaskd.http")


class Connection:
    """An accepted connection; `busy` from its complete request head to its response, `unread` where more may come then."""

    __slots__ = ("address", "busy", "front", "since", "socket", "unread")

    def __init__(self, sock: socket.socket, address: Any, front: "Front") -> None:
        self.socket = sock
        self.address = address
        self.front = front
        self.since = time.monotonic()
        self.busy = False
        self.unread = False


class Handler(WSGIRequestHandler):
    """Werkzeug's handler that tells when its request head is complete, and serves no half one."""

    server: "Front"

    def __init__(self, connection: Connection, address: Any, front: "Front") -> None:
        self.flaskd = connection
        super().__init__(connection.socket, address, front)

    def setup(self) -> None:
        super().setup()
        self._raw = _Counted(self.connection)
        self.rfile = io.BufferedReader(self._raw)
        self.connection.settimeout(self.server.engine.options.head_timeout)

    def parse_request(self) -> bool:
        # http.client reads a head up to a blank line *or the end of the stream*: a client that went away, or was reaped, in
        # the middle of its head would have half a request carried out.
        if not self.raw_requestline.endswith(b"\n"):
            self.close_connection = True
            return False
        body = self.rfile
        head = _Head(body, len(self.raw_requestline), self.server.engine.options.max_head)
        self.rfile = head  # type: ignore[assignment]  # only readline is asked of it
        try:
            parsed = super().parse_request()
        finally:
            self.rfile = body
        if not parsed:
            return False
        if head.last not in BLANK:
            self.close_connection = True
            return False
        self._body_begins = head.size
        self.flaskd.busy = True
        self.connection.settimeout(None)
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.flaskd.unread = True  # it was refused before it was read
        super().send_error(code, message, explain)

    def handle_expect_100(self) -> bool:
        return True  # Werkzeug answers it, too, and once is enough

    def make_environ(self) -> "WSGIEnvironment":
        environ = super().make_environ()
        self.rfile = _Leftover(self.rfile)  # type: ignore[assignment]  # the application keeps the stream itself
        return environ

    def run_wsgi(self) -> None:
        try:
            super().run_wsgi()
        finally:
            self.flaskd.unread = self._may_send()

    def _may_send(self) -> bool:
        """Tell whether some of the request's body has not been received; of a chunked one it is not known."""
        if self.headers.get("Transfer-Encoding"):
            return True
        length = self.headers.get("Content-Length", "0").strip()
        return not length.isdecimal() or self._raw.received < self._body_begins + int(length)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass  # the ledger writes the access log, for every engine alike

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        log.debug(format, *args)


class _Counted(socket.SocketIO):
    """Reads a socket and counts what it has received."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, "r")
        self.received = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.received += count or 0
        return count


class _Head:
    """Passes `readline` through, remembers the last line, and ends a head that is larger than `limit` bytes."""

    def __init__(self, stream: Any, size: int, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.size = size
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._stream.readline(limit)
        self.size += len(self.last)
        if self.size > self._limit:
            raise http.client.HTTPException(f"The request head is larger than {self._limit} bytes")
        return self.last


class _Leftover:
    """Takes from Werkzeug what it would read after the response: the lingering close does so, when the response is closed.

    It asks for 10 MB at once, which blocks until they have come or the client closes; and when the client has reset, what is
    raised keeps it from closing the application's response (werkzeug 3.1, serving.py, `execute`).
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        return b""

    def close(self) -> None:
        self._stream.close()
