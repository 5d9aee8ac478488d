"""Collects the head of a request as its bytes come, and refuses as soon as they cannot become a valid one.

It has no timeout: that belongs to the code that receives the bytes.
"""

import re
from typing import Final

from flaskd.http.syntax import Head, Refused, check_line, may_begin, parse_head

# A bare LF, too, so that the head is refused and not waited for.
_END: Final = re.compile(rb"\n\r?\n")


class HeadReader:
    """Collects a head of at most `limit` bytes; `head` is None until it is complete."""

    __slots__ = ("_data", "_limit", "_skipped", "head")

    def __init__(self, limit: int) -> None:
        self.head: Head | None = None
        self._limit = limit
        self._data = b""  # so far
        self._skipped = 0  # bytes of empty lines before it (RFC 9112, section 2.2)

    def feed(self, piece: bytes) -> int:
        """Add bytes; returns how many of them belong to the head. Raises Refused as soon as there is a reason."""
        before = self._data
        data = before + piece if before else piece.lstrip(b"\r\n")
        if not before:
            self._skipped += len(piece) - len(data)
            if not may_begin(data):
                raise Refused(400, "This is not HTTP")
        end = _END.search(data, max(0, len(before) - 2))
        size = end.end() if end else len(data)
        if size + self._skipped > self._limit:
            if b"\n" in data[: self._limit]:
                raise Refused(431, f"The request's head is larger than {self._limit} bytes")
            raise Refused(414, f"The request line is longer than {self._limit} bytes")
        if end is None:
            if b"\n" not in before and b"\n" in data:
                check_line(data[: data.index(b"\n") + 1])  # an HTTP/0.9 client sends nothing more
            self._data = data
            return len(piece)
        self.head = parse_head(data[:size])
        return len(piece) - (len(data) - size)
