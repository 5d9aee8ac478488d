"""What flaskd adds to an application: its extension, signals that note routes and errors, middleware."""

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

import blinker
import flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flaskd.app.wrapped import find_flask
from flaskd.guard import log_failure
from flaskd.http.cancelling import current
from flaskd.ledger.middleware import Ledger

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd")


worker_stopping: Final = blinker.signal("flaskd-worker-stopping")
"""Sent once, when the process that serves an application begins to stop, with the application as sender.

Receivers run on a thread of their own; the stop does not wait for them.
"""


class Extension(Protocol):
    """What `app.extensions["flaskd"]` is: the instance that serves the application. It is missing if flaskd does not.

    `stopping` is set when this process begins to stop, because the instance stops or reloads, has fewer workers, or replaces
    this one. `drain` does not set it. Its `wait(seconds)` returns True as soon as it is set.
    """

    name: str
    stopping: threading.Event

    def shutdown(
        self,
        *,
        grace: float | None = None,
        lame_duck: float | None = None,
        wait_unrouted: float | None = None,
    ) -> object:
        """Stop the whole instance without losing a request. Seconds; None is the setting."""

    def drain(self) -> object:
        """Take the whole instance out of rotation."""

    def resume(self) -> object:
        """Put it back into rotation."""


def install_extension(app: object, server: Extension) -> None:
    """Make the server available to a Flask application, also behind middleware: `app.extensions["flaskd"].shutdown()`."""
    if (found := find_flask(app)) is not None:
        found.extensions["flaskd"] = server


def announce_stopping(app: object, server: Extension) -> None:
    """Set `stopping` and send `worker_stopping`, once. Returns at once: a receiver may take its time, or fail."""
    if server.stopping.is_set():
        return
    server.stopping.set()

    def send() -> None:
        with log_failure("tell the application that this worker is stopping"):
            worker_stopping.send(find_flask(app) or app)

    if worker_stopping.receivers:
        with log_failure("start a thread that tells the application that this worker is stopping"):
            threading.Thread(target=send, name="flaskd-stopping", daemon=True).start()


def watch_flask(ledger: Ledger) -> Callable[[], None]:
    """Record the endpoint and rule of each request, and each exception that Flask turns into a 500. Call the result to stop.

    This covers all Flask applications in the process, since ours may be behind middleware: the ledger knows its own requests.
    """
    _watching_routes.append(ledger)
    vars(flask.request_started)["send"] = _send_started

    def noted(sender: flask.Flask, exception: BaseException, **extra: Any) -> None:
        ledger.record_error(flask.request.environ, exception)

    flask.got_request_exception.connect(noted, weak=False)

    def ended() -> None:
        _watching_routes.remove(ledger)
        if not _watching_routes and vars(flask.request_started)["send"] is _send_started:
            del vars(flask.request_started)["send"]
        flask.got_request_exception.disconnect(noted)

    return ended


_watching_routes: Final[list[Ledger]] = []
"""The ledgers that record routes, one for each `watch_flask`."""


def _send_started(*sender: Any, **extra: Any) -> Any:
    """Record the route of this thread's request, then send Flask's `request_started` to its receivers, if there are any.

    It stands in the place of the signal's `send`. blinker takes five times as long to call a receiver.
    """
    request = current.request
    if request is not None and request.ledger in _watching_routes:
        request.routed()
    signal = flask.request_started
    return type(signal).send(signal, *sender, **extra) if signal.receivers else []


def with_shutdown_hook(app: "WSGIApplication", ask: Callable[[], None]) -> "WSGIApplication":
    """Add `werkzeug.server.shutdown` to each request's environ, as Werkzeug did until 2.1; it calls `ask`."""

    def hooked(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ["werkzeug.server.shutdown"] = ask
        return app(environ, start_response)

    return hooked


def behind_proxies(app: "WSGIApplication", count: int) -> "WSGIApplication":
    """Trust the X-Forwarded-For, -Proto, -Host, -Port and -Prefix headers of `count` proxies (Werkzeug's ProxyFix)."""
    return ProxyFix(app, x_for=count, x_proto=count, x_host=count, x_port=count, x_prefix=count)


def warn_of_websockets(engine: str) -> None:
    """Log a warning if the application uses WebSockets and this engine has none.

    flask-sock and Flask-SocketIO open them with simple-websocket, which needs `werkzeug.socket` in a request's environ.
    """
    if engine != "werkzeug" and "simple_websocket" in sys.modules:
        log.warning(
            "the application uses simple-websocket, but the %s engine has no WebSockets: use --engine werkzeug",
            engine,
        )
