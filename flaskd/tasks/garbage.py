"""Garbage collection on demand."""

from flaskd.tasks.base import Reply, Task


class CollectGarbage(Task, frozen=True, tag="collect_garbage"):
    """Run a full garbage collection."""


class GarbageCollected(Reply, frozen=True, tag="garbage_collected"):
    """`collected` objects were unreachable, `uncollectable` of them could not be freed; `tracked` are left.

    `took` is seconds; `rss_before` and `rss_after` are bytes of resident memory, None where the kernel does not tell.
    """

    collected: int
    uncollectable: int
    tracked: int
    took: float
    rss_before: int | None = None
    rss_after: int | None = None
