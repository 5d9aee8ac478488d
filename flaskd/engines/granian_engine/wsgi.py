"""WSGI (PEP 3333) for the requests that granian brings, each an exchange and an environ.

This module calls the application and decides what of its answer is sent. Of the exchange it knows only what is in `Proto`.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from flaskd.engines.granian_engine.body import Body, body_of
from flaskd.engines.granian_engine.server import Server
from flaskd.http.failures import ClientLeft
from flaskd.http.responses import BadResponse, Start, check_start

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd.http")

Headers = list[tuple[str, str]]


class Proto(Protocol):
    """Sends a response: whole, or piece by piece with the head before the first one."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...

    def response_write(self, status: int, headers: Headers, piece: bytes) -> None: ...

    def response_end(self) -> None: ...


class _Response:
    """One request's `start_response` and `write`, and what is sent of its body.

    `claim`, if given, is asked before each part whether that may be sent.
    """

    __slots__ = (
        "_begun",
        "_claim",
        "_headers",
        "_proto",
        "_request_body",
        "_sent",
        "_server",
        "left",
        "over",
        "start",
        "written",
    )

    def __init__(
        self, proto: Proto, request_body: Body | None, server: Server, claim: Callable[[], bool] | None
    ) -> None:
        self._proto = proto
        self._request_body = request_body
        self._server = server
        self._claim = claim
        self._headers: Headers = []
        self._begun = False  # whether the head was decided on
        self._sent = False  # whether it was sent
        self.start: Start | None = None
        self.written = False  # whether the application has called `write`
        self.left: int | None = None  # bytes until Content-Length is reached
        self.over = False  # whether there was more than Content-Length

    def __call__(self, status: str, headers: Headers, exc_info: Any = None, /) -> Callable[[bytes], None]:
        if exc_info is not None and self._begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self.start is not None:
            raise AssertionError("start_response was called twice")
        self.start = check_start(status, headers)
        if self.start.code < 200:  # hyper does not send one
            raise BadResponse(f"{status!r} is no status of a final response")
        return self.write

    def begin(self) -> Start:
        """Decide on the head, which cannot be replaced any more."""
        start = self.start
        if start is None:
            raise AssertionError("the application did not call start_response")
        if not self._begun:
            self._begun = True
            self._headers = start.headers
            self.left = start.length
            body = self._request_body
            if start.close or not self._server.keepalive or (body is not None and not body.whole):
                # RFC 9112, section 9.6: the client is to leave, or what follows is no request.
                self._headers = [*start.headers, ("Connection", "close")]
        return start

    def write(self, data: bytes) -> None:
        """Send a part of the body at once (PEP 3333, section on `write`)."""
        start = self.begin()
        self.written = True
        piece = self.fit(data)
        if piece and not start.bodiless:
            self._send(piece)

    def fit(self, data: bytes) -> bytes:
        """Return as much of `data` as Content-Length has room for."""
        if not isinstance(data, bytes):
            raise TypeError(f"a response's body is bytes, not {type(data).__name__}")
        if self.left is None:
            return data
        if len(data) > self.left:
            if not self.over:
                self.over = True
                log.error("a response has more bytes than its Content-Length says; they are not sent")
            data = data[: self.left]
        self.left -= len(data)
        return data

    def send_whole(self, body: bytes) -> None:
        """Send head and body together."""
        self._check_claim()
        self._proto.response_bytes(self.begin().code, self._headers, body)

    def send_pieces(self, pieces: Iterable[bytes]) -> None:
        """Send the head, the pieces as they come, and the end."""
        if not self._sent:
            self._send(b"")
        for piece in pieces:
            self._send(piece)
        self._proto.response_end()

    def fitting(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Yield `body` until it exceeds Content-Length; raises BadResponse if it is shorter."""
        for data in body:
            if piece := self.fit(data):
                yield piece
            if self.over:
                return
        if self.left:
            raise BadResponse(f"a response ends {self.left} bytes before its Content-Length")
        # With the end of a response in pieces, granian releases the request.
        self._server.discarder.discard(self._request_body)

    def _send(self, piece: bytes) -> None:
        self._check_claim()
        self._sent = True
        self._proto.response_write(self.begin().code, self._headers, piece)

    def _check_claim(self) -> None:
        if self._claim is not None and not self._claim():
            raise ClientLeft("it was answered meanwhile")


def gateway(
    app: "WSGIApplication", base: "WSGIEnvironment", server: Server
) -> Callable[[Any, dict[str, Any]], None]:
    """Make of `app` what is called with an exchange and a fresh environ; `base` is added to every environ."""
    running, caller_ids = server.running, server.caller_ids
    timeout, late = server.options.body_timeout, server.options.late

    def run(proto: Proto, environ: dict[str, Any]) -> None:
        environ.update(base)
        body = body_of(environ, timeout=timeout)
        request = id(proto)
        running[request] = caller_ids.caller
        try:
            if late is None:
                _answer(app, environ, _Response(proto, body, server, None))
                return
            with late.within(environ, proto.response_bytes) as claim:
                try:
                    _answer(app, environ, _Response(proto, body, server, claim))
                except Exception:
                    if claim():  # else the request has its answer
                        raise
        finally:
            del running[request]

    return run


def _answer(app: "WSGIApplication", environ: dict[str, Any], response: _Response) -> None:
    """Call `app` and send its answer: at once if that is one piece, as Flask's responses are, else piece by piece."""
    body: Iterable[bytes] = app(environ, response)
    try:
        listed = isinstance(body, list | tuple)
        if listed:
            chunks: Iterator[bytes] = iter(())
            first = b"".join(body)
        else:
            # The head waits for the first bytes (PEP 3333): what fails before them is an error and no response.
            chunks = iter(body)
            first = b"" if response.written else next(filter(None, chunks), b"")
        start = response.begin()
        if start.bodiless:
            response.send_whole(b"")
        elif environ.get("REQUEST_METHOD") == "HEAD":
            if start.length or not listed:
                response.send_pieces(())  # of no length, so that hyper adds none of its own
            else:
                response.send_whole(first)
        else:
            first = response.fit(first)
            if not response.written and (
                response.left == 0 or (response.left is None and (listed or not first))
            ):
                response.send_whole(first)
                for piece in chunks:  # nothing more is sent, but the application gets to its end
                    response.fit(piece)
                    if response.over:
                        break
            else:
                response.send_pieces(itertools.chain((first,) if first else (), response.fitting(chunks)))
    finally:
        getattr(body, "close", _nothing)()


def _nothing() -> None:
    pass
