"""The wire: JSON-RPC 2.0 requests, results and notifications as frozen structs; decoding is validation.

One object a message, UTF-8, at most `MAX_MESSAGE` bytes. Times of day are Unix time in seconds, durations are seconds.
Params refuse unknown fields; results may gain fields in a later minor version, and readers ignore those they do not know.
The commands themselves are in `commands.COMMANDS`; `PARAMS` and `RESULTS` here give the shapes under the same names.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

MAX_MESSAGE: Final = 1024 * 1024
"""Longest message in bytes, either way."""

MAX_ID: Final = 1000
"""Characters of an id that is a text: each reply repeats it."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400, description="seconds, at most a day")]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Path = Annotated[str, msgspec.Meta(pattern="^/", description="a path, with or without a query")]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call. Without `id` it is a notification: carried out, not answered (JSON-RPC 2.0, section 4.1)."""

    jsonrpc: Literal["2.0"]
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    id: int | Annotated[str, msgspec.Meta(max_length=MAX_ID)] | msgspec.UnsetType | None = msgspec.UNSET


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class ShutdownParams(Params, frozen=True, forbid_unknown_fields=True):
    """How long requests may take to finish. What is None is the daemon's own setting."""

    grace: Seconds | None = None
    lame_duck: Seconds | None = None
    wait_unrouted: Seconds | None = None
    progress: bool = False


class ReloadParams(Params, frozen=True, forbid_unknown_fields=True):
    """Which path each new worker must answer, in its own process, before it accepts anything."""

    check: Path | None = None
    progress: bool = False


class ScaleParams(Params, frozen=True, forbid_unknown_fields=True):
    """How many workers there shall be (`to`), or how many more or fewer (`by`, not 0): exactly one of the two."""

    to: Positive | None = None
    by: int | None = None
    progress: bool = False


class RestartParams(Params, frozen=True, forbid_unknown_fields=True):
    """Which worker is to be replaced, by its id."""

    worker: Positive
    progress: bool = False


class IncidentsParams(Params, frozen=True, forbid_unknown_fields=True):
    """Which incident to show in full; None lists all."""

    id: Positive | None = None


class HistoryParams(Params, frozen=True, forbid_unknown_fields=True):
    """How many of the newest entries to show."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class Actor(msgspec.Struct, frozen=True):
    """Who asked, as the kernel told it (SO_PEERCRED), or how else it came (`via`: control, signal, code, http).

    `key` is the name of the CURVE key of a caller that came over the network: it has no uid.
    """

    via: str
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    detail: str = ""
    key: str = ""


class LastStop(msgspec.Struct, frozen=True):
    """How an instance last ended.

    `clean`: nothing was cut. `why`: "shutdown command", "kill command", "signal SIGTERM", "application", "program", "could not
    start: ...", "failed: ..."; or "ended without a note" (kill -9, or the machine went down), with `at` unknown. `who` is the
    command line of the process that asked, or the name of its key. `took`: seconds.
    """

    at: float | None
    clean: bool
    why: str
    by: Actor | None = None
    who: str = ""
    took: float | None = None
    pid: int | None = None


class AuditEntry(msgspec.Struct, frozen=True):
    """One order to change something, allowed or refused.

    `at` is when it came, `id` the same in every line that the audit log has of it. `params` holds those that were given, secret
    parts as "***". `who` is the command line of the process that asked (as that shows itself), or the name of its key; `user`
    the name of its uid. `role`: that of the caller, "" where none is needed (a signal, the application). `outcome`: "begun",
    "done", "failed" or "refused", for these two with the sentence in `error`. `took`: seconds until the outcome.
    """

    id: str
    at: float
    command: str
    params: dict[str, Any]
    by: Actor
    who: str
    role: str
    outcome: str
    error: str = ""
    took: float | None = None
    user: str = ""


class InFlight(msgspec.Struct, frozen=True):
    """A request that the application has begun and not finished.

    `path` has no query string; `age` is seconds; `request_id` is the X-Request-ID that it came with, or was given. `worker` is
    the id of the worker that has it, 0 where the instance is one process.
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
    worker: int = 0


class LastError(msgspec.Struct, frozen=True):
    """The newest exception that left the application, or 500 or above that it answered."""

    at: float
    message: str
    request: str
    request_id: str = ""


class WorkerInfo(msgspec.Struct, frozen=True):
    """One worker process. Ids are given once and never used again.

    `state` is "starting", "serving" or "leaving" (it answers what it has and accepts nothing new), `since` when it came to be
    so. `age` is seconds since its start. `generation` counts reloads. What cannot be known is null: `in_flight` without the
    ledger of requests, `rss` and `pss` (bytes of memory; pss shares out what processes share) of a process that is gone.
    `why` is why it was started: "start", "scale", "reload", "restart", "crash: killed by SIGKILL", "max requests", ...
    """

    id: int
    pid: int
    state: str
    since: float
    age: float
    generation: int
    in_flight: int | None
    connections: int | None
    served: dict[str, int]
    rss: int | None
    pss: int | None
    why: str


class WorkerFailure(msgspec.Struct, frozen=True):
    """The newest worker that ended unasked or could not start; `traceback` is the application's, "" where there is none."""

    at: float
    worker: int
    pid: int
    reason: str
    traceback: str = ""


class PingResult(msgspec.Struct, frozen=True):
    """The daemon answers."""

    name: str
    pid: int
    state: str
    protocol: str


class StatusResult(msgspec.Struct, frozen=True):
    """What an operator wants to know at a glance.

    `state` is one of the lifecycle, or "degraded": workers fail again and again, so that fewer serve than are wanted, and
    `last_failure` tells why. `in_flight` is null where the ledger of requests is off. `served` counts finished requests by
    status class ("1xx" to "5xx"; "aborted": the client went away or the application raised after its first byte).
    `connections` counts open HTTP connections, with or without a request. `deadline_left` is set while stopping.
    `requested_by` and `requested_at` tell who asked for the current state, and when; `last_stop` how the run before ended.
    `engine_why` tells why it is this engine. `versions` has what runs, `installed_flaskd` the version of flaskd that is on disk
    now: null where it cannot be read. If the two differ, flaskd was replaced, and the instance needs a restart.
    An instance that is one process has no `workers` and wants none; in others `generation` counts reloads and `restarts` the
    workers that ended unasked.
    """

    name: str
    state: str
    since: float
    uptime: float
    pid: int
    app: str
    ready: bool
    in_flight: int | None
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
    workers: list[WorkerInfo] = []
    wanted_workers: int = 0
    generation: int = 0
    restarts: int = 0
    engine_why: str = ""
    last_failure: WorkerFailure | None = None
    last_stop: LastStop | None = None
    installed_flaskd: str | None = None


class StateResult(msgspec.Struct, frozen=True):
    """The state after `drain` or `resume`; `changed` is false where it already was so."""

    state: str
    since: float
    ready: bool
    changed: bool


class ReloadResult(msgspec.Struct, frozen=True):
    """New workers serve; the old ones accept nothing more and end when they have answered what they have begun.

    `generation` is the new one, `replaced` counts the old workers, `workers` those that serve. `took`: seconds. `joined`:
    a reload was already waiting or under way and this one shared it. `changed` names the settings that were read anew with
    another value, `needs_restart` those of them that hold only after a restart of the daemon.
    """

    generation: int
    replaced: int
    workers: int
    took: float
    joined: bool
    changed: list[str]
    needs_restart: list[str]


class ScaleResult(msgspec.Struct, frozen=True):
    """So many `workers` serve; there `was` another number wanted before, or the same. `took`: seconds."""

    workers: int
    was: int
    took: float


class RestartResult(msgspec.Struct, frozen=True):
    """The new `worker` serves and the `replaced` one accepts nothing more (ids). `took`: seconds."""

    worker: int
    replaced: int
    took: float


class WorkersResult(msgspec.Struct, frozen=True):
    """The workers, oldest first."""

    workers: list[WorkerInfo]


class Incident(msgspec.Struct, frozen=True):
    """What was seen of a worker that went wrong; `kind` is "hung", "crash" or "start failed".

    `requests` are those that were in the application then, `unnamed` counts the connections lost beyond them. `stacks` (of all
    threads, taken before a hung worker was killed) and `traceback` are told only where one incident is asked for by its id.
    """

    id: int
    at: float
    kind: str
    worker: int
    pid: int
    reason: str
    requests: list[InFlight]
    unnamed: int
    stacks: str = ""
    traceback: str = ""


class IncidentsResult(msgspec.Struct, frozen=True):
    """The incidents that are kept, newest last; the one that was asked for, in full."""

    incidents: list[Incident]


class ShutdownResult(msgspec.Struct, frozen=True):
    """How a shutdown went.

    `clean`: nothing was cut. `cut`: requests that outlived the deadline; `connections_cut`: connections closed with a request
    unanswered or a response unfinished, those of `cut` included; `queued_cut`: connections still in the accept queue at the
    deadline. `answered`: requests finished since the shutdown began. `took`: seconds until nothing was left. `joined`: another
    shutdown was already under way. `process_exits`: the process `pid` ends next (false for a Server inside a program).
    `workers_lost`: workers that died in the stop; what they had is in `cut` as far as it is known.
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
    workers_lost: int = 0


class KillResult(msgspec.Struct, frozen=True):
    """The end has begun; it is sent before anything is closed."""

    pid: int
    process_exits: bool


class RequestsResult(msgspec.Struct, frozen=True):
    """Requests in flight, oldest first."""

    requests: list[InFlight]


class HistoryResult(msgspec.Struct, frozen=True):
    """The newest orders of the audit log, newest last."""

    entries: list[AuditEntry]


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


class WorkerEvent(msgspec.Struct, frozen=True, tag_field="event", tag="worker"):
    """A worker is "starting", "serving", "leaving" or "gone"; `why` tells why it came, or why it left."""

    at: float
    worker: int
    pid: int
    state: str
    generation: int
    why: str


class IncidentEvent(msgspec.Struct, frozen=True, tag_field="event", tag="incident"):
    """A worker went wrong; `incidents` with its id has the stacks and the traceback."""

    at: float
    incident: Incident


class SlowEvent(msgspec.Struct, frozen=True, tag_field="event", tag="slow"):
    """A request takes longer than the `limit` of seconds that is set for requests."""

    at: float
    request: InFlight
    limit: float


class LostEvent(msgspec.Struct, frozen=True, tag_field="event", tag="lost"):
    """This subscriber read too slowly: `count` events were dropped here."""

    at: float
    count: int


Event = StateEvent | ProgressEvent | CutEvent | WorkerEvent | IncidentEvent | SlowEvent | LostEvent


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
    "reload": ReloadParams,
    "scale": ScaleParams,
    "restart_worker": RestartParams,
    "shutdown": ShutdownParams,
    "kill": Params,
    "workers": Params,
    "requests": Params,
    "incidents": IncidentsParams,
    "history": HistoryParams,
    "events": Params,
}

RESULTS: Final[dict[str, Any]] = {
    "ping": PingResult,
    "status": StatusResult,
    "describe": dict[str, Any],
    "drain": StateResult,
    "resume": StateResult,
    "reload": ReloadResult,
    "scale": ScaleResult,
    "restart_worker": RestartResult,
    "shutdown": ShutdownResult,
    "kill": KillResult,
    "workers": WorkersResult,
    "requests": RequestsResult,
    "incidents": IncidentsResult,
    "history": HistoryResult,
    "events": EventsResult,
}
