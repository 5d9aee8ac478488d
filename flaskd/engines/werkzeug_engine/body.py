"""The body of a request as `wsgi.input` (PEP 3333): it ends with the body, and an incomplete body is an error."""

import io
import time
from collections.abc import Callable
from typing import Any, Final

from flaskd.engines.werkzeug_engine.timed_socket import TimedSocket
from flaskd.http.bodies import BrokenBody, MinRateTimeout, SlowBody
from flaskd.http.cancelling import shielded
from flaskd.http.syntax import Chunks, Head, Refused

PIECE: Final = 65_536


class Body(io.RawIOBase):
    """Reads a request's body from its connection; `received` is the part that came with the head.

    A read raises BrokenBody if the body is malformed or the client leaves, and SlowBody if it takes longer than `timeout`
    allows (see `MinRateTimeout`); so does each read after that. `on_first_wait` is called before the first wait for the
    client: one that expects 100 Continue sends nothing before.
    """

    def __init__(
        self,
        connection: TimedSocket,
        head: Head,
        received: bytes,
        *,
        timeout: float,
        on_first_wait: Callable[[], None],
    ) -> None:
        super().__init__()
        self._connection = connection
        self._received = received
        self._timeout = MinRateTimeout(timeout)
        self._chunks = Chunks() if head.chunked else None
        self._decoded = memoryview(b"")  # of a chunked body, not read yet
        self._left = head.length or 0  # of another body: bytes not read yet
        self._on_first_wait: Callable[[], None] | None = on_first_wait
        self._failure: BrokenBody | SlowBody | None = None

    @property
    def unread(self) -> bool:
        """Whether the client may still send some of the body, and has time left for that."""
        if isinstance(self._failure, SlowBody):
            return False
        if self._chunks is not None:
            return not self._chunks.done
        return self._left > len(self._received)

    def readable(self) -> bool:
        """Return True, for `io`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; 0 at the end of the body, and only there."""
        with shielded():
            data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, wanted: int) -> bytes | memoryview:
        if self._failure is not None:
            raise self._failure
        try:
            return self._some(wanted) if self._chunks is None else self._decode(self._chunks, wanted)
        except (BrokenBody, SlowBody) as error:
            self._failure = error
            raise

    def _some(self, wanted: int) -> bytes:
        wanted = min(wanted, self._left)
        if not wanted:
            return b""
        data = self._receive(wanted)
        self._left -= len(data)
        return data

    def _decode(self, chunks: Chunks, wanted: int) -> memoryview:
        while not self._decoded and not chunks.done:
            try:
                decoded, _ = chunks.feed(self._receive(PIECE))
            except Refused as error:
                raise BrokenBody(error.reason) from error
            self._decoded = memoryview(decoded)
        data, self._decoded = self._decoded[:wanted], self._decoded[wanted:]
        return data

    def _receive(self, wanted: int) -> bytes:
        """Return at least one byte that has come, or comes in time."""
        if self._received:
            self._on_first_wait = None
            data, self._received = self._received[:wanted], self._received[wanted:]
            return data
        before = time.monotonic()
        try:
            if self._on_first_wait is not None:
                self._on_first_wait()
                self._on_first_wait = None
            data = self._connection.receive(wanted, self._timeout.remaining)
        except TimeoutError as error:
            raise SlowBody from error
        except OSError as error:
            raise BrokenBody from error
        if not data:
            raise BrokenBody
        self._timeout.transferred(len(data), time.monotonic() - before)
        return data
