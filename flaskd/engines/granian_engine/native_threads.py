"""Threads of this process that an extension module has started, from /proc/self/task (proc(5), Linux only)."""

import os
import sys
import threading
import time
from typing import Final

LINUX: Final = sys.platform == "linux"


class CallerIds(threading.local):
    """`caller` is the id of the calling thread, which is also added to `threads`: a thread runs the initializer once."""

    def __init__(self, threads: set[int]) -> None:
        self.caller = threading.get_native_id()
        threads.add(self.caller)


def alive() -> set[int]:
    """Return the ids of all threads."""
    return {int(name) for name in os.listdir("/proc/self/task")} if LINUX else set()


def started_since(before: set[int]) -> set[int]:
    """Return the ids of the threads that are not in `before` and that Python did not start."""
    return alive() - before - {each.native_id for each in threading.enumerate() if each.native_id}


def wait_for_exit(threads: set[int], *, timeout: float) -> bool:
    """Wait until all of `threads` have ended; returns False after `timeout` seconds. It polls: the kernel sends no event."""
    deadline = time.monotonic() + timeout
    while threads & alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0005)
    return True
