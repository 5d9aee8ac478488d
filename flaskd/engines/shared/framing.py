"""Frames a response in HTTP/1.x (RFC 9112) and sends its bytes.

If only the end of the connection ends the body, and the response is broken off, the connection has to be reset. Nothing is
written to a connection that the application has taken over.
"""

import functools
import time
from collections.abc import Iterable
from email.utils import formatdate
from typing import Final

from flaskd.engines.shared.answering import Response
from flaskd.http.failures import ClientLeft
from flaskd.http.file_wrapper import Region, file_of

JOINED: Final = 65_536
"""A piece of up to so many bytes is joined with its framing, so that both leave in one packet."""


class Transport:
    """Sends the bytes of a response. An engine overrides what it can do."""

    takes_files = False
    """Whether `send_file` may work."""

    def taken(self) -> bool:
        """Tell whether the application has taken the connection over for another protocol."""
        return False

    def may_keep(self) -> bool:
        """Tell whether the connection may be kept after the response."""
        return False

    def send(self, data: bytes) -> object:
        """Send all of `data`, unless the connection is taken; raises ClientLeft."""
        raise NotImplementedError

    def send_file(self, region: Region, size: int) -> int:
        """Send `size` bytes of a file; returns how many were sent, 0 if the file has to be read. Raises ClientLeft."""
        raise NotImplementedError


class FramedResponse(Response):
    """A response that goes to a `Transport`.

    `close`: the connection has to be closed afterwards. `reset`: closing it would make a broken response look complete.
    """

    __slots__ = ("_chunked", "_modern", "_server", "_transport", "close", "reset")

    takes_files = True

    def __init__(self, transport: Transport, *, method: str, version: str, server: str) -> None:
        self.prepare(method)
        self._transport = transport
        self._modern = version == "HTTP/1.1"
        self._server = server
        self._chunked = False
        self.close = False
        self.reset = False

    def write_file(self, body: Iterable[bytes]) -> int:
        """Send a body that is a file, if the transport and its length allow that; returns how many bytes were sent."""
        start = self._start
        if not self._transport.takes_files or start is None or not start.length or self.began:
            return 0
        file = file_of(body)
        region = file.region() if file is not None else None
        if region is None or start.length > region.size or start.bodiless or self._method == "HEAD":
            return 0
        head = self._head(None)
        self.began = True
        self._send(head)
        sent = 0 if self.full else self._transport.send_file(region, start.length)
        if sent:
            self._left = start.length - sent
            self.full = True
        return sent

    def break_off(self) -> None:
        """Note that nothing more is sent, and how the connection ends."""
        super().break_off()
        if self.broken:
            self.close = True
            self.reset = self._has_body and not self._chunked and self._left is None

    def _head(self, size: int | None) -> bytes:
        """Decide how the body is framed (RFC 9112, section 6.3), and return the head; `size` is its length if known."""
        if self._transport.taken():
            self.full = True
            return b""
        start = self._begin()
        headers, length = start.headers, start.length
        if self._has_body:
            if length is None and size is not None:
                self._left = length = size
                headers.append(("Content-Length", str(size)))
            self._chunked = length is None and self._modern
        if self._chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        delimited = not self._has_body or self._chunked or length is not None
        self.close = start.close or not delimited or start.code < 200 or not self._transport.may_keep()
        if self.close:
            headers.append(("Connection", "close"))
        elif not self._modern:
            headers.append(("Connection", "keep-alive"))
        head = "\r\n".join([f"HTTP/1.1 {start.status}", *[f"{name}: {value}" for name, value in headers]])
        names = head.lower()  # among other things; no value has a line's end in it
        if "\r\ndate:" not in names:
            head += f"\r\nDate: {_date(int(time.time()))}"
        if "\r\nserver:" not in names:
            head += f"\r\nServer: {self._server}"
        return f"{head}\r\n\r\n".encode("latin-1")

    def _send_part(self, head: bytes, data: bytes, *, first: bool) -> None:
        end = b""
        if self._chunked:
            if data:
                head, end = b"%b%x\r\n" % (head, len(data)), b"\r\n"
            if self._complete:
                end += b"0\r\n\r\n"
        if len(data) <= JOINED:
            self._send(head + data + end)
        else:
            for each in (head, data, end):
                self._send(each)

    def _send_end(self) -> None:
        if self._chunked:
            self._send(b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        if self.inherited:
            raise ClientLeft("the client is the parent's")
        if data:
            self._transport.send(data)


@functools.lru_cache(maxsize=4)
def _date(second: int) -> str:
    """Format a time for HTTP (RFC 9110, section 5.6.7)."""
    return formatdate(second, usegmt=True)
