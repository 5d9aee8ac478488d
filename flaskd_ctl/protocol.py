"""The wire: JSON-RPC 2.0 requests, results and notifications as frozen structs; decoding is validation.

One object a message, UTF-8, at most `MAX_MESSAGE` bytes. Times of day are Unix time in seconds, durations are seconds.
Params refuse unknown fields. Results may gain fields in a later minor version; readers ignore unknown ones. The commands are in
`commands.COMMANDS`; `PARAMS` and `RESULTS` have their types under the same names.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

MAX_MESSAGE: Final = 1024 * 1024
"""Longest message in bytes, in both directions."""

MAX_ID: Final = 1000
"""Longest id that is a string, in characters: each reply repeats it."""

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
    """How long requests may take to finish. None: the setting of the daemon."""

    grace: Seconds | None = None
    lame_duck: Seconds | None = None
    wait_unrouted: Seconds | None = None
    progress: bool = False


class ReloadParams(Params, frozen=True, forbid_unknown_fields=True):
    """`check`: a path that each new worker must answer, in its own process, before it accepts connections."""

    check: Path | None = None
    progress: bool = False


class ScaleParams(Params, frozen=True, forbid_unknown_fields=True):
    """The number of workers (`to`), or how many to add or remove (`by`, not 0): exactly one of the two."""

    to: Positive | None = None
    by: int | None = None
    progress: bool = False


class RestartParams(Params, frozen=True, forbid_unknown_fields=True):
    """The id of the worker to replace."""

    worker: Positive
    progress: bool = False


class IncidentsParams(Params, frozen=True, forbid_unknown_fields=True):
    """The incident to show in full; None lists all."""

    id: Positive | None = None


class HistoryParams(Params, frozen=True, forbid_unknown_fields=True):
    """The number of entries to show, the newest ones."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class Actor(msgspec.Struct, frozen=True):
    """Who asked, from the kernel (SO_PEERCRED), or how else the command came (`via`: control, signal, code, http).

    `key` is the name of the CURVE key of a caller from the network, which has no uid.
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
    """One command that changes something, allowed or refused.

    `at` is when it came, `id` is the same in all its lines of the audit log. `params` holds the given parameters, with
    secrets as "***". `who` is the command line of the process that asked (as it shows itself), or the name of its key; `user`
    the name of its uid. `role` is the caller's, "" if none is needed (a signal, the application). `outcome`: "begun", "done",
    "failed" or "refused"; `error` has the sentence of the last two. `took`: seconds until the outcome.
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

    `path` has no query string; `age` is seconds; `request_id` is its X-Request-ID, received or generated. `worker` is the id of
    its worker, 0 if the instance is one process.
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
    """The newest exception that left the application, or response of 500 or above."""

    at: float
    message: str
    request: str
    request_id: str = ""


class WorkerInfo(msgspec.Struct, frozen=True):
    """One worker process. Ids are never used again.

    `state` is "starting", "serving" or "leaving" (it finishes its requests and accepts nothing new), `since` the time of the
    last change. `age` is seconds since its start. `generation` counts reloads. Unknown values are null: `in_flight` without
    the ledger of requests, `rss` and `pss` (bytes of memory; pss divides shared memory among its processes) of a process that
    has ended. `why` is why it was started: "start", "scale", "reload", "restart", "crash: killed by SIGKILL", "max requests",
    ...
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
    """The newest worker that exited unexpectedly or could not start; `traceback` is the application's, or ""."""

    at: float
    worker: int
    pid: int
    reason: str
    traceback: str = ""


class PingResult(msgspec.Struct, frozen=True):
    """The daemon responds."""

    name: str
    pid: int
    state: str
    protocol: str


class StatusResult(msgspec.Struct, frozen=True):
    """The state of an instance at a glance.

    `state` is one of the lifecycle, or "degraded": workers keep failing, fewer serve than are wanted, and `last_failure` says
    why. `in_flight` is null if the ledger of requests is off. `served` counts finished requests by status class ("1xx" to
    "5xx"; "aborted": the client disconnected, or the application raised after its first byte). `connections` counts open HTTP
    connections, with or without a request. `deadline_left` is set while stopping. `requested_by` and `requested_at` say who
    asked for the current state, and when; `last_stop` says how the previous run ended. `engine_why` says why this engine was
    chosen. An instance that is one process has no `workers`, and `wanted_workers` is 0. `generation` counts reloads,
    `restarts` the workers that exited unexpectedly. `versions` are those that run. `installed_flaskd` is the version of flaskd
    on disk, null if it cannot be read; if it is another one, the instance needs a restart.
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
    """The state after `drain` or `resume`; `changed` is false if it was so before."""

    state: str
    since: float
    ready: bool
    changed: bool


class ReloadResult(msgspec.Struct, frozen=True):
    """New workers serve; the old ones accept nothing more and exit when they have finished their requests.

    `generation` is the new one, `replaced` counts the old workers, `workers` the ones that serve. `took`: seconds. `joined`:
    another reload was waiting or in progress, and this one joined it. `changed` names the settings that have a new value,
    `needs_restart` those of them that take effect only after a restart of the daemon.
    """

    generation: int
    replaced: int
    workers: int
    took: float
    joined: bool
    changed: list[str]
    needs_restart: list[str]


class ScaleResult(msgspec.Struct, frozen=True):
    """`workers` serve; `was` is the number wanted before. `took`: seconds."""

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
    """A worker that failed; `kind` is "hung", "crash" or "start failed".

    `requests` are its requests at that time, `unnamed` counts further connections that were lost. `stacks` (of all threads,
    taken before a hung worker was killed) and `traceback` are there only if you ask for one incident by its id.
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
    """The incidents that are kept, newest last; or the one asked for, in full."""

    incidents: list[Incident]


class ShutdownResult(msgspec.Struct, frozen=True):
    """The outcome of a shutdown.

    `clean`: nothing was cut. `cut`: requests that were still in flight at the deadline; `connections_cut`: connections closed
    with a request unanswered or a response unfinished, including those of `cut`; `queued_cut`: connections in the accept
    queue at the deadline. `answered`: requests finished since the shutdown began. `took`: seconds until nothing was left.
    `joined`: another shutdown was already in progress. `process_exits`: the process `pid` exits next (false for a Server
    inside a program). `workers_lost`: workers that died during the stop; their requests are in `cut` as far as they are
    known.
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
    """The end has begun; this is sent before anything is closed."""

    pid: int
    process_exits: bool


class RequestsResult(msgspec.Struct, frozen=True):
    """Requests in flight, oldest first."""

    requests: list[InFlight]


class HistoryResult(msgspec.Struct, frozen=True):
    """The newest entries of the audit log, newest last."""

    entries: list[AuditEntry]


class EventsResult(msgspec.Struct, frozen=True):
    """The subscription has begun; `event` notifications follow until the connection closes."""

    state: str
    since: float


class StateEvent(msgspec.Struct, frozen=True, tag_field="event", tag="state"):
    """The lifecycle has changed. Nothing follows `stopped`."""

    at: float
    was: str
    state: str
    by: Actor | None = None


class ProgressEvent(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """The progress of a shutdown; `slowest` is the oldest request in flight."""

    at: float
    phase: str
    in_flight: int
    connections: int
    deadline_left: float
    slowest: InFlight | None = None


class CutEvent(msgspec.Struct, frozen=True, tag_field="event", tag="cut"):
    """A request was still in flight at the deadline, and its connection was closed."""

    at: float
    request: InFlight


class WorkerEvent(msgspec.Struct, frozen=True, tag_field="event", tag="worker"):
    """A worker is "starting", "serving", "leaving" or "gone"; `why` says why it was started, or why it left."""

    at: float
    worker: int
    pid: int
    state: str
    generation: int
    why: str


class IncidentEvent(msgspec.Struct, frozen=True, tag_field="event", tag="incident"):
    """A worker has failed; `incidents` with its id has the stacks and the traceback."""

    at: float
    incident: Incident


class SlowEvent(msgspec.Struct, frozen=True, tag_field="event", tag="slow"):
    """A request has taken longer than the `limit` of seconds for requests."""

    at: float
    request: InFlight
    limit: float


class LostEvent(msgspec.Struct, frozen=True, tag_field="event", tag="lost"):
    """This subscriber reads too slowly: `count` events were dropped here."""

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
