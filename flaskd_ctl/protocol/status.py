"""What an instance, its workers and its requests look like."""

import msgspec

from flaskd_ctl.protocol.audit import Actor, LastStop
from flaskd_ctl.protocol.wire import Params, Positive


class IncidentsParams(Params, frozen=True, forbid_unknown_fields=True):
    """The incident to show in full; None lists all."""

    id: Positive | None = None


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
    last change. `pid` is 0 while its template loads the application. `age` is seconds since its start. `generation` counts
    reloads. Unknown values are null: `in_flight` without the ledger of requests, `rss` and `pss` (bytes of memory; pss divides
    shared memory among its processes) of a process that has ended. `why` is why it was started: "start", "scale", "reload",
    "restart", "crash: killed by SIGKILL", "max requests", ...
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


class TemplateInfo(msgspec.Struct, frozen=True):
    """A process that workers are forked from (--preload); `state` is "loading" or "ready". See `WorkerInfo`."""

    pid: int
    state: str
    since: float
    age: float
    generation: int
    rss: int | None
    pss: int | None


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


class Scaling(msgspec.Struct, frozen=True):
    """Where the number of workers comes from.

    `setting` is the value of `workers`: "4", "auto" or "2..8"; the number lies between `minimum` and `maximum`. `why` explains
    it, `since` is when it last changed by itself, null if it has not. `limited` says why there are not more workers although
    the load needs them. `scaled` is the number that `scale` has set, null if it has not; `until` is when that ends, null: not
    by itself.
    """

    setting: str
    minimum: int
    maximum: int
    why: str = ""
    since: float | None = None
    limited: str = ""
    scaled: int | None = None
    until: float | None = None


class StatusResult(msgspec.Struct, frozen=True):
    """The state of an instance at a glance.

    `state` is one of the lifecycle, or "degraded": workers keep failing, fewer serve than are wanted, and `last_failure` says
    why. `in_flight` is null if the ledger of requests is off. `served` counts finished requests by status class ("1xx" to
    "5xx"; "aborted": the client disconnected, or the application raised after its first byte). `connections` counts open HTTP
    connections, with or without a request. `deadline_left` is set while stopping. `requested_by` and `requested_at` say who
    asked for the current state, and when; `last_stop` says how the previous run ended. `engine_why` says why this engine was
    chosen. An instance that is one process has no `workers`, `scaling` is null, and `wanted_workers` is 0. `generation` counts
    reloads, `restarts` the workers that exited unexpectedly. `versions` are those that run. `installed_flaskd` is the version
    of flaskd on disk, null if it cannot be read; if it is another one, the instance needs a restart. `queued` counts what
    waits for a free thread or in the accept queues. `probes` has the addresses of `health` and `agent`, HOST:PORT. `rejected`
    requests waited too long (`max_queue_time`) and were answered 503, as `served` counts too; `saturated`: at present many
    are. `restart_command` stops it and starts it again; "" if only who started it can. `templates` has the process that workers
    are forked from (--preload), two during a reload.
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
    queued: int = 0
    probes: dict[str, str] = {}
    rejected: int = 0
    saturated: bool = False
    restart_command: str = ""
    templates: list[TemplateInfo] = []
    scaling: Scaling | None = None


class WorkersResult(msgspec.Struct, frozen=True):
    """The workers, and the templates that they are forked from (--preload), oldest first."""

    workers: list[WorkerInfo]
    templates: list[TemplateInfo] = []


class Incident(msgspec.Struct, frozen=True):
    """A worker that failed; `kind` is "hung", "crash" or "start failed". Worker 0 is a template that has ended by itself.

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
