"""The ledger of requests: what the application has begun and not finished, and counts of what it has.

`Ledger` is WSGI middleware around the application. A request is in flight from the call of the application until `close()` of
its response body: a streaming response is in flight until its last byte was handed to the engine.
"""

import itertools
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flaskd.access_log import Line
from flaskd_ctl.protocol import InFlight, LastError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""What a client's X-Request-ID may be; another is replaced."""

LONGEST_PATH = 512
"""Characters of a path that are shown; the rest is cut with an ellipsis."""


class Entry:
    """One request in flight. Its handler's thread writes it; others only read."""

    __slots__ = ("environ", "error", "ident", "request_id", "since", "size", "status", "thread")

    def __init__(self, ident: int, environ: "WSGIEnvironment", request_id: str) -> None:
        self.ident = ident
        self.environ = environ
        self.request_id = request_id
        self.since = time.monotonic()
        self.size = 0
        self.thread = threading.current_thread()
        self.status = ""
        self.error = ""

    def seen(self, now: float) -> InFlight:
        """Describe the request as of monotonic time `now`; Flask's endpoint and rule are known once it has routed."""
        request = self.environ.get("werkzeug.request")
        rule = getattr(request, "url_rule", None)
        return InFlight(
            id=self.ident,
            method=self.environ.get("REQUEST_METHOD", ""),
            path=path_of(self.environ),
            age=round(now - self.since, 3),
            client=self.environ.get("REMOTE_ADDR", ""),
            thread=self.thread.name,
            endpoint=getattr(rule, "endpoint", None),
            rule=getattr(rule, "rule", None),
            request_id=self.request_id,
        )

    def line(self) -> Line:
        """Describe the finished request for the access log."""
        seconds = time.monotonic() - self.since
        return Line(
            began=time.time() - seconds,
            client=self.environ.get("REMOTE_ADDR", ""),
            method=self.environ.get("REQUEST_METHOD", ""),
            target=self.environ.get("REQUEST_URI") or _target(self.environ),
            protocol=self.environ.get("SERVER_PROTOCOL", ""),
            status=int(self.status[:3]) if self.status[:3].isdigit() else 500,
            size=self.size,
            seconds=seconds,
            request_id=self.request_id,
        )


class Ledger:
    """WSGI middleware that knows what is in flight.

    `on_end` is called after each request, on the handler's thread; `log`, if given, gets its line. While `closing` is true each
    response says `Connection: close`, so that keep-alive clients leave by themselves (RFC 9112, section 9.6).

    Each request has an id: the `X-Request-ID` it came with, or one made here. The application finds it in the request's header,
    the client in the response's, an operator in `requests`, the last error and the access log.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        on_end: Callable[[], None],
        *,
        log: Callable[[Line], None] | None = None,
    ) -> None:
        self.closing = False
        self.last_error: LastError | None = None
        self._app = app
        self._on_end = on_end
        self._log = log
        self._made = secrets.token_hex(6)  # of each id that is made here, the part that tells servers apart
        self._idents = itertools.count(1)
        self._entries: dict[int, Entry] = {}
        self._lock = threading.Lock()  # protects _served
        self._served = {"1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0, "aborted": 0}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve one request, keeping it in the ledger until its body is closed."""
        ident = next(self._idents)
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = environ["HTTP_X_REQUEST_ID"] = f"{self._made}-{ident}"
        entry = Entry(ident, environ, request_id)
        environ["flaskd.ident"] = ident
        environ["flaskd.ledger"] = self
        self._entries[entry.ident] = entry

        def started(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            entry.status = status
            if not any(name.lower() == "x-request-id" for name, _ in headers):
                headers = [*headers, ("X-Request-ID", request_id)]
            if self.closing:
                headers = [pair for pair in headers if pair[0].lower() != "connection"]
                headers.append(("Connection", "close"))
            return start_response(status, headers, exc_info)

        try:
            body = self._app(environ, started)
        except BaseException as error:
            entry.error = f"{type(error).__name__}: {error}"
            self._end(entry, complete=False)
            raise
        return _Body(body, entry, self._end)

    @property
    def in_flight(self) -> int:
        """How many requests the application has begun and not finished."""
        return len(self._entries)

    def requests(self) -> list[InFlight]:
        """List what is in flight, oldest first."""
        now = time.monotonic()
        return [entry.seen(now) for entry in list(self._entries.values())]

    def served(self) -> dict[str, int]:
        """Count finished requests by status class."""
        with self._lock:
            return dict(self._served)

    def finished(self) -> int:
        """Count all finished requests."""
        return sum(self.served().values())

    def blame(self, ident: int, error: BaseException) -> None:
        """Note an exception that the framework turned into an answer (Flask's got_request_exception)."""
        entry = self._entries.get(ident)
        if entry is not None:
            entry.error = f"{type(error).__name__}: {error}"

    def _end(self, entry: Entry, *, complete: bool) -> None:
        if self._entries.pop(entry.ident, None) is None:
            return  # close() was called twice
        kind = f"{entry.status[:1]}xx" if complete else "aborted"
        if entry.error or entry.status >= "500":
            request = f"{entry.environ.get('REQUEST_METHOD', '')} {path_of(entry.environ)}"
            self.last_error = LastError(
                at=time.time(),
                message=entry.error or entry.status,
                request=request,
                request_id=entry.request_id,
            )
        with self._lock:
            self._served[kind if kind in self._served else "aborted"] += 1
        if self._log is not None:
            self._log(entry.line())
        self._on_end()


class _Body:
    """A response body whose `close()` ends the request, and which knows whether it was read to its end."""

    def __init__(self, body: Iterable[bytes], entry: Entry, end: Callable[..., None]) -> None:
        self._body = body
        self._entry = entry
        self._end = end
        self._complete = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            # `yield from` would close the body when reading ends early, and `close` then again.
            for data in self._body:
                self._entry.size += len(data)
                yield data
        except Exception as error:
            self._entry.error = f"{type(error).__name__}: {error}"
            raise
        self._complete = True

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end(self._entry, complete=self._complete)


def path_of(environ: "WSGIEnvironment") -> str:
    """Return the decoded path of a request without its query string, shortened if it is absurdly long.

    What cannot be printed stays encoded: the path is shown on terminals and in logs, and is whatever the client made up.
    """
    raw: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    path = raw.encode("latin-1", "replace").decode("utf-8", "replace")  # WSGI strings: PEP 3333
    path = path if len(path) <= LONGEST_PATH else path[: LONGEST_PATH - 1] + "…"
    return "".join(char if char.isprintable() else quote(char) for char in path)


def _target(environ: "WSGIEnvironment") -> str:
    query = environ.get("QUERY_STRING", "")
    return quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), encoding="latin-1") + (
        f"?{query}" if query else ""
    )
