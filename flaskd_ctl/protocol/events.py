"""Events, and the notifications that carry them."""

import msgspec

from flaskd_ctl.protocol.application import CallProgressEvent
from flaskd_ctl.protocol.audit import Actor
from flaskd_ctl.protocol.logs import LogLine
from flaskd_ctl.protocol.status import Incident, InFlight


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


class TemplateEvent(msgspec.Struct, frozen=True, tag_field="event", tag="template"):
    """A template (--preload) is "loading" the application, "ready" to fork workers, or "gone".

    `why` says how it ended, or warns that memory may not suffice for what it loads.
    """

    at: float
    pid: int
    state: str
    generation: int
    why: str


class ScaleEvent(msgspec.Struct, frozen=True, tag_field="event", tag="scale"):
    """The number of wanted workers has changed by itself, from `was` to `wanted`, between `minimum` and `maximum`.

    `cause` is "threads" (they were busy), "queue" (requests waited), "cpu", "quiet" (fewer are enough), "memory" (the OOM
    killer has killed one), "failure" (a further one could not start) or "end" (the time of a number set by `scale` is over).
    """

    at: float
    was: int
    wanted: int
    minimum: int
    maximum: int
    cause: str
    why: str


class IncidentEvent(msgspec.Struct, frozen=True, tag_field="event", tag="incident"):
    """A worker or a template has failed; `incidents` with its id has the stacks and the traceback."""

    at: float
    incident: Incident


class SlowEvent(msgspec.Struct, frozen=True, tag_field="event", tag="slow"):
    """A request has taken longer than the `limit` of seconds for requests."""

    at: float
    request: InFlight
    limit: float


class SaturationEvent(msgspec.Struct, frozen=True, tag_field="event", tag="saturation"):
    """Many requests begin to be answered 503 because they waited too long (`saturated`), or that is over.

    `rejected` counts them since they began.
    """

    at: float
    saturated: bool
    rejected: int


class LostEvent(msgspec.Struct, frozen=True, tag_field="event", tag="lost"):
    """This subscriber reads too slowly: `count` events, or lines of the log, were dropped here."""

    at: float
    count: int


class LogEvent(msgspec.Struct, frozen=True, tag_field="event", tag="log"):
    """Lines of the log, for `logs` with `follow`."""

    at: float
    lines: list[LogLine]


Event = (
    StateEvent
    | ProgressEvent
    | CutEvent
    | WorkerEvent
    | TemplateEvent
    | ScaleEvent
    | IncidentEvent
    | SlowEvent
    | SaturationEvent
    | CallProgressEvent
    | LogEvent
    | LostEvent
)


class EventNote(msgspec.Struct, frozen=True):
    """Params of the notifications `event` and `progress`: `id` is that of the call they belong to."""

    id: int | str | None
    event: Event
