"""WSGI (PEP 3333) on what granian brings of each request: an exchange (`granian_exchange`) and an environ (`granian_environ`).

What is here calls the application and decides what of its answer is sent; it knows of the exchange only what is in `Proto`.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from flaskd.engines.granian_engine.body import Input, Lingering, input_of
from flaskd.engines.granian_engine.native_threads import Callers
from flaskd.http.responses import BadResponse, Start, check_start

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger("flaskd.http")

Headers = list[tuple[str, str]]


class Proto(Protocol):
    """What takes a response: whole, or piece by piece behind the head."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...

    def response_write(self, status: int, headers: Headers, piece: bytes) -> None: ...

    def response_iter(self, status: int, headers: Headers, body: Any) -> None: ...


class Traffic:
    """What the engine shares with all calls from granian.

    `running` has an entry for each request in the application: its thread; `threads` are the ids of all threads that have
    called; while `closing` is true each response says `Connection: close`; what the application leaves unread of a body goes to
    `lingering`, after the response.
    """

    __slots__ = ("callers", "closing", "lingering", "running", "threads")

    def __init__(self, lingering: Lingering) -> None:
        self.running: dict[int, int] = {}
        self.threads: set[int] = set()
        self.callers = Callers(self.threads)
        self.threads.clear()  # this one does not call
        self.closing = False
        self.lingering = lingering


class _Response:
    """One request's `start_response` and `write`."""

    __slots__ = ("_proto", "_sent", "_traffic", "headers", "left", "over", "sent", "start", "written")

    def __init__(self, proto: Proto, sent: Input | None, traffic: Traffic) -> None:
        self._proto = proto
        self._sent = sent
        self._traffic = traffic
        self.over = False  # whether there was more than Content-Length
        self.start: Start | None = None
        self.headers: Headers = []
        self.sent = False  # whether the head is on its way
        self.written = False
        self.left: int | None = None  # bytes until Content-Length is reached

    def __call__(self, status: str, headers: Headers, exc_info: Any = None, /) -> Callable[[bytes], None]:
        if exc_info is not None and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self.start is not None:
            raise AssertionError("start_response was called twice")
        self.start = check_start(status, headers)
        if self.start.code < 200:  # hyper does not send one
            raise BadResponse(f"{status!r} is no status of a final response")
        return self.write

    def begin(self) -> Start:
        """Decide on the head; from now on it cannot be replaced."""
        start = self.start
        if start is None:
            raise AssertionError("the application did not call start_response")
        if not self.sent:
            self.sent = True
            self.headers = start.headers
            self.left = start.length
            if start.close or self._traffic.closing or (self._sent is not None and not self._sent.whole):
                # RFC 9112, section 9.6: the client is to leave, or what follows is no request.
                self.headers = [*start.headers, ("Connection", "close")]
        return start

    def write(self, data: bytes) -> None:
        """Send at once what does not come with the body."""
        start = self.begin()
        self.written = True
        piece = self.fitting(data)
        if piece and not start.bodiless:
            self._proto.response_write(start.code, self.headers, piece)

    def fitting(self, data: bytes) -> bytes:
        """Return what Content-Length has room for."""
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

    def pieces(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what is sent of `body`, up to where it is more than Content-Length; raises BadResponse where it is less."""
        for data in body:
            if piece := self.fitting(data):
                yield piece
            if self.over:
                return
        if self.left:
            raise BadResponse(f"a response ends {self.left} bytes before its Content-Length")
        # granian lets go of the request with the end of a response that comes in pieces.
        self._traffic.lingering.discard(self._sent)


class _Chunks:
    """What a body is drawn from: `__next__` until it raises StopIteration, then `close`."""

    __slots__ = ("__next__", "close")

    def __init__(self, chunks: Iterator[bytes], close: Callable[[], None]) -> None:
        self.__next__ = chunks.__next__
        self.close = close


def gateway(
    app: "WSGIApplication", base: dict[str, Any], traffic: Traffic, *, body_timeout: float = 30.0
) -> Callable[[Any, Any], int]:
    """Make of `app` what is called with an exchange and a fresh environ; returns the status. `base` is in every environ."""
    running, callers = traffic.running, traffic.callers

    def run(proto: Proto, environ: dict[str, Any]) -> int:
        environ.update(base)
        sent = input_of(environ, timeout=body_timeout)
        request = id(proto)
        running[request] = callers.caller
        try:
            return _answer(app, proto, environ, sent, traffic)
        finally:
            del running[request]

    return run


def _answer(
    app: "WSGIApplication", proto: Proto, environ: dict[str, Any], sent: Input | None, traffic: Traffic
) -> int:
    """Call `app`; send what it answers at once where that is one piece, as Flask's responses are, else piece by piece."""
    response = _Response(proto, sent, traffic)
    body: Iterable[bytes] = app(environ, response)
    close = getattr(body, "close", _nothing)
    streamed: Iterator[bytes] | None = None
    try:
        chunks: Iterator[bytes]
        listed = isinstance(body, list | tuple)
        if listed:
            chunks, first = iter(()), b"".join(body)
        else:
            # The head waits for the first bytes (PEP 3333): what fails before them is an error and no response.
            chunks = iter(body)
            first = b"" if response.written else next(filter(None, chunks), b"")
        start = response.begin()
        if start.bodiless or environ.get("REQUEST_METHOD") == "HEAD":
            if not start.bodiless and (start.length or not listed):
                streamed = iter(())  # of no length, so that hyper says nothing of its own about it
            else:
                proto.response_bytes(start.code, response.headers, b"" if start.bodiless else first)
        else:
            first = response.fitting(first)
            if not response.written and (
                response.left == 0 or (response.left is None and (listed or not first))
            ):
                proto.response_bytes(start.code, response.headers, first)
                for piece in chunks:  # nothing more is sent, but the application gets to its end
                    response.fitting(piece)
                    if response.over:
                        break
            else:
                streamed = itertools.chain((first,) if first else (), response.pieces(chunks))
    except BaseException:
        close()
        raise
    if streamed is None:
        close()
    else:
        proto.response_iter(start.code, response.headers, _Chunks(streamed, close))
    return start.code


def _nothing() -> None:
    pass
