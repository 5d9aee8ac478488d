"""The protocol that each HTTP engine implements.

An engine serves a WSGI application on listening sockets, which it neither binds nor closes. The steps of a stop that loses no
request are decided outside (`flaskd.shutdown.phases`), so they are the same for every engine.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from flaskd.engines.choice import MAX_HEAD
from flaskd.http.queue_time import Waiting

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

    from flaskd.engines.shared.load_share import LoadShare
    from flaskd.http.late_answers import LateAnswers
    from flaskd.listening.tls import Tls


def _ignore(change: int) -> None:
    pass


class Activity(NamedTuple):
    """The connections that an engine has open, and how many of them are `busy`: the head of a request is complete."""

    connections: int
    busy: int


class LiveOptions(NamedTuple):
    """The options that may change while an engine serves (see `Options`)."""

    threads: int
    head_timeout: float
    body_timeout: float
    write_timeout: float
    max_head: int
    max_queue_time: float


class Engine(Protocol):
    """Serves a WSGI application over HTTP in this process, on its own threads."""

    name: str
    version: str
    reports_changes: bool
    """Whether the engine calls `on_change`; if not, `activity` has to be polled."""

    def serve(
        self, app: "WSGIApplication", listeners: "Sequence[socket.socket]", *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept, and return then. The engine calls `on_change`, on any thread, when a connection comes or ends."""

    def change_options(self, options: LiveOptions) -> None:
        """Use other options from the next request or connection on; an option that the engine cannot change stays.

        With fewer `threads`, those that are busy finish their requests first.
        """

    def activity(self) -> Activity:
        """Count open connections."""

    def set_keepalive(self, *, enabled: bool) -> None:
        """Keep connections open after a response, or send `Connection: close` with each, so that clients leave."""

    def stop_accepting(self) -> None:
        """Stop accepting, and return when no further connection will be accepted. Open connections are not touched."""

    def close_idle(self, older_than: float) -> None:
        """Close connections that have waited for a complete request head for more than `older_than` seconds."""

    def stop(self) -> None:
        """Close idle connections, and the others after their responses; it is done when `activity` shows no connection."""

    def abort(self) -> int:
        """Close all connections at once; returns how many had an unanswered request or an unfinished response."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's options; times in seconds, sizes in bytes.

    `threads`: how many requests may be in the application at a time. `head_timeout`: for a request's head. `body_timeout` and
    `write_timeout`: for sending its body and for taking the response (see `MinRateTimeout`). `max_head`: a larger head is
    answered 431. `max_body`: a larger body is answered 413; 0: no limit. `spool`: bound for all stored bodies together. `late`:
    answers requests in the application's place, with granian and waitress. `multiprocess`: other processes may serve the
    application at the same time. `waiting` is told of requests that wait for a free thread. `max_queue_time`: a request that
    waits as long for one is handed over all the same, marked as expired (see `http.queue_time`), on one more thread; 0: none.
    `load_share` keeps the load of these processes even.
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
    waiting: Waiting = _ignore
    max_queue_time: float = 0.0
    load_share: "LoadShare | None" = None
