"""The messages between a supervisor and a worker or a template: JSON, one object a line, each of one of these types.

The supervisor sends calls, each with a number. The worker answers each with one reply of that number, and sends events by
itself. A call that it does not know, or cannot carry out now, is answered with `Refused`.

A worker runs the application, so the supervisor believes what a worker says only of that worker, and only within these bounds
(docs/threat-model.md).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from flaskd.settings.schema import Settings
from flaskd.tasks import Call as Call, Note as Note, Reply as Reply, TaskReplies, Tasks, Tune
from flaskd_ctl.protocol import InFlight

LONGEST_MESSAGE: Final = 4096
LONGEST_TRACE: Final = 65_536
"""Characters of an exception's message and of its traceback, which may quote anything."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class Start(Call, frozen=True, tag="start"):
    """Load the application and prepare to serve. The first call; `Ready` answers it once the worker serves.

    Descriptors are inherited under these numbers. `log` is for the access log, `records` for records of `logging`. `load_row`
    is its row in the load table, `loads`. `tune` is what an operator has set in place of what `settings` say. `alone`: no other
    worker serves.
    """

    settings: Settings
    engine: str
    name: str
    worker: int
    generation: int
    listeners: list[int]
    request_table: int
    metrics: int
    errors: int
    slow: int
    loads: int
    load_row: int
    stacks: int
    log: int
    records: int
    check: str = ""
    closing: bool = False
    tune: Tune | None = None
    alone: bool = False


class LoadTemplate(Call, frozen=True, tag="load_template"):
    """Load the application, to fork workers from. The first call to a template; `TemplateLoaded` answers it.

    Descriptors are inherited under these numbers. `records` is for records of `logging`, `stacks` for the threads' stacks.
    """

    settings: Settings
    engine: str
    stacks: int
    records: int


class Fork(Call, frozen=True, tag="fork"):
    """Fork a worker; `Forked` answers. What the worker inherits travels with the call (SCM_RIGHTS, unix(7)).

    `descriptors` are the numbers that its `Start` has for them, in the same order: the first three are its end of the channel,
    stdout and stderr.
    """

    descriptors: list[int]


def renumbered(start: Start, numbers: Mapping[int, int]) -> Start:
    """Return the call with the numbers that its descriptors have in another process."""
    names = ("request_table", "metrics", "errors", "slow", "loads", "stacks", "log", "records")
    return msgspec.structs.replace(
        start,
        listeners=[numbers[number] for number in start.listeners],
        **{name: numbers[getattr(start, name)] for name in names},
    )


class Serve(Call, frozen=True, tag="serve"):
    """Begin to accept connections."""


class StopGracefully(Call, frozen=True, tag="stop"):
    """Stop accepting, answer what has arrived within `grace` seconds, and exit; `Stopped` answers."""

    grace: float
    linger: float


class AnnounceClose(Call, frozen=True, tag="announce_close"):
    """Send `Connection: close` with every response, or no longer."""

    closing: bool


class AnnounceStopping(Call, frozen=True, tag="announce_stopping"):
    """Tell the application that this worker begins to stop; it still accepts connections."""


class CloseIdle(Call, frozen=True, tag="close_idle"):
    """Close connections that have waited longer than `linger` for a complete request head."""


class TakeAccepted(Call, frozen=True, tag="take_accepted"):
    """Count connections that the engine has accepted, as a stop does."""


class AnswerLate(Call, frozen=True, tag="answer_late"):
    """Answer request number `request` with 503, in the application's place."""

    request: int


class Ping(Call, frozen=True, tag="ping"):
    """Show that the worker's channel thread runs."""


Calls = (
    Start
    | Serve
    | StopGracefully
    | AnnounceClose
    | AnnounceStopping
    | CloseIdle
    | TakeAccepted
    | AnswerLate
    | Ping
    | Tasks
)


TemplateCalls = LoadTemplate | Fork


class TemplateLoaded(Reply, frozen=True, tag="template_loaded"):
    """Answers `LoadTemplate`: the application is loaded, and workers can be forked."""


class Forked(Reply, frozen=True, tag="forked"):
    """Answers `Fork`: the process of the worker, a child of the supervisor by now."""

    pid: Annotated[int, msgspec.Meta(gt=1, le=1 << 31)]


class Ready(Reply, frozen=True, tag="ready"):
    """Answers `Start`: the worker serves, with these versions of its libraries."""

    versions: dict[str, str]


class Stopped(Reply, frozen=True, tag="stopped"):
    """Answers `StopGracefully`: the requests that were cut, and how many connections in all."""

    cut: list[InFlight]
    connections_cut: Count


class Done(Reply, frozen=True, tag="done"):
    """Answers every other call but a task, which has a reply of its own."""


class Refused(Reply, frozen=True, tag="refused"):
    """Answers a call that failed."""

    message: str
    hint: str = ""
    traceback: str = ""


class Loaded(msgspec.Struct, frozen=True, tag_field="type", tag="loaded"):
    """The application is loaded; the worker waits for `Serve`."""


class Progress(msgspec.Struct, frozen=True, tag_field="type", tag="progress"):
    """A graceful stop has reached `phase`."""

    phase: str


class RequestBegan(msgspec.Struct, frozen=True, tag_field="type", tag="request_began"):
    """A request has begun, which the supervisor had asked to be told."""


class RequestRejected(msgspec.Struct, frozen=True, tag_field="type", tag="request_rejected"):
    """A request was answered 503 because it had waited too long; at most one of these messages a second."""


class QuotaReached(msgspec.Struct, frozen=True, tag_field="type", tag="quota_reached"):
    """The worker has served `max_requests` and should be replaced."""


class Asked(msgspec.Struct, frozen=True, tag_field="type", tag="asked"):
    """The application asks for a command of the whole instance."""

    order: Literal["drain", "resume", "shutdown"]
    params: dict[str, Any] = {}


Event = Loaded | Progress | RequestBegan | RequestRejected | QuotaReached | Asked
FromWorker = Ready | Stopped | Done | Refused | TemplateLoaded | Forked | TaskReplies | Event
