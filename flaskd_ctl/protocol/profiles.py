"""Where the threads of the application's processes spend their time."""

from typing import Annotated

import msgspec

from flaskd_ctl.protocol.diagnosis import FromWorker
from flaskd_ctl.protocol.wire import Params, Positive

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class ProfileParams(Params, frozen=True, forbid_unknown_fields=True):
    """How long to look, how often a second, and at what.

    By default at the threads that serve a request; with `endpoint`, at those that serve a request of this endpoint. With
    `all_threads`, at every thread.
    """

    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=600)] = 10.0
    rate: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 100.0
    endpoint: str | None = None
    all_threads: bool = False
    worker: Positive | None = None


class ProfiledFunction(msgspec.Struct, frozen=True):
    """A function, its file, and the line at which it begins."""

    function: str
    file: str
    line: Count


class ProfiledStack(msgspec.Struct, frozen=True):
    """A stack and how often it was seen. `frames` are indexes into the functions of the profile, the oldest call first."""

    count: Count
    frames: list[Count]


class WorkerProfile(FromWorker, frozen=True, kw_only=True):
    """The profile of one process, which took `seconds`.

    `samples` were taken of its threads, and `missed` ones were due but not possible, as code held the GIL;
    `longest_gap` is the longest time between two looks, in seconds. `stacks` are what was seen, the most frequent first: each
    look counts one for each thread. `other` counts what was seen in stacks that were too rare to fit into the reply.
    """

    seconds: float = 0.0
    samples: Count = 0
    missed: Count = 0
    longest_gap: float = 0.0
    functions: list[ProfiledFunction] = msgspec.field(default_factory=list)
    stacks: list[ProfiledStack] = msgspec.field(default_factory=list)
    other: Count = 0


class ProfileResult(msgspec.Struct, frozen=True):
    """The profile of each process."""

    workers: list[WorkerProfile]
