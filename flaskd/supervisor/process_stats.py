"""What the kernel knows of a worker: memory and connections, also of one that hangs or is stopped.

Reading it takes about a millisecond. For MAX_AGE the last stats are used again, so `status` may be asked at any rate.
"""

import os
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from flaskd.listening.listeners import Listener
from flaskd.process.resident import proportional

TICKS: Final = os.sysconf("SC_CLK_TCK")
"""Ticks in a second of CPU time."""

MAX_AGE: Final = 0.5
"""Seconds for which stats are used again."""


class Stats(NamedTuple):
    """Bytes of memory (`pss` shares out what processes share, proc(5)) and open connections; None where not known."""

    rss: int | None
    pss: int | None
    connections: int | None


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time of a process and of those of its children that it has waited for (proc(5), stat)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS
    except (OSError, ValueError):
        return None


class ProcessStats:
    """Memory and connections of the processes that serve on `listeners`."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._seen: dict[int, Stats] = {}
        self._until = 0.0

    def of(self, pids: Sequence[int]) -> dict[int, Stats]:
        """Return the stats of each of `pids`, at most MAX_AGE old."""
        now = time.monotonic()
        if now >= self._until or not all(pid in self._seen for pid in pids):
            self._until = now + MAX_AGE
            ours = self._connections()
            self._seen = {pid: _stats(pid, ours) for pid in pids}
        return self._seen

    def connections(self, pid: int) -> int | None:
        """Count the connections of one process, now."""
        return _count(pid, self._connections())

    def _connections(self) -> set[int]:
        """Return the inodes of all accepted connections to the listeners."""
        return set().union(*(listener.accepted() for listener in self._listeners))


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal or a tracer (proc(5), state T or t): it can do nothing at all."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    except (OSError, IndexError):
        return False


def _stats(pid: int, ours: set[int]) -> Stats:
    rss, pss = proportional(pid) or (None, None)
    return Stats(rss, pss, _count(pid, ours))


def _count(pid: int, ours: set[int]) -> int | None:
    if not ours:
        return 0
    directory = f"/proc/{pid}/fd"
    names = {f"socket:[{inode}]" for inode in ours}
    try:
        return sum(_target(f"{directory}/{number}") in names for number in os.listdir(directory))
    except OSError:
        return None


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
