"""The wire: JSON-RPC 2.0 requests, results and notifications as frozen structs; decoding is validation.

One object a message, UTF-8, at most `MAX_MESSAGE` bytes. Times of day are Unix time in seconds, durations are seconds.
Params refuse unknown fields. Results may gain fields in a later minor version; readers ignore unknown ones. The commands are in
`commands.COMMANDS`; `PARAMS` and `RESULTS` have their types under the same names.
"""

from typing import Any, Final

from flaskd_ctl.protocol.application import (
    AppConfigParams as AppConfigParams,
    AppConfigResult as AppConfigResult,
    Called as Called,
    CallParams as CallParams,
    CallProgressEvent as CallProgressEvent,
    CallResult as CallResult,
    Route as Route,
    RoutesParams as RoutesParams,
    RoutesResult as RoutesResult,
)
from flaskd_ctl.protocol.audit import (
    Actor as Actor,
    AuditEntry as AuditEntry,
    HistoryParams as HistoryParams,
    HistoryResult as HistoryResult,
    LastStop as LastStop,
)
from flaskd_ctl.protocol.diagnosis import (
    FromWorker as FromWorker,
    Garbage as Garbage,
    GcResult as GcResult,
    WorkerParams as WorkerParams,
)
from flaskd_ctl.protocol.events import (
    CutEvent as CutEvent,
    Event as Event,
    EventNote as EventNote,
    EventsResult as EventsResult,
    IncidentEvent as IncidentEvent,
    LostEvent as LostEvent,
    ProgressEvent as ProgressEvent,
    SlowEvent as SlowEvent,
    StateEvent as StateEvent,
    WorkerEvent as WorkerEvent,
)
from flaskd_ctl.protocol.metrics import (
    Collections as Collections,
    EndpointStats as EndpointStats,
    Latency as Latency,
    ListenerStats as ListenerStats,
    MetricsResult as MetricsResult,
    Moment as Moment,
    QueueStats as QueueStats,
    StatsParams as StatsParams,
    StatsResult as StatsResult,
    WorkerStats as WorkerStats,
)
from flaskd_ctl.protocol.operating import (
    KillResult as KillResult,
    ReloadParams as ReloadParams,
    ReloadResult as ReloadResult,
    RestartParams as RestartParams,
    RestartResult as RestartResult,
    ScaleParams as ScaleParams,
    ScaleResult as ScaleResult,
    ShutdownParams as ShutdownParams,
    ShutdownResult as ShutdownResult,
    StateResult as StateResult,
)
from flaskd_ctl.protocol.profiles import (
    ProfiledFunction as ProfiledFunction,
    ProfiledStack as ProfiledStack,
    ProfileParams as ProfileParams,
    ProfileResult as ProfileResult,
    WorkerProfile as WorkerProfile,
)
from flaskd_ctl.protocol.stacks import (
    Frame as Frame,
    RequestsParams as RequestsParams,
    RequestsResult as RequestsResult,
    Stack as Stack,
    StacksResult as StacksResult,
    ThreadInfo as ThreadInfo,
    WorkerStacks as WorkerStacks,
)
from flaskd_ctl.protocol.status import (
    Incident as Incident,
    IncidentsParams as IncidentsParams,
    IncidentsResult as IncidentsResult,
    InFlight as InFlight,
    LastError as LastError,
    PingResult as PingResult,
    StatusResult as StatusResult,
    WorkerFailure as WorkerFailure,
    WorkerInfo as WorkerInfo,
    WorkersResult as WorkersResult,
)
from flaskd_ctl.protocol.wire import (
    MAX_ID as MAX_ID,
    MAX_MESSAGE as MAX_MESSAGE,
    Params as Params,
    Path as Path,
    Positive as Positive,
    Request as Request,
    Seconds as Seconds,
)

PARAMS: Final[dict[str, type[Params]]] = {
    "ping": Params,
    "status": Params,
    "describe": Params,
    "stats": StatsParams,
    "metrics": Params,
    "stacks": WorkerParams,
    "profile": ProfileParams,
    "gc": WorkerParams,
    "call": CallParams,
    "routes": RoutesParams,
    "app_config": AppConfigParams,
    "drain": Params,
    "resume": Params,
    "reload": ReloadParams,
    "scale": ScaleParams,
    "restart_worker": RestartParams,
    "shutdown": ShutdownParams,
    "kill": Params,
    "workers": Params,
    "requests": RequestsParams,
    "incidents": IncidentsParams,
    "history": HistoryParams,
    "events": Params,
}

RESULTS: Final[dict[str, Any]] = {
    "ping": PingResult,
    "status": StatusResult,
    "describe": dict[str, Any],
    "stats": StatsResult,
    "metrics": MetricsResult,
    "stacks": StacksResult,
    "profile": ProfileResult,
    "gc": GcResult,
    "call": CallResult,
    "routes": RoutesResult,
    "app_config": AppConfigResult,
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
