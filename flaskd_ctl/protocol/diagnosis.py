"""What goes on inside the processes that run the application."""

import msgspec

from flaskd_ctl.protocol.wire import Params, Positive


class WorkerParams(Params, frozen=True, forbid_unknown_fields=True):
    """The id of the worker to ask; None asks all."""

    worker: Positive | None = None


class FromWorker(msgspec.Struct, frozen=True, kw_only=True):
    """What one process replied. `worker` is the worker's id, 0 if the instance is one process.

    If it could not be asked, `error` says why ("did not reply within 60 s") and the other fields have no meaning.
    """

    worker: int
    pid: int
    error: str = ""


class Garbage(FromWorker, frozen=True, kw_only=True):
    """What a garbage collection did.

    `collected` objects were unreachable, `uncollectable` of them could not be freed, `tracked` are left. `took`: seconds.
    `rss_before` and `rss_after`: bytes of resident memory, null if unknown.
    """

    collected: int = 0
    uncollectable: int = 0
    tracked: int = 0
    took: float = 0.0
    rss_before: int | None = None
    rss_after: int | None = None


class GcResult(msgspec.Struct, frozen=True):
    """What the garbage collection did in each process."""

    workers: list[Garbage]
