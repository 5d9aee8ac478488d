"""What flaskd adds to an application: its extension, signals that note routes and errors, middleware."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flaskd.ledger.middleware import Ledger

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd")


def install_extension(app: Any, server: object) -> None:
    """Make the server available to a Flask application: `app.extensions["flaskd"].shutdown()`."""
    if isinstance(app, flask.Flask):
        app.extensions["flaskd"] = server


def watch_flask(ledger: Ledger) -> Callable[[], None]:
    """Record the endpoint and rule of each request, and each exception that Flask turns into a 500. Call the result to stop.

    This covers all Flask applications in the process, since ours may be behind middleware: the ledger knows its own requests.
    """

    def routed(sender: flask.Flask, **extra: Any) -> None:
        ledger.routed()

    def noted(sender: flask.Flask, exception: BaseException, **extra: Any) -> None:
        ledger.record_error(flask.request.environ, exception)

    flask.request_started.connect(routed, weak=False)
    flask.got_request_exception.connect(noted, weak=False)

    def ended() -> None:
        flask.request_started.disconnect(routed)
        flask.got_request_exception.disconnect(noted)

    return ended


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
