"""The wire: JSON-RPC 2.0 requests, results and notifications as frozen structs; decoding is validation.

One object a message, UTF-8, at most `MAX_MESSAGE` bytes. Times of day are Unix time in seconds, durations are seconds.
Params refuse unknown fields; results may gain fields in a later minor version, and readers ignore those they do not know.
The commands themselves are in `commands.COMMANDS`; `PARAMS` and `RESULTS` here give the shapes under the same names.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

MAX_MESSAGE: Final = 1024 * 1024
"""Longest message in bytes, either way."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400, description="seconds, at most a day")]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call. Without `id` it is a notification: carried out, not answered (JSON-RPC 2.0, section 4.1)."""

    jsonrpc: Literal["2.0"]
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class ShutdownParams(Params, frozen=True, forbid_unknown_fields=True):
    """How long requests may take to finish. `grace` None is the daemon's own setting."""

    grace: Seconds | None = None
    lame_duck: Seconds = 0.0
    progress: bool = False


class Actor(msgspec.Struct, frozen=True):
    """Who asked, as the kernel told it (SO_PEERCRED), or how else it came (`via`: control, signal, code, http)."""

    via: str
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    detail: str = ""


class InFlight(msgspec.Struct, frozen=True):
    """A request that the application has begun and not finished.

    `path` has no query string; `age` is seconds; `request_id` is the X-Request-ID that it came with, or was given.
    """

    id: int
    method: str
    path: str
    age: float
    client: str
    thread: str
    endpoint: str | None = None
    rule: str | None = None
    request_id: str = ""


class LastError(msgspec.Struct, frozen=True):
    """The newest exception that left the application, or 500 or above that it answered."""

    at: float
    message: str
    request: str
    request_id: str = ""


class PingResult(msgspec.Struct, frozen=True):
    """The daemon answers."""

    name: str
    pid: int
    state: str
    protocol: str


class StatusResult(msgspec.Struct, frozen=True):
    """What an operator wants to know at a glance.

    `served` counts finished requests by status class ("1xx" to "5xx"; "aborted": the client went away or the application
    raised after its first byte). `connections` counts open HTTP connections, with or without a request. `deadline_left` is
    set while stopping. `requested_by` and `requested_at` tell who asked for the current state, and when.
    """

    name: str
    state: str
    since: float
    uptime: float
    pid: int
    app: str
    ready: bool
    in_flight: int
    connections: int
    served: dict[str, int]
    engine: str
    threads: int
    versions: dict[str, str]
    listeners: list[str]
    endpoints: list[str]
    process_exits: bool
    requested_by: Actor | None = None
    requested_at: float | None = None
    phase: str | None = None
    deadline_left: float | None = None
    last_error: LastError | None = None


class StateResult(msgspec.Struct, frozen=True):
    """The state after `drain` or `resume`; `changed` is false where it already was so."""

    state: str
    since: float
    ready: bool
    changed: bool


class ShutdownResult(msgspec.Struct, frozen=True):
    """How a shutdown went.

    `clean`: nothing was cut. `cut`: requests that outlived the deadline; `connections_cut`: connections closed with a request
    unanswered or a response unfinished, those of `cut` included; `queued_cut`: connections still in the accept queue at the
    deadline. `answered`: requests finished since the shutdown began. `took`: seconds until nothing was left. `joined`: another
    shutdown was already under way. `process_exits`: the process `pid` ends next (false for a Server inside a program).
    """

    clean: bool
    cut: list[InFlight]
    connections_cut: int
    queued_cut: int
    answered: int
    took: float
    grace: float
    joined: bool
    pid: int
    process_exits: bool


class KillResult(msgspec.Struct, frozen=True):
    """The end has begun; it is sent before anything is closed."""

    pid: int
    process_exits: bool


class RequestsResult(msgspec.Struct, frozen=True):
    """Requests in flight, oldest first."""

    requests: list[InFlight]


class EventsResult(msgspec.Struct, frozen=True):
    """The subscription has begun; `event` notifications follow until the connection closes."""

    state: str
    since: float


class StateEvent(msgspec.Struct, frozen=True, tag_field="event", tag="state"):
    """The lifecycle moved. After `stopped` nothing more comes."""

    at: float
    was: str
    state: str
    by: Actor | None = None


class ProgressEvent(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """How far a shutdown is; `slowest` is the oldest request in flight."""

    at: float
    phase: str
    in_flight: int
    connections: int
    deadline_left: float
    slowest: InFlight | None = None


class CutEvent(msgspec.Struct, frozen=True, tag_field="event", tag="cut"):
    """A request outlived the deadline and its connection was closed."""

    at: float
    request: InFlight


class LostEvent(msgspec.Struct, frozen=True, tag_field="event", tag="lost"):
    """This subscriber read too slowly: `count` events were dropped here."""

    at: float
    count: int


Event = StateEvent | ProgressEvent | CutEvent | LostEvent


class EventNote(msgspec.Struct, frozen=True):
    """Params of the notifications `event` and `progress`: `id` is that of the call they belong to."""

    id: int | str | None
    event: Event


PARAMS: Final[dict[str, type[Params]]] = {
    "ping": Params,
    "status": Params,
    "describe": Params,
    "drain": Params,
    "resume": Params,
    "shutdown": ShutdownParams,
    "kill": Params,
    "requests": Params,
    "events": Params,
}

RESULTS: Final[dict[str, Any]] = {
    "ping": PingResult,
    "status": StatusResult,
    "describe": dict[str, Any],
    "drain": StateResult,
    "resume": StateResult,
    "shutdown": ShutdownResult,
    "kill": KillResult,
    "requests": RequestsResult,
    "events": EventsResult,
}
