"""What the application sees of the server: its extension, its exceptions noted, and the classic shutdown hook."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flaskd.channel.worker_end import Line
from flaskd.ledger.middleware import Ledger

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd")


def install_extension(app: Any, server: object) -> None:
    """Let a Flask application find its server: `app.extensions["flaskd"].shutdown()`. Other WSGI applications have none."""
    if isinstance(app, flask.Flask):
        app.extensions["flaskd"] = server


def watch_flask(ledger: Ledger) -> Callable[[], None]:
    """Note each request's endpoint and rule, and each exception that Flask turns into a 500; returns what ends it.

    Of all Flask applications in this process, since ours may stand behind middleware: the ledger knows its own requests.
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
    """Put `werkzeug.server.shutdown` into each request's environ, as Werkzeug did until 2.1; calling it calls `ask`."""

    def hooked(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ["werkzeug.server.shutdown"] = ask
        return app(environ, start_response)

    return hooked


def behind_proxies(app: "WSGIApplication", count: int) -> "WSGIApplication":
    """Believe the X-Forwarded-For, -Proto, -Host, -Port and -Prefix of `count` proxies in front (Werkzeug's ProxyFix)."""
    return ProxyFix(app, x_for=count, x_proto=count, x_host=count, x_port=count, x_prefix=count)


def warn_of_websockets(engine: str) -> None:
    """Say in the log that an application's WebSockets cannot be opened, where this engine has none.

    flask-sock and Flask-SocketIO open them with simple-websocket, which needs `werkzeug.socket` in a request's environ.
    """
    if engine != "werkzeug" and "simple_websocket" in sys.modules:
        log.warning(
            "the application has simple-websocket, and the %s engine has no WebSockets: use --engine werkzeug",
            engine,
        )


class Instance:
    """What a Flask application in a worker finds as `app.extensions["flaskd"]`: its instance, of which it is one worker."""

    def __init__(self, line: Line, *, name: str, worker: int, generation: int) -> None:
        self.name = name
        self.worker = worker
        self.generation = generation
        self._line = line

    def shutdown(
        self,
        *,
        grace: float | None = None,
        lame_duck: float | None = None,
        wait_unrouted: float | None = None,
    ) -> None:
        """Stop the whole instance without losing a request, this one's included; returns at once."""
        asked = {"grace": grace, "lame_duck": lame_duck, "wait_unrouted": wait_unrouted}
        self._line.tell({"event": "asked", "what": "shutdown", **asked})

    def drain(self) -> None:
        """Take the whole instance out of rotation; returns at once."""
        self._line.tell({"event": "asked", "what": "drain"})

    def resume(self) -> None:
        """Put it back into rotation; returns at once."""
        self._line.tell({"event": "asked", "what": "resume"})
