"""The one small protocol that each HTTP engine implements.

An engine serves a WSGI application on listening sockets that it neither bound nor closes. How a stop loses nothing is decided
in front of it (`flaskd.shutdown.phases`), so every engine gets it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flaskd.engines.choice import MAX_HEAD

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

    from flaskd.http.late_answers import LateAnswers
    from flaskd.listening.tls import Tls


class Activity(NamedTuple):
    """What an engine has open: `connections` in all, `busy` with a request whose head is complete."""

    connections: int
    busy: int


class Engine(Protocol):
    """Serves a WSGI application over HTTP in this process, on threads of its own."""

    name: str
    version: str
    reports_changes: bool
    """Whether `on_change` is called; if not, whoever waits for connections to end looks at `activity` now and then."""

    def serve(
        self, app: "WSGIApplication", listeners: "Sequence[socket.socket]", *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept; returns when it does. `on_change` is called, on any thread, when a connection came or ended."""

    def activity(self) -> Activity:
        """Count what is open now."""

    def set_keepalive(self, *, enabled: bool) -> None:
        """Let each response say `Connection: close`, so that keep-alive clients leave by themselves, or no longer."""

    def stop_accepting(self) -> None:
        """Stop accepting without touching what is open; returns when no further connection will be accepted."""

    def close_idle(self, older_than: float) -> None:
        """Close connections that have waited for a complete request head for more than `older_than` seconds."""

    def stop(self) -> None:
        """Close what is idle and write out the rest; it is done when `activity` shows no connection."""

    def abort(self) -> int:
        """Close everything at once; returns how many connections had a request unanswered or a response unfinished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an engine is told; times are seconds, sizes bytes.

    `threads` is how many requests may be in the application at a time. A client has `head_timeout` for a request's head, and
    `body_timeout` and `write_timeout` for its body and for taking a response, as `bodies.Pace` counts. A larger head than
    `max_head` is answered 431, a larger body than `max_body` 413 (0: any). `spool` bounds what an engine stores of
    bodies that have not come whole, in all. `late` may answer requests in the application's place, with granian
    and waitress. `multiprocess`: other processes may serve the application at the same time.
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
    multiprocess: bool = False
