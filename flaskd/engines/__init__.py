"""HTTP engines: the one small protocol that each implements, and where they are looked up by name.

An engine serves a WSGI application on listening sockets that it neither bound nor closes. How a stop loses nothing is decided
in front of it (`flaskd.drain`), so every engine gets it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from flaskd.engines.choice import Choice, choose

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

    from flaskd.engines.late_answers import LateAnswers
    from flaskd.tls import Tls

__all__ = [
    "ENGINES",
    "MAX_HEAD",
    "RESERVE",
    "Activity",
    "Choice",
    "Engine",
    "Options",
    "check_engine",
    "choose",
    "make_engine",
]

ENGINES: Final = ("auto", "waitress", "granian", "werkzeug")
"""The names that `--engine` takes; `choose` turns the first into one of the others."""

RESERVE: Final = 64
"""Descriptors kept free of HTTP connections: libzmq aborts the process when it cannot accept (EMFILE)."""

MAX_HEAD: Final = 65_536
"""Bytes of a request's head, if nothing else is said: what a line alone may have in Python's own HTTP."""


class Activity(NamedTuple):
    """What an engine has open: `connections` in all, `busy` with a request whose head is complete."""

    connections: int
    busy: int


class Engine(Protocol):
    """Serves a WSGI application over HTTP in this process, on threads of its own."""

    name: str
    version: str
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

    def say_close(self, *, closing: bool) -> None:
        """Let each response say `Connection: close`, so that keep-alive clients leave by themselves, or no longer."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an engine is told; times are seconds, sizes bytes.

    `threads` is how many requests may be in the application at a time. A client has `head_timeout` for a request's head, and
    `body_timeout` and `write_timeout` for its body and for taking a response, as `bodies.Pace` counts. A larger head than
    `max_head` is answered 431, a larger body than `max_body` 413 (0: any). `spool` bounds what an engine stores of
    bodies that have not come whole, in all. `late` may answer requests in the application's place, with granian only.
    """

    threads: int
    backlog: int = 2048
    head_timeout: float = 30.0
    body_timeout: float = 30.0
    write_timeout: float = 60.0
    max_head: int = MAX_HEAD
    max_body: int = 0
    spool: int = 1 << 30
    tls: "Tls | None" = None
    late: "LateAnswers | None" = None


def make_engine(name: str, options: Options) -> Engine:
    """Make the engine called `name`, not yet serving; raises ConfigError where it is not installed, or not as needed."""
    if name == "waitress":
        from flaskd.engines.waitress_engine import WaitressEngine

        return WaitressEngine(options)
    if name == "werkzeug":
        from flaskd.engines.werkzeug_engine import WerkzeugEngine

        return WerkzeugEngine(options)
    if name == "granian":
        from flaskd.engines.granian_engine import GranianEngine

        return GranianEngine(options)
    raise ValueError(f"no engine is called {name!r}")


def check_engine(name: str, *, tls: "Tls | None") -> None:
    """Raise ConfigError where the engine called `name` could not be made; starts nothing."""
    if name == "waitress":
        from flaskd.engines import waitress_private

        waitress_private.probe()
    if name == "granian":
        from flaskd.engines import certificate, granian_private

        granian_private.probe()
        if tls is not None:
            certificate.check_certificate(tls.certificate)
