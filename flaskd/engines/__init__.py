"""HTTP engines: the one small protocol that each implements, and where they are looked up by name.

An engine serves a WSGI application on listening sockets that it neither bound nor closes. How a stop loses nothing is decided
in front of it (`flaskd.drain`), so every engine gets it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

    from flaskd.tls import Tls

ENGINES: Final = ("werkzeug", "granian")
"""The names that `--engine` takes."""

RESERVE: Final = 64
"""Descriptors kept free of HTTP connections: libzmq aborts the process when it cannot accept (EMFILE)."""


class Activity(NamedTuple):
    """What an engine has open: `connections` in all, `busy` with a request whose head is complete."""

    connections: int
    busy: int


class Engine(Protocol):
    """Serves a WSGI application over HTTP in this process, on threads of its own."""

    name: str
    version: str
    keep_alive: bool
    """Whether a connection may carry a second request; if not, each response says `Connection: close` anyway."""

    tells: bool
    """Whether `on_change` is called; if not, whoever waits for connections to end looks at `activity` now and then."""

    def serve(
        self, app: "WSGIApplication", listeners: "Sequence[socket.socket]", *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept; returns when it does. `on_change` is called, on any thread, when a connection came or ended."""
        ...

    def activity(self) -> Activity:
        """Count what is open now."""
        ...

    def deafen(self) -> None:
        """Stop accepting without touching what is open; returns when no further connection will be accepted."""
        ...

    def reap(self, older_than: float) -> None:
        """Close connections that have waited for a complete request head for more than `older_than` seconds."""
        ...

    def stop(self) -> None:
        """Close what is idle and write out the rest; it is done when `activity` shows no connection."""
        ...

    def cut(self) -> int:
        """Close everything at once; returns how many connections had a request unanswered or a response unfinished."""
        ...


def make_engine(name: str, *, threads: int, head_timeout: float, backlog: int, tls: "Tls | None") -> Engine:
    """Make the engine called `name`, not yet serving; raises ConfigError where it is not installed, or not as needed."""
    if name == "werkzeug":
        from flaskd.engines.werkzeug_engine import WerkzeugEngine

        return WerkzeugEngine(threads=threads, head_timeout=head_timeout, tls=tls)
    if name == "granian":
        from flaskd.engines.granian_engine import GranianEngine

        return GranianEngine(threads=threads, head_timeout=head_timeout, backlog=backlog)
    raise ValueError(f"no engine is called {name!r}")


def check_engine(name: str) -> None:
    """Raise ConfigError where the engine called `name` is not installed, or not as needed; starts nothing."""
    if name == "granian":
        from flaskd.engines import granian_private

        granian_private.probe()
