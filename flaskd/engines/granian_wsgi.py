"""WSGI (PEP 3333) on granian's protocol objects; the request's body: `granian_input`.

granian's own wrapper (granian 2.8, granian/wsgi.py) is not used. It hands a status that is none to Rust, which aborts the
process; it answers 200 without headers for an application that is a generator, since that calls `start_response` with its
first step; it has no `write`; and it puts the environment of the process, secrets included, into each request's.
"""

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from threading import Semaphore
from typing import TYPE_CHECKING, Any

from flaskd.engines.granian_input import Input, Lingering, input_of
from flaskd.engines.native_threads import Callers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class _Start:
    """One request's `start_response`."""

    __slots__ = ("headers", "sent", "status", "written")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []
        self.sent = False

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        if exc_info is not None and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self.status:
            raise AssertionError("start_response was called twice")
        self.status, self.headers = _code(status), headers
        return self.written.append


@functools.lru_cache
def _code(status: str) -> int:
    code = status[:3]
    if not (code.isascii() and code.isdigit() and code >= "100" and status[3:4] in {"", " "}):
        raise ValueError(f"{status!r} is no HTTP status: 100 to 999 and a reason")
    return int(code)


class _Chunks:
    """What granian draws the body from: it calls `__next__` of the object until StopIteration, then `close`."""

    __slots__ = ("__next__", "close")

    def __init__(self, chunks: Iterator[bytes], close: Callable[[], None]) -> None:
        self.__next__ = chunks.__next__
        self.close = close


class Traffic:
    """What the engine shares with all calls from granian.

    `running` has an entry for each request in the application or waiting for its turn: its thread; `threads` are the ids of
    all threads that have called; while `closing` is true each response says `Connection: close`; what the application leaves
    unread of a body goes to `lingering`, after the response.
    """

    __slots__ = ("callers", "closing", "lingering", "running", "threads")

    def __init__(self, lingering: Lingering) -> None:
        self.running: dict[int, int] = {}
        self.threads: set[int] = set()
        self.callers = Callers(self.threads)
        self.threads.clear()  # this one does not call
        self.closing = False
        self.lingering = lingering


def gateway(
    app: "WSGIApplication", base: dict[str, Any], traffic: Traffic, *, turns: Semaphore | None = None
) -> Callable[[Any, Any], int]:
    """Make of `app` what granian calls with a protocol and a fresh environ; returns the status. `base` is in every environ."""
    common = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SCRIPT_NAME": "",
        "SERVER_SOFTWARE": "granian",
        "wsgi.errors": sys.stderr,
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.version": (1, 0),
        **base,
    }
    running, callers = traffic.running, traffic.callers

    def run(proto: Any, environ: dict[str, Any]) -> int:
        environ.update(common)
        sent = input_of(environ)
        request = id(proto)
        running[request] = callers.caller
        try:
            if turns is None:
                status = _answer(app, proto, environ, sent, traffic)
            else:
                with turns:
                    status = _answer(app, proto, environ, sent, traffic)
        finally:
            del running[request]
        if sent is not None and sent.unread and sent.under_way:
            traffic.lingering.discard(sent)
        return status

    return run


def _answer(
    app: "WSGIApplication", proto: Any, environ: dict[str, Any], sent: Input | None, traffic: Traffic
) -> int:
    """Call `app`; send what it answers at once where that is one piece, as Flask's responses are, else piece by piece."""
    start = _Start()
    body: Iterable[bytes] = app(environ, start)
    close = getattr(body, "close", _nothing)
    whole: bytes | None = None
    chunks: Iterator[bytes] = iter(())
    try:
        if not start.status:
            body = _begun(body)
            if not start.status:
                raise AssertionError("the application did not call start_response")  # noqa: TRY301
        start.sent = True
        if traffic.closing or (sent is not None and sent.unread):
            start.headers = _closing(start.headers)
        if isinstance(body, list):
            whole = b"".join(start.written + body)
        else:
            chunks = itertools.chain(start.written, body) if start.written else iter(body)
            length = _length(start.headers)
            if length is not None:
                first = next(chunks, b"")
                if length == str(len(first)):
                    whole = first
                else:
                    chunks = itertools.chain((first,), chunks)
        if whole is not None:
            proto.response_bytes(start.status, start.headers, whole)
            for _ in chunks:  # what comes after the length is not sent, but the application gets to its end
                pass
    except BaseException:
        close()
        raise
    if whole is None:
        proto.response_iter(start.status, start.headers, _Chunks(chunks, close))
    else:
        close()
    return start.status


def _length(headers: list[tuple[str, str]]) -> str | None:
    """Find the Content-Length."""
    for name, value in headers:
        if name.lower() == "content-length":
            return value
    return None


def _closing(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Say that the connection is not kept (RFC 9112, section 9.6): the client is to leave, or what follows is no request."""
    return [each for each in headers if each[0].lower() != "connection"] + [("Connection", "close")]


def _begun(body: Iterable[bytes]) -> Iterable[bytes]:
    """Take the first step of a body."""
    iterator = iter(body)
    first = list(itertools.islice(iterator, 1))
    return itertools.chain(first, iterator)


def _nothing() -> None:
    pass
