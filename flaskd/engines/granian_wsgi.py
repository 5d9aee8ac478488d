"""WSGI (PEP 3333) on granian's protocol objects.

granian's own wrapper (granian 2.8, granian/wsgi.py) is not used. It hands a status that is none to Rust, which aborts the
process; it answers 200 without headers for an application that is a generator, since that calls `start_response` with its
first step; it has no `write`; and it puts the environment of the process, secrets included, into each request's.
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

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
        code = status[:3]
        if not (code.isascii() and code.isdigit() and code >= "100" and status[3:4] in {"", " "}):
            raise ValueError(f"{status!r} is no HTTP status: 100 to 999 and a reason")
        self.status, self.headers = int(code), headers
        return self.written.append


class _Chunks:
    """What granian draws the body from: it calls `__next__` of the object until StopIteration, then `close`."""

    __slots__ = ("__next__", "close")

    def __init__(self, chunks: Iterator[bytes], close: Callable[[], None]) -> None:
        self.__next__ = chunks.__next__
        self.close = close


def gateway(app: "WSGIApplication", base: dict[str, Any]) -> Callable[[Any, Any], int]:
    """Make of `app` what granian calls with a protocol and a scope; returns the status. `base` is in every environ."""
    common = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SCRIPT_NAME": "",
        "SERVER_SOFTWARE": "granian",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.version": (1, 0),
    }

    def run(proto: Any, scope: dict[str, Any]) -> int:
        start = _Start()
        body: Iterable[bytes] = app({**common, **scope, **base}, start)
        close = getattr(body, "close", _nothing)
        try:
            if not start.status:
                body = _begun(body)
                if not start.status:
                    raise AssertionError("the application did not call start_response")  # noqa: TRY301
            start.sent = True
            if isinstance(body, list):
                proto.response_bytes(start.status, start.headers, b"".join(start.written + body))
                return start.status
            chunks = itertools.chain(start.written, body) if start.written else iter(body)
        except BaseException:
            close()
            raise
        proto.response_iter(start.status, start.headers, _Chunks(chunks, close))
        return start.status

    return run


def _begun(body: Iterable[bytes]) -> Iterable[bytes]:
    """Take the first step of a body."""
    iterator = iter(body)
    first = list(itertools.islice(iterator, 1))
    return itertools.chain(first, iterator)


def _nothing() -> None:
    pass
