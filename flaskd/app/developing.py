"""What `flaskd dev` does to an application: debug mode and Werkzeug's debugger, or an application that shows why none loads."""

import contextlib
import logging
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import flask
from flask.helpers import get_debug_flag
from werkzeug.debug import DebuggedApplication

from flaskd.app.wrapped import find_flask
from flaskd.listening.addresses import parse
from flaskd.settings.schema import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ANYWHERE: Final = {"0.0.0.0", "::"}

log = logging.getLogger("flaskd")


def developed(app: "WSGIApplication", settings: Settings, *, announce: bool) -> "WSGIApplication":
    """Return the application in the debug mode that FLASK_DEBUG says, with the debugger if it is on.

    The debugger keeps the frames of tracebacks in this process. It answers only requests for a host that is this machine,
    or with --dev-public one of its addresses: a page of another site must not reach it under a name of its own (DNS
    rebinding). `announce` logs its PIN.
    """
    debug = get_debug_flag()
    if (found := find_flask(app)) is not None:
        found.debug = debug  # as `flask` does, whatever the application has set
    if not debug:
        return app
    debugger = DebuggedApplication(app, evalex=True, pin_logging=False)
    debugger.trusted_hosts += ["::1", "[::1]"]
    if settings.dev_public:
        debugger.trusted_hosts += _own_hosts(settings.bind)
    if announce:
        log.info("debugger PIN: %s", debugger.pin or "off (WERKZEUG_DEBUG_PIN)")
    return debugger


def failing(error: BaseException) -> "WSGIApplication":
    """Return an application that raises what kept the right one from being loaded."""
    trace = error.__traceback__

    def fail(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        raise error.with_traceback(trace)  # without the frames of the requests before

    # A Flask application, so that the debugger's PIN is the same as with the right one.
    app = flask.Flask("flaskd")
    app.wsgi_app = fail  # type: ignore[method-assign]  # as Flask documents it
    return app


def _own_hosts(bind: Iterable[str]) -> list[str]:
    """Return the names and addresses under which other hosts reach this one."""
    hosts = {parsed[0] for address in bind if not isinstance(parsed := parse(address), str)}
    if hosts & ANYWHERE:
        name = socket.gethostname()
        hosts |= {name, f"{name}.local", socket.getfqdn()}
        with contextlib.suppress(OSError):  # it has no address under its own name
            hosts |= {str(address[0]) for *_, address in socket.getaddrinfo(name, None)}
    return [f"[{host}]" if ":" in host else host for host in hosts - ANYWHERE]
