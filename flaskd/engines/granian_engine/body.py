"""A request's body as `wsgi.input` (PEP 3333), made of the pieces that granian receives."""

import contextlib
import io
import threading
import time
from typing import Any, Final, Protocol

from flaskd.engines.shared import closing
from flaskd.http.bodies import BrokenBody, MinRateTimeout, SlowBody
from flaskd.http.cancelling import shielded

PIECE: Final = 65_536


class Stream(Protocol):
    """What a body is received from."""

    body: "Body | None"

    def receive(self, timeout: float) -> tuple[bytes, bool] | None:
        """Return the next piece and whether there may be more; None if the body is broken. Raises TimeoutError."""


class Body(io.RawIOBase):
    """Reads a body of `length` bytes, or in chunks (None); `asks`: the client waits for 100 Continue, which a read sends.

    A read raises BrokenBody if the client has left or sent something malformed, SlowBody if it takes longer than
    `MinRateTimeout` allows.
    """

    def __init__(self, stream: Stream, length: int | None, *, asks: bool, timeout: float) -> None:
        super().__init__()
        self._stream = stream
        self._left = length
        self._timeout = MinRateTimeout(timeout)
        self._piece = memoryview(b"")
        self._broken: type[BrokenBody | SlowBody] | None = None  # an error that is kept would keep its frames
        self.unread = length != 0
        """Whether there may be more."""
        self.sending = not asks
        """Whether the client sends without a 100 Continue."""
        self.stalled = False
        """Whether the client took too long."""

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        return not self.unread and self._broken is None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with shielded():
            return self._readinto(buffer)

    def _readinto(self, buffer: Any) -> int:
        while not self._piece and (self.unread or self._broken is not None):
            self._receive(self._timeout.remaining)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def discard(self, timeout: float) -> int:
        """Drop the next piece after waiting up to `timeout` seconds for it; returns its size."""
        self._receive(timeout)
        count, self._piece = len(self._piece), memoryview(b"")
        return count

    def _receive(self, timeout: float) -> None:
        if self._broken is not None:
            raise self._broken
        began = time.monotonic()
        try:
            received = self._stream.receive(timeout)
        except TimeoutError:
            self._broken = SlowBody
            self.unread, self.stalled = False, True
            raise self._broken from None
        self.sending = True
        if received is None:
            self._broken = BrokenBody
            self.unread = False
            raise self._broken
        piece, more = received
        self._timeout.transferred(len(piece), time.monotonic() - began)
        self._piece = memoryview(piece)
        if self._left is not None:
            self._left -= len(piece)
            more = self._left > 0
        self.unread = more


def body_of(environ: dict[str, Any], *, timeout: float) -> Body | None:
    """Put the reader of the request's body into its environ, and return it; None if there is no body."""
    stream: Stream | None = environ.get("wsgi.input")
    length = None
    if "HTTP_TRANSFER_ENCODING" in environ:
        # Not with a Content-Length, which distinguishes a body's end from a client that has left.
        environ["wsgi.input_terminated"] = True
    elif not (text := environ.get("CONTENT_LENGTH")) or not (length := int(text)):
        environ["wsgi.input"] = io.BytesIO()
        return None
    assert stream is not None  # granian has brought one
    stream.body = body = Body(stream, length, asks="HTTP_EXPECT" in environ, timeout=timeout)
    environ["wsgi.input"] = io.BufferedReader(body)
    return body


class Discarder:
    """Discards bodies that applications have not read, on the threads of their requests, but on at most `threads` at a time.

    hyper closes a connection at once if the body of a request was dropped unread: see `closing`.
    """

    def __init__(self, threads: int) -> None:
        self._free = threading.Semaphore(threads)

    def discard(self, body: Body | None) -> None:
        """Receive `body` to its end or a bound, if the client sends it."""
        if body is None or not body.unread or not body.sending or not self._free.acquire(blocking=False):
            return
        try:
            deadline = time.monotonic() + closing.LINGERING_TIME
            left = closing.LINGERING_BYTES
            with contextlib.suppress(OSError):
                while body.unread and left > 0 and time.monotonic() < deadline:
                    left -= body.discard(closing.LINGERING_TIMEOUT)
        finally:
            self._free.release()
