"""Reading one HTTP/1.x response as its bytes arrive, without I/O (RFC 9112, sections 4 to 7).

Written for measuring: what matters is to know exactly whether a response is complete. A body ends by its
Content-Length, by its last chunk, or by the end of the connection; in the last case only the expected body
can tell a whole one from a cut one.
"""

import enum


class BadResponseError(Exception):
    """The bytes are no HTTP/1.x response."""


class _Part(enum.Enum):
    HEAD = enum.auto()
    COUNTED = enum.auto()
    CHUNK_SIZE = enum.auto()
    CHUNK = enum.auto()
    TRAILERS = enum.auto()
    UNTIL_EOF = enum.auto()
    DONE = enum.auto()


class Response:
    """One response in the making: `feed` it what arrives, tell it of `eof`, ask whether it is `complete`."""

    def __init__(self) -> None:
        self.status = 0
        self.version = ""
        self.headers: dict[str, str] = {}
        self.received = 0
        self._body = bytearray()
        self._pending = bytearray()
        self._part = _Part.HEAD
        self._left = 0

    @property
    def complete(self) -> bool:
        """The last byte of the response has arrived."""
        return self._part is _Part.DONE

    @property
    def body(self) -> bytes:
        """The body so far, transfer coding removed."""
        return bytes(self._body)

    @property
    def surplus(self) -> bool:
        """Bytes arrived after the end: no client of ours asked for them."""
        return self.complete and bool(self._pending)

    @property
    def reusable(self) -> bool:
        """The server lets this connection be used for another request (RFC 9112, section 9.3)."""
        options = self.headers.get("connection", "").lower()
        return self.complete and self.version == "HTTP/1.1" and "close" not in options and not self.surplus

    def feed(self, data: bytes) -> None:
        """Take the next bytes; raise BadResponseError if they cannot be HTTP."""
        self.received += len(data)
        self._pending += data
        while self._step():
            pass

    def eof(self) -> None:
        """Note that the connection has ended, which completes a body that has no other end."""
        if self._part is _Part.UNTIL_EOF:
            self._part = _Part.DONE

    def _step(self) -> bool:
        """Move on by one part if enough has arrived for it."""
        if self._part is _Part.HEAD:
            return self._head()
        if self._part in {_Part.COUNTED, _Part.CHUNK}:
            return self._counted()
        if self._part is _Part.CHUNK_SIZE:
            line = self._line()
            if line is None:
                return False
            self._left = _number(line.split(b";")[0], base=16) + len(b"\r\n")
            self._part = _Part.CHUNK if self._left > len(b"\r\n") else _Part.TRAILERS
            return True
        if self._part is _Part.TRAILERS:
            line = self._line()
            if line == b"":
                self._part = _Part.DONE
            return line is not None and not self.complete
        if self._part is _Part.UNTIL_EOF:
            self._body += self._pending
            self._pending.clear()
        return False

    def _head(self) -> bool:
        end = self._pending.find(b"\r\n\r\n")
        if end < 0:
            if not b"HTTP/1.".startswith(self._pending[:7]):
                raise BadResponseError(f"not HTTP: {bytes(self._pending[:40])!r}")
            return False
        first, *lines = self._pending[:end].decode("latin-1").split("\r\n")
        del self._pending[: end + 4]
        self.version, _, rest = first.partition(" ")
        self.status = _number(rest[:3].encode(), base=10)
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        if 100 <= self.status < 200:
            return True  # interim: the real head follows
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._part = _Part.CHUNK_SIZE
        elif "content-length" in self.headers:
            self._left = _number(self.headers["content-length"].encode(), base=10)
            self._part = _Part.COUNTED if self._left else _Part.DONE
        else:
            self._part = _Part.DONE if self.status in {204, 304} else _Part.UNTIL_EOF
        return not self.complete

    def _counted(self) -> bool:
        taken = self._pending[: self._left]
        del self._pending[: self._left]
        self._left -= len(taken)
        self._body += taken
        if self._left:
            return False
        if self._part is _Part.CHUNK:
            if not self._body.endswith(b"\r\n"):
                raise BadResponseError("a chunk does not end where it said")
            del self._body[-2:]
            self._part = _Part.CHUNK_SIZE
            return True
        self._part = _Part.DONE
        return False

    def _line(self) -> bytes | None:
        line, found, rest = self._pending.partition(b"\r\n")
        if not found:
            return None
        self._pending = rest
        return bytes(line)


def _number(text: bytes, *, base: int) -> int:
    try:
        return int(text.strip(), base)
    except ValueError:
        raise BadResponseError(f"not a number: {text[:40]!r}") from None
