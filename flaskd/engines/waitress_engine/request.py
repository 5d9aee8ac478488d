"""A request of the waitress engine: received by the loop in pieces of any size, and complete before it takes a thread.

It takes the place of waitress's parser: the channel feeds it, and reads `completed`, `empty`, `error`, `expect_continue` and
`headers_finished`. A refused request is complete, too: a thread answers it.
"""

import threading
import time
from io import BytesIO
from typing import Any, Final

from waitress.buffers import OverflowableBuffer

from flaskd.engines.protocol import Options
from flaskd.http.bodies import MinRateTimeout
from flaskd.http.request_head import HeadReader
from flaskd.http.syntax import Chunks, Head, Refused

IN_MEMORY: Final = 512 * 1024
"""Bytes of a body that are kept in memory; a larger one is stored in a temporary file."""


class Spool:
    """The space left for bodies. For any thread."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()  # protects _left
        self._left = size

    def take(self, size: int) -> bool:
        """Take `size` bytes; returns False if there are not so many."""
        with self._lock:
            enough = size <= self._left
            self._left -= size if enough else 0
            return enough

    def give(self, size: int) -> None:
        """Give them back."""
        with self._lock:
            self._left += size


class Request:
    """One request. Public attributes without a comment are those that waitress reads."""

    version = "1.1"
    path = ""
    timeout: MinRateTimeout
    """Of the body, if there is one."""

    def __init__(self, options: Options, spool: Spool) -> None:
        self.completed = False
        self.empty = False
        self.error: Refused | None = None
        self.expect_continue = False
        self.headers_finished = False
        self.head: Head | None = None
        self.since = 0.0  # when it began to wait for the client, monotonic
        self._options = options
        self._spool = spool
        self._reader = HeadReader(options.max_head)
        self._body: Any = None
        self._size = 0
        self._chunks: Chunks | None = None

    def received(self, data: bytes) -> int:
        """Add bytes; returns how many of them belong to this request."""
        try:
            return self._received_body(data) if self.head else self._received_head(data)
        except Refused as error:
            self.refuse(error)
            return len(data)

    def refuse(self, error: Refused) -> None:
        """Have the request answered with `error`; it never reaches the application."""
        self.error = error
        self.completed = self.headers_finished = True
        self.expect_continue = False

    def stream(self) -> Any:
        """Return the body as `wsgi.input`."""
        return BytesIO() if self._body is None else self._body.getfile()

    @property
    def size(self) -> int:
        """Bytes of body."""
        return self._size

    def close(self) -> None:
        """Delete the body."""
        body, self._body = self._body, None
        if body is not None:
            body.close()
            self._spool.give(self._size)

    def _received_head(self, data: bytes) -> int:
        count = self._reader.feed(data)
        if self._reader.head is not None:
            self._start_body(self._reader.head)
        return count

    def _start_body(self, head: Head) -> None:
        self.head = head
        self.headers_finished = True
        self.since = time.monotonic()
        if self._options.max_body and (head.length or 0) > self._options.max_body:
            raise Refused(413, f"The request's body is larger than {self._options.max_body} bytes")
        self.expect_continue = head.continues
        if head.chunked or head.length:
            self.timeout = MinRateTimeout(self._options.body_timeout)
            self._body = OverflowableBuffer(IN_MEMORY)
            self._chunks = Chunks() if head.chunked else None
        else:
            self.completed = True

    def _received_body(self, data: bytes) -> int:
        if self._chunks is not None:
            body, count = self._chunks.feed(data)
            self.completed = self._chunks.done
        else:
            length = self.head.length or 0 if self.head else 0
            body = data[: length - self._size]
            count = len(body)
            self.completed = self._size + count == length
        if self._options.max_body and self._size + len(body) > self._options.max_body:
            raise Refused(413, f"The request's body is larger than {self._options.max_body} bytes")
        if not self._spool.take(len(body)):
            raise Refused(503, "There is no space for the request's body now")
        self._size += len(body)
        try:
            self._body.append(body)
        except OSError as error:  # the disk is full
            raise Refused(503, "There is no space for the request's body now") from error
        return count
