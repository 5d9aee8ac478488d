"""Run a Flask application as a daemon that can be operated: `Server`, `run` (a drop-in for `app.run()`), and `command`."""

from flaskd.version import __version__

TYPE_CHECKING = False  # not from `typing`, which takes as long to import as a bare Python to start
if TYPE_CHECKING:
    from flaskd.app.extension import Extension, worker_stopping
    from flaskd.app_commands.registry import command
    from flaskd.embedded.drop_in import run
    from flaskd.embedded.server import Server
    from flaskd.http.cancelling import RequestCancelled

__all__ = ["Extension", "RequestCancelled", "Server", "__version__", "command", "run", "worker_stopping"]


def __getattr__(name: str) -> object:
    """Import what is asked for: the supervisor of `flaskd run` lives without Flask and Werkzeug."""
    if name == "Server":
        from flaskd.embedded.server import Server

        return Server
    if name == "run":
        from flaskd.embedded.drop_in import run

        return run
    if name == "command":
        from flaskd.app_commands.registry import command

        return command
    if name in {"Extension", "worker_stopping"}:
        from flaskd.app import extension

        return getattr(extension, name)
    if name == "RequestCancelled":
        from flaskd.http.cancelling import RequestCancelled

        return RequestCancelled
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
