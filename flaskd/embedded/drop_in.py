"""`flaskd.run(app)`: a drop-in for `app.run()`."""

from typing import TYPE_CHECKING, Any

from flaskd.console import banner
from flaskd.embedded.server import Server
from flaskd.errors import ConfigError
from flaskd_ctl.protocol import ShutdownResult

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def run(
    app: "WSGIApplication",
    host: str | None = None,
    port: int | None = None,
    debug: bool | None = None,
    **settings: Any,
) -> ShutdownResult:
    """Serve `app` until stopped: a drop-in for `app.run(host, port)`, on 127.0.0.1:5000 by default.

    Prints where it serves. `debug` sets `app.debug`, as Flask's does; the reloader and the debugger are those of `flaskd dev`,
    and raise ConfigError here. Other keyword arguments are settings; `bind` stands for `host` and `port`.
    """
    if debug is not None and hasattr(app, "debug"):
        app.debug = bool(debug)
    for name in ("threaded", "load_dotenv"):  # what Flask.run takes and is so anyway
        settings.pop(name, None)
    if use_reloader := [name for name in ("use_reloader", "use_debugger") if settings.pop(name, False)]:
        raise ConfigError(
            f"flaskd.run has no {use_reloader[0]}", hint="for development, use `flaskd dev`, which has both"
        )
    if "bind" not in settings:
        shown = f"[{host}]" if host and ":" in host else host or "127.0.0.1"
        settings["bind"] = f"{shown}:{5000 if port is None else port}"
    elif host is not None or port is not None:
        raise ConfigError("flaskd.run has both bind and a host or port", hint="give bind, or host and port")
    server = Server(app, **settings)
    server.bus.subscribe(banner.announcer(server))
    result = server.serve()
    banner.farewell(server.name, result)
    return result
