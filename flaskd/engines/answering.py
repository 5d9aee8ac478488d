"""One request answered by a WSGI application: PEP 3333 on one side, the frames of RFC 9112 on the other.

`answer` calls the application and hands what it says to a `Response`, which frames it and gives the bytes to the connection.
Two laws hold whatever the application does. Before the first byte is sent, any failure is a 500. After it, a response that
cannot be completed never looks complete: no last chunk is sent, and where only the end of the connection ends the body, the
connection is reset.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Sized
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException

from flaskd.engines.responses import BadResponse, Start, check_start

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd.http")


class ClientLeft(OSError):
    """The client closed its connection before it had its response."""


class Response:
    """Frames one response. `send` takes bytes and raises ClientLeft; `keep` tells whether the connection may be kept after it.

    `began` once something was sent, `close` when the connection has to be closed afterwards. `broken`: it was not completed;
    `reset` then says whether closing the connection would look like its end.
    """

    __slots__ = (
        "_chunked",
        "_complete",
        "_has_body",
        "_keep",
        "_left",
        "_method",
        "_modern",
        "_send",
        "_server",
        "_start",
        "began",
        "broken",
        "close",
        "reset",
    )

    def __init__(
        self,
        send: Callable[[bytes], object],
        *,
        method: str,
        version: str,
        keep: Callable[[], bool],
        server: str,
    ) -> None:
        self._send = send
        self._method = method
        self._modern = version == "HTTP/1.1"
        self._keep = keep
        self._server = server
        self._start: Start | None = None
        self._has_body = False
        self._chunked = False
        self._complete = False  # the last bytes have been sent
        self._left: int | None = None  # bytes that Content-Length still allows
        self.began = False
        self.close = False
        self.broken = False
        self.reset = False

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        """Be the application's `start_response`; raises BadResponse for what cannot be sent."""
        if exc_info is not None:
            if self.began:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._start is not None:
            raise AssertionError("start_response was called twice")
        self._start = check_start(status, headers)
        return self.write

    def write(self, data: bytes, *, whole: bool = False) -> None:
        """Send a part of the body, the head before it. `whole`: there is nothing after it."""
        if not isinstance(data, bytes):
            raise TypeError(f"the body of a response is bytes, not {type(data).__name__}")
        head = b"" if self.began else self._head(len(data) if whole else None)
        if not self._has_body:
            data = b""
        elif self._left is not None:
            if len(data) > self._left:
                log.warning("the application answered more than its Content-Length; the rest is not sent")
                data = data[: self._left]
            self._left -= len(data)
        elif self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if whole and self._chunked:
            data += b"0\r\n\r\n"
        self.began, self._complete = True, whole and not (self._has_body and self._left)
        if head or data:
            self._send(head + data)

    def finish(self) -> None:
        """Complete the response."""
        if self._start is None:
            raise AssertionError("the application did not call start_response")
        if not self.began:
            self.write(b"", whole=True)
        elif self._chunked and not self._complete:
            self._send(b"0\r\n\r\n")
        if self._has_body and self._left:
            log.error("the application answered %d bytes less than its Content-Length", self._left)
            self.break_off()

    def break_off(self) -> None:
        """Note that nothing more is sent: it stays incomplete, unless it is whole already."""
        if self._complete or (self.began and (not self._has_body or self._left == 0)):
            return
        self.broken = self.close = True
        self.reset = self._has_body and not self._chunked and self._left is None

    def refuse(self, status: int, text: str) -> None:
        """Answer with an error in the application's place, and close the connection."""
        body = f"{text}\n".encode("utf-8", "replace")
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")]
        self._start = check_start(f"{status} {HTTPStatus(status).phrase}", headers)
        self.write(body, whole=True)

    def _head(self, size: int | None) -> bytes:
        """Decide how the body is framed (RFC 9112, section 6.3); `size` is what is known of its length."""
        start = self._start
        if start is None:
            raise AssertionError("start_response was not called before the body was written")
        headers, length = start.headers, start.length
        self._has_body = not start.bodiless and self._method != "HEAD"
        if self._has_body:
            if length is None and size is not None:
                length = size
                headers.append(("Content-Length", str(size)))
            self._chunked = length is None and self._modern
            self._left = length
        if self._chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        delimited = not self._has_body or self._chunked or length is not None
        self.close = start.close or not delimited or start.code < 200 or not self._keep()
        if self.close:
            headers.append(("Connection", "close"))
        elif not self._modern:
            headers.append(("Connection", "keep-alive"))
        names = {name.lower() for name, _ in headers}
        if "date" not in names:
            headers.append(("Date", _date(int(time.time()))))
        if "server" not in names:
            headers.append(("Server", self._server))
        lines = [f"HTTP/1.1 {start.status}" if " " in start.status else f"HTTP/1.1 {start.status} "]
        lines += [f"{name}: {value}" for name, value in headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(app: "WSGIApplication", environ: "WSGIEnvironment", response: Response) -> None:
    """Call `app` and send what it answers; raises nothing, whatever it does."""
    body: Iterable[bytes] = ()
    try:
        body = app(environ, response.start)
        single = isinstance(body, Sized) and len(body) == 1
        for piece in body:
            if piece:  # the head is sent with the first bytes, not before (PEP 3333)
                response.write(piece, whole=single)
        response.finish()
    except BaseException as error:  # noqa: BLE001 - the application's edge: it may raise SystemExit, and the thread goes on
        _failed(environ, response, error)
    finally:
        try:
            getattr(body, "close", _nothing)()
        except BaseException:
            log.exception("the response to %s could not be closed", _named(environ))


def _failed(environ: "WSGIEnvironment", response: Response, error: BaseException) -> None:
    """Answer in the application's place, or break the response off where it has begun."""
    if isinstance(error, ClientLeft):
        log.debug("the client left before it had the response to %s", _named(environ))
        response.break_off()
        return
    status = error.code if isinstance(error, HTTPException) and error.code else 500
    if isinstance(error, BadResponse):
        log.error("cannot answer %s: %s", _named(environ), error)
    elif status >= 500 or response.began:
        log.error("the application failed at %s", _named(environ), exc_info=error)
    if response.began:
        response.break_off()
        return
    try:
        response.refuse(status, HTTPStatus(status).phrase)
    except ClientLeft:
        response.break_off()


def _named(environ: "WSGIEnvironment") -> str:
    return f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')!r}"


@functools.lru_cache(maxsize=4)
def _date(second: int) -> str:
    """Return a time as HTTP has it (RFC 9110, section 5.6.7)."""
    return formatdate(second, usegmt=True)


def _nothing() -> None:
    pass
