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
    | IncidentEvent
    | SlowEvent
    | CallProgressEvent
    | LogEvent
    | LostEvent
)


class EventNote(msgspec.Struct, frozen=True):
    """Params of the notifications `event` and `progress`: `id` is that of the call they belong to."""

    id: int | str | None
    event: Event
