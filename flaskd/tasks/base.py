"""The bases of messages between a supervisor and a worker, and the outcome of a task."""

import enum
from concurrent.futures import Future
from typing import ClassVar, NamedTuple

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True, tag_field="call"):
    """From the supervisor; the channel sets `number`."""

    number: int = 0


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """The answer to the call of the same number."""

    number: int = 0


class Task(Call, frozen=True):
    """A call that is carried out on a thread of its own, so it may take its time.

    `early`: also in a process that has not loaded the application yet. `shared`: whoever asks while an equal one is under way
    gets its reply, so that a worker that hangs is not sent one after the other.
    """

    early: ClassVar[bool] = False
    shared: ClassVar[bool] = False


class Note(Reply, frozen=True):
    """What a task reports while it runs; the reply to the call of the same number follows."""


class ReportingTask(Task, frozen=True):
    """A task that sends notes before its reply."""


class Choice(enum.Enum):
    """Which workers carry out a task, other than all that can, or one by its id."""

    SERVING = "each that serves"
    LEAST_BUSY = "the one that serves and has the fewest requests in flight"


class Ordered(NamedTuple):
    """A task that one process was given. `worker` is the worker's id, 0 for a `Server`.

    `reply` is cancelled if the process ends before it replies.
    """

    worker: int
    pid: int
    reply: "Future[Reply]"


class Outcome(NamedTuple):
    """What became of a task in one process. `reply` is None if it failed; `error` says why, `late` that it had no more time."""

    worker: int
    pid: int
    reply: Reply | None
    error: str = ""
    late: bool = False
