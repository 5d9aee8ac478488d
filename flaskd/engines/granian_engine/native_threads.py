"""The threads of this process that an extension has started, as /proc/self/task tells (proc(5), Linux only)."""

import os
import sys
import threading
import time
from typing import Final

LINUX: Final = sys.platform == "linux"


class Callers(threading.local):
    """Adds the id of each thread that looks at `caller` to `threads`: each runs the initialiser once (threading.local)."""

    def __init__(self, threads: set[int]) -> None:
        self.caller = threading.get_native_id()
        threads.add(self.caller)


def alive() -> set[int]:
    """Return the ids of all threads that there are."""
    return {int(name) for name in os.listdir("/proc/self/task")} if LINUX else set()


def started_since(before: set[int]) -> set[int]:
    """Return the ids of the threads that are not in `before`, and that Python has not started."""
    return alive() - before - {each.native_id for each in threading.enumerate() if each.native_id}


def see_gone(threads: set[int], *, within: float) -> bool:
    """Wait until all of `threads` have ended, up to `within` seconds, and tell whether they have; nobody would tell us."""
    deadline = time.monotonic() + within
    while threads & alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0005)
    return True
