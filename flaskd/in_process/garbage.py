"""Garbage collection on demand."""

import gc
import os
import time

from flaskd.process.resident import resident
from flaskd.serving import Core
from flaskd.tasks import CollectGarbage, GarbageCollected


def collect_garbage(core: Core, task: CollectGarbage) -> GarbageCollected:
    """Run a full collection; it stops all threads of the application while it runs."""
    uncollectable = len(gc.garbage)
    before, began = resident(os.getpid()), time.monotonic()
    collected = gc.collect()
    return GarbageCollected(
        collected=collected,
        uncollectable=len(gc.garbage) - uncollectable,
        tracked=len(gc.get_objects()),
        took=round(time.monotonic() - began, 6),
        rss_before=before,
        rss_after=resident(os.getpid()),
    )
