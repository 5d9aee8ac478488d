"""What the threads of the application's processes do."""

from typing import Annotated, Literal

import msgspec

from flaskd_ctl.protocol.diagnosis import FromWorker
from flaskd_ctl.protocol.status import InFlight
from flaskd_ctl.protocol.wire import Params, Path, Positive, Seconds

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
Identifier = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Frame(msgspec.Struct, frozen=True):
    """One call: the function, the file, the line that runs, and its source ("" if it is unknown)."""

    function: str
    file: str
    line: Count
    source: str = ""


class ThreadInfo(msgspec.Struct, frozen=True):
    """A thread: its identifier in Python, its name ("" if it is unknown), and the request that it serves."""

    id: Identifier
    name: str = ""
    request: InFlight | None = None


class Stack(msgspec.Struct, frozen=True):
    """The stack that these threads have in common, the newest call first.

    `kind` is "request" (they serve requests), "application" (its own threads) or "server" (flaskd's and the engine's threads,
    which have no request). `missing` counts older calls that are left out (1 if nobody knows how many). The last
    `server_frames` of `frames` are calls of the server around the application, or of Python that started the thread.
    """

    kind: Literal["request", "application", "server"]
    threads: list[ThreadInfo]
    frames: list[Frame]
    missing: Count = 0
    server_frames: Count = 0


class WorkerStacks(FromWorker, frozen=True, kw_only=True):
    """The stacks of one process: those of requests first, the oldest request before the others.

    `left_out` counts threads that are left out because the reply would be too long. `note` says why less is known than usual:
    a worker that does not reply has written its stacks in a signal handler.
    """

    stacks: list[Stack] = msgspec.field(default_factory=list)
    left_out: Count = 0
    note: str = ""


class StacksResult(msgspec.Struct, frozen=True):
    """The stacks of each process."""

    workers: list[WorkerStacks]


class RequestsParams(Params, frozen=True, forbid_unknown_fields=True):
    """The requests to list: all, or those for which each parameter that is given holds.

    `older`: that began at least so many seconds ago. `path`: whose path begins so. `stacks` adds the stacks of their threads.
    """

    stacks: bool = False
    older: Seconds | None = None
    path: Path | None = None
    endpoint: str | None = None
    worker: Positive | None = None


class RequestsResult(msgspec.Struct, frozen=True):
    """Requests in flight, oldest first; `left_out` counts newer ones that did not fit into the reply.

    `stacks` are those of their threads, if asked for, by process; null otherwise.
    """

    requests: list[InFlight]
    left_out: int = 0
    stacks: list[WorkerStacks] | None = None
