"""Commands of the application's own, and what is known of the application itself."""

from typing import Annotated, Any

import msgspec

from flaskd_ctl.protocol.diagnosis import FromWorker, WorkerParams
from flaskd_ctl.protocol.wire import Params, Positive

CommandName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
CallTime = Annotated[float, msgspec.Meta(gt=0, le=3600, description="seconds, at most an hour")]


class CallParams(Params, frozen=True, forbid_unknown_fields=True):
    """What to call. `params` are those of the command; its schema is in `describe`."""

    name: CommandName
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    worker: Positive | None = None
    timeout: CallTime | None = None
    progress: bool = False


class Called(FromWorker, frozen=True, kw_only=True):
    """What the command returned in one process, or its `error`, with the application's `traceback`. `took`: seconds."""

    result: Any = None
    took: float = 0.0
    traceback: str = ""


class CallResult(msgspec.Struct, frozen=True):
    """What the command did in each process that ran it."""

    command: str
    workers: list[Called]


class CallProgressEvent(msgspec.Struct, frozen=True, tag_field="event", tag="call"):
    """What a command of the application has yielded; `skipped` of its messages were left out before this one."""

    at: float
    worker: int
    value: Any
    skipped: int = 0


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the application's URL map.

    `calls` and `p95` (seconds) are those of its endpoint since the start. They are null if they are not known: the ledger is
    off, or there are more endpoints than are counted by name.
    """

    rule: str
    methods: list[str]
    endpoint: str
    host: str = ""
    websocket: bool = False
    calls: int | None = None
    p95: float | None = None


class RoutesParams(WorkerParams, frozen=True, forbid_unknown_fields=True):
    """The worker to ask; None: whichever replies first."""


class RoutesResult(msgspec.Struct, frozen=True):
    """The routes, in the order in which they are matched; `missing` more did not fit into the reply."""

    routes: list[Route]
    missing: int = 0


class AppConfigParams(WorkerParams, frozen=True, forbid_unknown_fields=True):
    """The worker to ask; None: whichever replies first."""


class AppConfigResult(msgspec.Struct, frozen=True):
    """Each key of `app.config` with its value as text, without secrets; `missing` more did not fit into the reply."""

    config: dict[str, str]
    missing: int = 0
