"""A request's body as PEP 3333 has it, on the pieces that granian receives; what is left of it is known."""

import contextlib
import io
import threading
import time
from typing import Any, Final, Protocol

from flaskd.engines.shared import closing
from flaskd.http.bodies import BrokenBody, Pace, SlowBody

PIECE: Final = 65_536


class Stream(Protocol):
    """What a body is received from."""

    body: "Input | None"

    def receive(self, timeout: float) -> tuple[bytes, bool] | None:
        """Return the next piece, and whether there may be more; None where the body is broken. Raises TimeoutError."""


class Input(io.RawIOBase):
    """Reads a body of `length` bytes, or of chunks (None); `asks`: the client waits for 100 Continue, which a read sends it.

    A read raises BrokenBody where the client has left or sent something malformed, SlowBody after `timeout`, as `Pace` counts.
    """

    def __init__(self, stream: Stream, length: int | None, *, asks: bool, timeout: float) -> None:
        super().__init__()
        self._stream = stream
        self._left = length
        self._pace = Pace(timeout)
        self._piece = memoryview(b"")
        self._broken: type[BrokenBody | SlowBody] | None = None  # an error that is kept would keep its frames
        self.unread = length != 0
        """Whether there is more, as far as is known."""
        self.under_way = not asks
        """Whether the client sends without being asked to."""
        self.stalled = False
        """Whether it was waited for in vain."""

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        return not self.unread and self._broken is None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece and (self.unread or self._broken is not None):
            self._receive(self._pace.left)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def discard(self, timeout: float) -> int:
        """Drop the next piece, for which at most `timeout` seconds are waited; returns its size."""
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
        self.under_way = True
        if received is None:
            self._broken = BrokenBody
            self.unread = False
            raise self._broken
        piece, more = received
        self._pace.moved(len(piece), time.monotonic() - began)
        self._piece = memoryview(piece)
        if self._left is not None:
            self._left -= len(piece)
            more = self._left > 0
        self.unread = more


def input_of(environ: dict[str, Any], *, timeout: float) -> Input | None:
    """Put what reads the request's body into its environ; None where it has none."""
    stream: Stream | None = environ.get("wsgi.input")
    length = None
    if "HTTP_TRANSFER_ENCODING" in environ:
        # Not for a length that was announced, which tells a body's end from a client that has left.
        environ["wsgi.input_terminated"] = True
    elif not (length := int(environ.get("CONTENT_LENGTH") or 0)):
        environ["wsgi.input"] = io.BytesIO()
        return None
    assert stream is not None  # granian has brought one
    stream.body = body = Input(stream, length, asks="HTTP_EXPECT" in environ, timeout=timeout)
    environ["wsgi.input"] = io.BufferedReader(body)
    return body


class Lingering:
    """Discards what applications have left unread, on the threads of their requests, but never on more than `most`.

    hyper closes a connection at once whose request's body has been dropped unread: see `goodbye`.
    """

    def __init__(self, most: int) -> None:
        self._places = threading.Semaphore(most)

    def discard(self, body: Input | None) -> None:
        """Receive `body` to its end or a bound, if the client sends it."""
        if body is None or not body.unread or not body.under_way or not self._places.acquire(blocking=False):
            return
        try:
            deadline = time.monotonic() + closing.TIME
            left = closing.BYTES
            with contextlib.suppress(OSError):
                while body.unread and left > 0 and time.monotonic() < deadline:
                    left -= body.discard(closing.PAUSE)
        finally:
            self._places.release()
