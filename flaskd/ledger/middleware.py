"""Records which requests are in flight, and counts those that are finished.

`Ledger` is WSGI middleware around the application; it writes to a request table. A request is in flight from the call of the
application until `close()` of its response body, so a streaming response is in flight until the engine has its last byte.

Every request passes through here, so little is done for each, and what only some need is done only for those.
"""

import itertools
import secrets
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from flaskd.http.cancelling import Cancellable, Cancellation, current, shielded
from flaskd.http.failures import status_of
from flaskd.http.file_wrapper import Watched
from flaskd.http.queue_limit import QueueLimit
from flaskd.http.queue_time import queue_time, since_proxy
from flaskd.http.request_id import VALID
from flaskd.ledger.access_log import Line, line_of
from flaskd.ledger.error_report import ErrorReport, report_of
from flaskd.ledger.errors import ErrorTable
from flaskd.ledger.row import KINDS, Row
from flaskd.ledger.shared_memory import RequestTable
from flaskd.ledger.slowest import SlowTable
from flaskd.process import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Count = Callable[[str, str, int, float, int, float], None]
"""See `metrics.recorder.Recorder.record`."""

CountRejected = Callable[[float], None]
"""See `metrics.recorder.Recorder.reject`."""

ROWS: Final = 64
"""Rows of a private request table; requests beyond that are recorded too, at a higher cost."""

_KIND: Final = {kind[0]: index for index, kind in enumerate(KINDS)}
_ABORTED: Final = KINDS.index("aborted")
_KEY: Final = "flaskd.request"
_END: Final = object()

_make: Final = object.__new__
"""Makes a request, of which `begin` sets every attribute: before Python 3.13 a call of the class takes twice as long."""


class Ledger:
    """WSGI middleware that knows the requests in flight.

    It calls `on_end` after each request, on the request's thread; `log`, if given, with its line; `count`, if given, with its
    numbers. `table`, `errors` and `slow` may be shared with other processes; by default the ledger has its own.
    `behind_proxies`: X-Request-Start, which a client may send too, comes from a trusted proxy. `queue_limit` answers some
    requests in the application's place; `count_rejected` is called with the seconds that each of them has waited.

    Each request has an id: the `X-Request-ID` it came with, or one made here. The application finds it in the request's header,
    the client in the response's, an operator in `requests`, the last error and the access log.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        on_end: Callable[[], None],
        *,
        table: RequestTable | None = None,
        errors: ErrorTable | None = None,
        slow: SlowTable | None = None,
        log: Callable[[Line], None] | None = None,
        count: Count | None = None,
        count_rejected: CountRejected = lambda waited: None,
        behind_proxies: bool = False,
    ) -> None:
        self.table = table or RequestTable.private(ROWS)
        self.errors = errors or ErrorTable.private()
        self.slow = slow or SlowTable.private()
        self.on_end = on_end
        self.log = log
        self.count = count
        self.count_rejected = count_rejected
        self.queue_limit: QueueLimit | None = None
        self.behind_proxies = behind_proxies
        self._app = app
        self.depth = forks.depth
        self._begin = self.table.begin
        self._id_prefix = secrets.token_hex(6)  # distinguishes servers in the ids that are made here
        self._numbers = itertools.count(1)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve one request, which is in the ledger until its body is closed."""
        number = next(self._numbers)
        request_id = environ.get("HTTP_X_REQUEST_ID")
        if request_id is None or not VALID.fullmatch(request_id):
            request_id = environ["HTTP_X_REQUEST_ID"] = f"{self._id_prefix}-{number}"
        row = self._begin(number, request_id, environ)
        request = _make(_Request)
        request.begin(self, row, environ, start_response, request_id)
        environ[_KEY] = current.request = row.owner = request
        try:
            try:
                request.inside = get_ident()
                app = self._app if self.queue_limit is None else self._chosen(request, self.queue_limit)
                request.body = app(environ, request.started)
                request.inside = 0
                if request.cancellation is not None:
                    request.leave()
            except BaseException:
                request.leave()
                raise
        except BaseException as error:
            request.leave()  # again, for the case that the cancellation has arrived in the one before
            request.failed(error)
            request.close()  # it may have a body already
            raise
        return request

    def _chosen(self, request: "_Request", limit: QueueLimit) -> "WSGIApplication":
        """Return what answers a request: the application, or the limit in its place."""
        assert request.environ is not None
        request.rejected = limit.exceeded(request.environ)
        return limit.answer if request.rejected else self._app

    def record_error(self, environ: "WSGIEnvironment", error: BaseException) -> None:
        """Record an exception that the framework turned into a response (Flask's got_request_exception)."""
        request: _Request | None = environ.get(_KEY)
        if request is not None and request.ledger is self:
            request.record_error(error)


def find(ledger: Ledger, number: int) -> Cancellable | None:
    """Return the request of this number; None if it has ended, or was never in this ledger. From any thread."""
    request: _Request | None = ledger.table.owner_of(number)
    return request


def current_request_id() -> str:
    """Return the id of the request that this thread is in; "" if it is in none."""
    request: _Request | None = current.request
    return request.request_id if request is not None and request.row is not None else ""


def number_of(environ: "WSGIEnvironment") -> int:
    """Return the number of `environ`'s request in the table; 0 if it has ended, or was never in a ledger."""
    request: _Request | None = environ.get(_KEY)
    row = request.row if request is not None else None
    if row is None or request is None:
        return 0
    number = row.number
    return number if request.row is row else 0  # else the row may be another's by now


class _Request(Watched, Cancellable):
    """One request: its `start_response`, its body, and what is recorded of it.

    It and the environ refer to each other; `end` removes these references, so that no request is left to the garbage collector.
    """

    __slots__ = (
        "body",
        "complete",
        "environ",
        "error",
        "ledger",
        "rejected",
        "request_id",
        "respond",
        "route",
        "row",
        "size",
        "status",
        "written",
    )

    def begin(
        self,
        ledger: Ledger,
        row: Row,
        environ: "WSGIEnvironment",
        respond: "StartResponse",
        request_id: str,
    ) -> None:
        """Set each attribute, once."""
        self.ledger: Ledger | None = ledger
        self.row: Row | None = row
        self.environ: WSGIEnvironment | None = environ
        self.respond: StartResponse | None = respond
        self.request_id = request_id
        self.written: Callable[[bytes], object] | None = None
        self.body: Iterable[bytes] | None = None
        self.route: Any = None
        self.status = ""
        self.error: ErrorReport | None = None
        self.size = 0
        self.complete = False
        self.rejected = False
        self.inside = 0
        self.cancellation: Cancellation | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.row is None

    def started(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        """Pass the response's head on, with the request's id."""
        if self.ledger is None or self.respond is None:
            raise AssertionError("start_response was called after the end of the request")
        self.status = status
        for name, _ in headers:
            if len(name) == 12 and name.lower() == "x-request-id":
                break
        else:
            headers = [*headers, ("X-Request-ID", self.request_id)]
        self.written = self.respond(status, headers, exc_info)
        return self.write

    def __iter__(self) -> Iterator[bytes]:
        try:
            body = iter(self.body or ())
        except BaseException as error:
            self.failed(error)
            raise
        while True:
            try:
                try:
                    # No loop from here on while a cancellation can arrive: the jump to a loop's beginning is where one
                    # arrives, and the compiler leaves some of these jumps out of the `try` that they are in (Python 3.11
                    # to 3.13).
                    self.inside = get_ident()
                    if self.cancellation is not None:
                        self.entered_cancelled()
                    data: Any = next(body, _END)
                    self.inside = 0
                    if self.cancellation is not None:
                        self.leave()
                except BaseException:
                    self.leave()
                    raise
            except BaseException as error:
                self.leave()  # again, as in `Ledger.__call__`
                self.failed(error)
                raise
            if data is _END:
                break
            self.size += len(data)
            yield data
        self.complete = True

    def close(self) -> None:
        """Close the body, which ends the request."""
        try:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()
        finally:
            self.end()

    def sent(self, size: int) -> None:
        """Note that the response is complete, and that `size` bytes of it were sent without iterating."""
        self.size += size
        self.complete = True

    def write(self, data: bytes) -> None:
        """Pass a part of the body on (PEP 3333, section on `write`)."""
        if self.written is None:
            raise AssertionError("write was called after the end of the request")
        self.size += len(data)
        with shielded():
            self.written(data)

    def record_error(self, error: BaseException) -> None:
        """Keep what is to be told of the error, for the end of the request; nothing refers to the error itself."""
        self.error = report_of(error)

    def failed(self, error: BaseException) -> None:
        """Record an exception that goes to the engine; if nothing was sent, it decides the response."""
        self.record_error(error)
        if self.cancellation is not None and isinstance(error, self.cancellation.kind):
            self.cancellation.left = True
        if not self.size:
            self.status = str(status_of(error))
            self.complete = True

    def routed(self) -> None:
        """Record the endpoint and rule that Flask has found, if there are any (its request_started).

        It is called for every request, so it does not use `flask.request`, which takes longer than all of the rest.
        """
        if self.row is not None and self.environ is not None:
            rule = getattr(self.environ.get("werkzeug.request"), "url_rule", None)
            if rule is not None:
                self.route = rule
                self.row.route(rule.endpoint, rule.rule)

    def end(self) -> None:
        """Count the request; further calls do nothing."""
        ledger, row = self.ledger, self.row
        self.ledger = self.row = None  # no call in between, so no other thread either
        if ledger is None or row is None or ledger.depth != forks.depth:
            return  # ended before, or in a child that the application forked: the request is its parent's
        now = monotonic()
        seconds = now - row.since
        slow = ledger.slow
        bad = self.error is not None or self.status >= "500"
        if (bad or seconds > slow.least or now >= slow.until) and not self.rejected:
            self._record(ledger, row, bad=bad, seconds=seconds, now=now)
        if self.environ is not None and ledger.log is not None:
            status = int(self.status[:3]) if self.status[:3].isdigit() else 500
            ledger.log(
                line_of(self.environ, status, size=self.size, seconds=seconds, request_id=self.request_id)
            )
        kind = _KIND.get(self.status[:1], _ABORTED) if self.complete else _ABORTED
        if ledger.count is not None:
            waited = queue_time.seconds
            if ledger.behind_proxies and self.environ is not None:
                # The proxy's time is earlier: it includes the time that the connection waited to be accepted.
                waited = since_proxy(self.environ, time() - seconds) or waited
            if self.rejected:
                ledger.count_rejected(waited)
            else:
                route = self.route
                endpoint, rule = (route.endpoint, route.rule) if route is not None else ("", "")
                ledger.count(endpoint, rule, kind, seconds, self.size, waited)
        row.owner = None
        row.end(kind)
        if self.cancellation is not None:
            self.cancellation.over.set()
        self.environ = self.respond = self.written = self.body = self.route = None
        ledger.on_end()

    def _record(self, ledger: Ledger, row: Row, *, bad: bool, seconds: float, now: float) -> None:
        """Record an error, or a request that took long."""
        request = row.snapshot(now)
        if request is None:
            return
        status = int(self.status[:3]) if self.status[:3].isdigit() else 500
        if bad:
            error = self.error
            kind = error.exception.rpartition(".")[2] if error is not None else ""
            ledger.table.record_error(f"{kind}: {error.message}" if error else self.status, request)
            ledger.errors.record(error, request, status)
        if seconds > ledger.slow.least or now >= ledger.slow.until:
            ledger.slow.record(request, status, seconds=seconds, now=now)
