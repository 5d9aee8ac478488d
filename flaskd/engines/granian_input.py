"""A request's body as PEP 3333 has it, on granian's `read(n)`, which waits for n bytes or the end; what is left is known.

granian's own object (granian 2.8) is not handed to applications: its `readline` and iteration lose the ends of lines and all
that follows the first, and `read(-1)` raises.
"""

import contextlib
import io
import threading
import time
from typing import Any, Final

from flaskd.engines import goodbye

PIECE: Final = 65_536


class Input(io.RawIOBase):
    """Reads a body of `length` bytes, or of chunks (None); `asks`: the client waits for 100 Continue, which a read sends it."""

    def __init__(self, stream: Any, length: int | None, *, asks: bool) -> None:
        super().__init__()
        self._stream = stream
        self._left = length
        self.unread = length != 0
        """Whether there is more, as far as is known."""
        self.under_way = not asks
        """Whether the client sends without being asked to."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer) if self._left is None else min(len(buffer), self._left)
        data = self._stream.read(wanted) if wanted else b""
        self.under_way = True
        count = len(data)
        if self._left is not None:
            self._left -= count
        # Less than was asked for: it has ended, or the client has left.
        self.unread = count == wanted and self._left != 0
        buffer[:count] = data
        return count


def input_of(scope: dict[str, Any]) -> Input | None:
    """Put what reads the request's body into its environ; None where it has none."""
    length = None
    if "HTTP_TRANSFER_ENCODING" in scope:
        # Not for a length that was announced, which tells a body's end from a client that has left.
        scope["wsgi.input_terminated"] = True
    elif not (length := int(scope.get("CONTENT_LENGTH") or 0)):
        scope["wsgi.input"] = io.BytesIO()
        return None
    body = Input(scope["wsgi.input"], length, asks="HTTP_EXPECT" in scope)
    scope["wsgi.input"] = io.BufferedReader(body)
    return body


class Lingering:
    """Discards what applications have left unread, on the threads of their requests, but never on more than `most`.

    hyper closes a connection at once whose request's body has been dropped unread: see `goodbye`. One read waits for its bytes
    as long as the connection is open.
    """

    def __init__(self, most: int) -> None:
        self._places = threading.Semaphore(most)

    def discard(self, body: Input) -> None:
        """Read `body` to its end or a bound."""
        if not self._places.acquire(blocking=False):
            return
        try:
            deadline = time.monotonic() + goodbye.TIME
            buffer = memoryview(bytearray(PIECE))
            left = goodbye.BYTES
            with contextlib.suppress(OSError):
                while body.unread and left > 0 and time.monotonic() < deadline:
                    left -= body.readinto(buffer)
        finally:
            self._places.release()
