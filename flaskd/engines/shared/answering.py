"""One request answered by a WSGI application: PEP 3333 on one side, the frames of RFC 9112 on the other.

`answer` calls the application and hands what it says to a `Response`, which frames it and gives the bytes to a `Transport`: the
engine's way to the client. Some laws hold whatever the application does:

- The head is sent with the first bytes of the body. Before that, any failure is answered in the application's place.
- After it, a response that cannot be completed never looks complete: no last chunk is sent, and where only the end of the
  connection ends the body, the connection is reset.
- What has no place in the response (a body after HEAD, bytes beyond Content-Length) is neither sent nor waited for.
- A connection that the application has taken over has nothing written into its bytes.
- A child that the application has forked sends nothing: the client is its parent's.
"""

import functools
import http.client
import logging
import time
from collections.abc import Callable, Iterable, Sized
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

from flaskd.http import request_id
from flaskd.http.failures import ClientLeft, explain, named
from flaskd.http.file_wrapper import Region, file_of, tell_sent
from flaskd.http.responses import Start, check_start
from flaskd.process import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

JOINED: Final = 65_536
"""Bytes of a piece up to which it is copied together with what frames it, so that they leave in one packet."""

log = logging.getLogger("flaskd.http")


class Transport:
    """Where a response goes. What an engine cannot do it leaves as it is here."""

    takes_files = False
    """Whether `send_file` is worth a try."""

    def taken(self) -> bool:
        """Tell whether the application has taken the connection over, and speaks another protocol on it."""
        return False

    def may_keep(self) -> bool:
        """Tell whether the connection may be kept after the response."""
        return False

    def send(self, data: bytes) -> object:
        """Send all of `data`, unless the connection is taken; raises ClientLeft."""
        raise NotImplementedError

    def send_file(self, region: Region, size: int) -> int:
        """Send `size` bytes of a file; returns how many there were. 0: it has to be read. Raises ClientLeft."""
        raise NotImplementedError


class Response:
    """Frames one response.

    `began` once something was sent; `full` when nothing that the application adds will be. `close`: the connection has to be
    closed afterwards. `broken`: the response was not completed; `reset` then says whether closing the connection would look
    like its end.
    """

    __slots__ = (
        "_chunked",
        "_complete",
        "_depth",
        "_has_body",
        "_left",
        "_method",
        "_modern",
        "_server",
        "_start",
        "_transport",
        "began",
        "broken",
        "close",
        "full",
        "reset",
    )

    def __init__(self, transport: Transport, *, method: str, version: str, server: str) -> None:
        self._transport = transport
        self._method = method
        self._modern = version == "HTTP/1.1"
        self._server = server
        self._depth = forks.depth
        self._start: Start | None = None
        self._has_body = False
        self._chunked = False
        self._complete = False  # the last bytes have been sent
        self._left: int | None = None  # bytes that Content-Length still allows
        self.began = False
        self.full = False
        self.close = False
        self.broken = False
        self.reset = False

    @property
    def inherited(self) -> bool:
        """Whether this is a child that the application has forked."""
        return forks.depth != self._depth

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        """Be the application's `start_response`; raises BadResponse for what cannot be sent."""
        if exc_info is not None:
            try:
                if self.began:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it refers to this frame
        elif self._start is not None:
            raise AssertionError("start_response was called twice")
        self._start = None
        self._start = check_start(status, headers)
        return self.write

    def write(self, data: bytes, *, whole: bool = False) -> None:
        """Send a part of the body, the head before it. `whole`: there is nothing after it."""
        if not isinstance(data, bytes):
            raise TypeError(f"the body of a response is bytes, not {type(data).__name__}")
        if not data and not whole:
            return
        before = b"" if self.began else self._head(len(data) if whole else None)
        after = b""
        if self.full:
            data = b""
        elif self._left is not None:
            if len(data) > self._left:
                log.error("a response has more bytes than its Content-Length says; they are not sent")
                self.full = True
                data = data[: self._left]
            self._left -= len(data)
        elif self._chunked:
            if data:
                before, after = b"%b%x\r\n" % (before, len(data)), b"\r\n"
            if whole:
                after += b"0\r\n\r\n"
        self.began, self._complete = True, whole and not self._left
        if len(data) <= JOINED:
            self._send(before + data + after)
        else:
            for each in (before, data, after):
                self._send(each)

    def write_file(self, body: Iterable[bytes]) -> int:
        """Send a body that is a file, where the transport and its length allow; returns how many bytes of it."""
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

    def finish(self) -> None:
        """Complete the response."""
        if not self.began:
            self.write(b"", whole=True)
        elif self._chunked and not self._complete:
            self._send(b"0\r\n\r\n")
        if self._left:
            log.error("a response is %d bytes shorter than its Content-Length says", self._left)
            self.break_off()

    def break_off(self) -> None:
        """Note that nothing more is sent: it stays incomplete, unless it is whole already."""
        if self._complete or (self.began and (not self._has_body or self._left == 0)):
            return
        self.broken = self.close = True
        self.reset = self._has_body and not self._chunked and self._left is None

    def refuse(self, status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with an error in the application's place, and close the connection; raises ClientLeft."""
        phrase = http.client.responses.get(status, "")
        headers = [("Content-Type", "text/plain"), ("Connection", "close"), *headers]
        self._start = check_start(f"{status} {phrase}", headers)
        self.write(f"{text}\n".encode("utf-8", "replace"), whole=True)

    def _send(self, data: bytes) -> None:
        if forks.depth != self._depth:
            raise ClientLeft("the client is the parent's")
        if data:
            self._transport.send(data)

    def _head(self, size: int | None) -> bytes:
        """Decide how the body is framed (RFC 9112, section 6.3); `size` is what is known of its length."""
        if self._transport.taken():
            self.full = True
            return b""
        start = self._start
        if start is None:
            raise AssertionError("the application did not call start_response")
        headers, length = start.headers, start.length
        self._has_body = not start.bodiless and self._method != "HEAD"
        self.full = not self._has_body
        if self._has_body:
            if length is None and size is not None:
                length = size
                headers.append(("Content-Length", str(size)))
            self._chunked = length is None and self._modern
            self._left = length
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


def answer(app: "WSGIApplication", environ: "WSGIEnvironment", response: Response) -> None:
    """Call `app` and send what it answers; raises nothing, whatever it does."""
    body: Iterable[bytes] = ()
    try:
        body = app(environ, response.start)
        from_file = response.write_file(body)
        if not from_file:
            single = isinstance(body, Sized) and len(body) == 1
            for piece in body:
                if piece:  # the head is sent with the first bytes, not before (PEP 3333)
                    response.write(piece, whole=single)
                if response.full:
                    break
        response.finish()
        if response.full and not response.broken:
            tell_sent(body, from_file)
    except BaseException as error:  # noqa: BLE001 - the application's edge: it may raise SystemExit, and the thread goes on
        _failed(environ, response, error)
    finally:
        try:
            getattr(body, "close", _nothing)()
        except BaseException:
            log.exception("the response to %s could not be closed", named(environ))


def _failed(environ: "WSGIEnvironment", response: Response, error: BaseException) -> None:
    """Answer in the application's place, or break the response off where it has begun."""
    if isinstance(error, ClientLeft):
        log.debug("the client left before it had the response to %s", named(environ))
        response.break_off()
        return
    if response.inherited and isinstance(error, SystemExit):
        return  # the child ends as it should
    status, text = explain(error, environ, begun=response.began)
    if not response.began:
        try:
            response.refuse(status, text, request_id.header(environ))
            return
        except ClientLeft:
            pass
    response.break_off()


@functools.lru_cache(maxsize=4)
def _date(second: int) -> str:
    """Return a time as HTTP has it (RFC 9110, section 5.6.7)."""
    return formatdate(second, usegmt=True)


def _nothing() -> None:
    pass
