"""Answers a request with a WSGI application (PEP 3333).

`answer` calls the application and passes its answer to a `Response`, which an engine completes with its way of sending. These
rules hold whatever the application does:

- The head is sent with the first bytes of the body. Before that, any failure is answered in the application's place.
- After that, a response that cannot be completed never looks complete: it is broken off.
- Bytes that do not belong to the response (a body after HEAD, bytes beyond Content-Length) are neither sent nor waited for.
- A child that the application has forked sends nothing: the client belongs to its parent.
"""

import http.client
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flaskd.http import request_id
from flaskd.http.failures import ClientLeft, explain, named
from flaskd.http.file_wrapper import tell_sent
from flaskd.http.late_answers import ANSWERED
from flaskd.http.responses import Start, check_start
from flaskd.process import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd.http")


class Response:
    """One response.

    `began`: part of it was sent. `full`: nothing more of the application's will be sent. `broken`: it was not completed.
    """

    __slots__ = ("_complete", "_depth", "_has_body", "_left", "_method", "_start", "began", "broken", "full")

    joins_lists = False
    """Whether a list is sent in one piece."""
    takes_files = False
    """Whether `write_file` may send something."""

    def prepare(self, method: str) -> None:
        """Set each attribute; for `__init__`, and quicker than `super().__init__`."""
        self._method = method
        self._depth = forks.depth
        self._start: Start | None = None
        self._has_body = False
        self._complete = False  # the last bytes have been sent
        self._left: int | None = None  # bytes that Content-Length still allows
        self.began = False
        self.full = False
        self.broken = False

    @property
    def inherited(self) -> bool:
        """Whether this process is a child that the application has forked."""
        return forks.depth != self._depth

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        """Implement `start_response`; raises BadResponse for a head that cannot be sent."""
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
        """Send a part of the body, the head before the first one. `whole`: it is the last part."""
        if not isinstance(data, bytes):
            raise TypeError(f"the body of a response is bytes, not {type(data).__name__}")
        if not data and not whole:
            return
        head = b"" if self.began else self._head(len(data) if whole else None)
        if self.full:
            data = b""
        elif self._left is not None:
            if len(data) > self._left:
                log.error("a response has more bytes than its Content-Length says; they are not sent")
                self.full = True
                data = data[: self._left]
            self._left -= len(data)
        first, self.began, self._complete = not self.began, True, whole and not self._left
        self._send_part(head, data, first=first)

    def write_file(self, body: Iterable[bytes]) -> int:
        """Send a body that is a file, if that is possible; returns how many bytes were sent."""
        return 0

    def finish(self) -> None:
        """Complete the response."""
        if not self.began:
            self.write(b"", whole=True)
        elif not self._complete and not self._left:
            self._send_end()
        if self._left:
            log.error("a response is %d bytes shorter than its Content-Length says", self._left)
            self.break_off()

    def break_off(self) -> None:
        """Note that nothing more is sent: the response stays incomplete, unless it is complete already."""
        self.broken = not (self._complete or (self.began and (not self._has_body or self._left == 0)))

    def refuse(self, status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with an error in the application's place, and close the connection; raises ClientLeft."""
        phrase = http.client.responses.get(status, "")
        headers = [("Content-Type", "text/plain"), ("Connection", "close"), *headers]
        self._start = check_start(f"{status} {phrase}", headers)
        self.write(f"{text}\n".encode("utf-8", "replace"), whole=True)

    def _head(self, size: int | None) -> bytes:
        """Decide on the head, and return it if it is sent as bytes; `size` is the body's length if known."""
        raise NotImplementedError

    def _begin(self) -> Start:
        start = self._start
        if start is None:
            raise AssertionError("the application did not call start_response")
        self._has_body = not start.bodiless and self._method != "HEAD"
        self.full = not self._has_body
        if self._has_body:
            self._left = start.length
        return start

    def _send_part(self, head: bytes, data: bytes, *, first: bool) -> None:
        """Send a part of the body, behind the head if it is the `first`; the last one if `_complete`. Raises ClientLeft."""
        raise NotImplementedError

    def _send_end(self) -> None:
        """Send what ends the body behind its last part; raises ClientLeft."""
        raise NotImplementedError


def answer(app: "WSGIApplication", environ: "WSGIEnvironment", response: Response) -> None:
    """Call `app` and send its answer; raises nothing."""
    body: Iterable[bytes] = ()
    try:
        body = app(environ, response.start)
        from_file = response.write_file(body) if response.takes_files else 0
        if not from_file:
            pieces, single = body, False
            if isinstance(body, (list, tuple)):
                pieces = (b"".join(body),) if response.joins_lists else body
                single = len(pieces) == 1
            for piece in pieces:
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
    """Answer in the application's place, or break the response off if it has begun."""
    if isinstance(error, ClientLeft) or ANSWERED in environ:
        log.debug("the response to %s is not wanted any more", named(environ))
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


def _nothing() -> None:
    pass
