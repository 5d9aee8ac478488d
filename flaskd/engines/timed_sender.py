"""One response on a connection that is closed after it: PEP 3333's `start_response` and `write`, and HTTP/1.1's framing.

The head goes out with the first byte of the body, so that an application which fails before is answered with 500. What comes
later can only be broken off: `broken_off` says how the connection must end then.
"""

import contextlib
import errno
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from flaskd.engines.bodies import Pace
from flaskd.engines.file_wrapper import Region
from flaskd.engines.responses import Start, check_start
from flaskd.engines.timed_socket import TimedSocket

JOINED: Final = 65_536
"""Bytes up to which a head, a chunk's size and its data are copied together, so that they leave in one packet."""

NO_SENDFILE: Final = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""How sendfile(2) says that it cannot read from this file system."""

log = logging.getLogger("flaskd.http")


class ClientGone(ConnectionError):
    """The client has closed the connection, or has not taken the response in its time."""


class ResponseWriter:
    """Writes a response to `connection`. `modern`: the client speaks HTTP/1.1. `server` is the Server header.

    An application that has taken the connection over (see `TimedSocket`) has nothing written into its bytes.
    """

    def __init__(
        self, connection: TimedSocket, *, head_only: bool, modern: bool, write_timeout: float, server: str
    ) -> None:
        self._connection = connection
        self._head_only = head_only
        self._modern = modern
        self._server = server
        self._pace = Pace(write_timeout)
        self._start: Start | None = None
        self._left: int | None = None  # bytes that may still come, where Content-Length says so
        self._chunked = False
        self._until_close = False
        self._gone = False
        self.begun = False
        """Whether some of the response was sent."""
        self.full = False
        """Whether nothing that the application adds to its body will be sent."""
        self.done = False
        """Whether the whole response was sent."""

    @property
    def broken_off(self) -> bool:
        """Whether the connection has to be reset, because its client would take an orderly end for that of the response.

        Also where the client does not read: the kernel would keep the bytes for it.
        """
        return self._gone or (self._until_close and not self.done)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], None]:
        """Take the head of the response; raises BadResponse for one that cannot be sent."""
        if exc_info is not None:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it refers to this frame
        elif self._start is not None:
            raise AssertionError("start_response was called twice")
        self._start = None
        self._start = check_start(status, headers)
        return self.write

    def write(self, data: bytes) -> None:
        """Send a piece of the body; raises ClientGone."""
        if not isinstance(data, bytes):
            raise TypeError(f"a response's body is made of bytes, not of {type(data).__name__}")
        if self._start is None:
            raise AssertionError("the body begins before start_response was called")
        if not data:
            return
        head = b"" if self.begun else self._head(empty=False)
        if self.full:
            self._send(head)
            return
        if self._left is not None:
            if len(data) > self._left:
                log.error("a response has more bytes than its Content-Length says; they are not sent")
                self.full = True
                data = data[: self._left]
            self._left -= len(data)
        if self._chunked:
            self._send(b"%b%x\r\n" % (head, len(data)), data, b"\r\n")
        else:
            self._send(head, data)

    def write_file(self, region: Region) -> int:
        """Send the body from a file with sendfile(2); returns how many bytes, 0 where that cannot be done."""
        start = self._start
        if start is None or self.begun or self._connection.encrypted or self._connection.taken:
            return 0
        if start.bodiless or self._head_only or not start.length or start.length > region.size:
            return 0
        self._send(self._head(empty=False))
        sent = 0
        while sent < start.length:
            try:
                count = self._timed(
                    self._connection.send_file, region.descriptor, region.offset + sent, start.length - sent
                )
            except ClientGone as error:
                if sent or getattr(error.__cause__, "errno", None) not in NO_SENDFILE:
                    raise
                self._gone = False
                return 0
            if not count:
                break  # the file has become shorter: `finish` finds out
            sent += count
        self._left = start.length - sent
        self.full = True
        return sent

    def finish(self) -> None:
        """Send what is missing at the end of the body; raises ShortResponse where the application did not send all of it."""
        if self._start is None and not self._connection.taken:
            raise AssertionError("the application did not call start_response")
        if not self.begun:
            self._send(self._head(empty=True))
        if self._chunked:
            self._send(b"0\r\n\r\n")
        if self._left and not (self._start is None or self._start.bodiless or self._head_only):
            raise ShortResponse(f"a response is {self._left} bytes shorter than its Content-Length says")
        self.done = True

    def say_continue(self) -> None:
        """Ask the client for the body it has announced (RFC 9110, section 15.2.1)."""
        if not self.begun:
            self._send_all(b"HTTP/1.1 100 Continue\r\n\r\n")

    def fail(self, code: int, text: str) -> None:
        """Send a response of our own in place of the application's, none of which has been sent."""
        status = HTTPStatus(code)
        body = f"{text}\n".encode("latin-1", "replace")
        self._start = None
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        with contextlib.suppress(ClientGone):
            self.start_response(f"{code} {status.phrase}", headers)
            self.write(body)
            self.finish()

    def _head(self, *, empty: bool) -> bytes:
        """Spell out the head, and with it decide how the end of the body is told (RFC 9112, section 6.3)."""
        start = self._start
        if start is None:
            return b""
        lines = [f"HTTP/1.1 {start.status}"]
        lines += [f"{name}: {value}" for name, value in start.headers]
        names = {name.lower() for name, _ in start.headers}
        if "server" not in names:
            lines.append(f"Server: {self._server}")
        if "date" not in names:
            lines.append(f"Date: {formatdate(usegmt=True)}")
        self._left = start.length
        if start.bodiless or self._head_only:
            self.full = True
        elif start.length is None:
            if empty:
                lines.append("Content-Length: 0")
            elif self._modern:
                self._chunked = True
                lines.append("Transfer-Encoding: chunked")
            else:
                self._until_close = True
        lines.append("Connection: close\r\n\r\n")
        return "\r\n".join(lines).encode("latin-1")

    def _send(self, *pieces: bytes) -> None:
        if self._connection.taken:
            self.begun = self.full = True
            return
        self.begun = True
        if sum(map(len, pieces)) <= JOINED:
            pieces = (b"".join(pieces),)
        for piece in pieces:
            self._send_all(piece)

    def _send_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._timed(self._connection.send, view) :]

    def _timed(self, send: Callable[..., int], *args: Any) -> int:
        """Call `send` with the time that the client has left."""
        if self._gone:
            raise ClientGone("the client is gone")
        try:
            try:
                return send(*args, 0.0)
            except TimeoutError:
                return self._patiently(send, *args)
        except OSError as error:  # also TimeoutError
            self._gone = True
            raise ClientGone(str(error)) from error

    def _patiently(self, send: Callable[..., int], *args: Any) -> int:
        """Wait for a client that is slower than we are, by what it takes and not by what the kernel has room for.

        The kernel tells of room only when a third of its buffer is free (sk_stream_is_writeable), which may be a megabyte.
        """
        while self._pace.left > 0:
            before, unsent = time.monotonic(), self._connection.unsent
            count = None
            with contextlib.suppress(TimeoutError):
                count = send(*args, self._pace.left)
            taken = unsent + (count or 0) - self._connection.unsent
            self._pace.moved(max(0, taken), time.monotonic() - before)
            if count is not None:
                return count
        raise TimeoutError("the client does not take the response")


class ShortResponse(Exception):
    """An application's body was shorter than the Content-Length that it gave."""
