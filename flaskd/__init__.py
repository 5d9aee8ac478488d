"""Run a Flask application as a daemon that can be operated: `Server`, and `run`, a drop-in for `app.run()`."""

from typing import TYPE_CHECKING, Any

from flaskd.version import __version__

if TYPE_CHECKING:
    from flaskd.embedded.drop_in import run
    from flaskd.embedded.server import Server

__all__ = ["Server", "__version__", "run"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: the supervisor of `flaskd run` lives without Flask and Werkzeug."""
    if name == "Server":
        from flaskd.embedded.server import Server

        return Server
    if name == "run":
        from flaskd.embedded.drop_in import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
