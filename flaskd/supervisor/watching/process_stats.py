"""What the kernel tells of a worker without asking it: memory and connections, also of one that hangs or is stopped.

A look costs a millisecond or so; within LOOK_PAUSE the last one has to do, so `status` may be asked as often as one likes.
"""

import os
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from flaskd.listening.listeners import Listener

LOOK_PAUSE: Final = 0.5
"""Seconds that a look is good for."""

PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Look(NamedTuple):
    """Bytes of memory (`pss` shares out what processes share, proc(5)) and open connections; None where not known."""

    rss: int | None
    pss: int | None
    connections: int | None


class Looks:
    """Looks at processes that serve on `listeners`."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._seen: dict[int, Look] = {}
        self._until = 0.0

    def at(self, pids: Sequence[int]) -> dict[int, Look]:
        """Return a look at each of `pids`, at most LOOK_PAUSE old."""
        now = time.monotonic()
        if now >= self._until or not all(pid in self._seen for pid in pids):
            self._until = now + LOOK_PAUSE
            ours = self._connections()
            self._seen = {pid: _look(pid, ours) for pid in pids}
        return self._seen

    def connections(self, pid: int) -> int | None:
        """Count the connections of one process, now."""
        return _count(pid, self._connections())

    def _connections(self) -> set[int]:
        """Return the inodes of all accepted connections to the listeners."""
        return set().union(*(listener.accepted() for listener in self._listeners))


def resident(pid: int) -> int | None:
    """Return a process's resident memory in bytes (proc(5), statm): cheaper than a look, and the same number as its `rss`."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return None


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal or a tracer (proc(5), state T or t): it can do nothing at all."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    except (OSError, IndexError):
        return False


def _look(pid: int, ours: set[int]) -> Look:
    rss, pss = _memory(pid)
    return Look(rss, pss, _count(pid, ours))


def _memory(pid: int) -> tuple[int | None, int | None]:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            sizes = {words[0]: int(words[1]) for line in file if len(words := line.split()) == 3}
        return sizes["Rss:"] * 1024, sizes["Pss:"] * 1024
    except (OSError, ValueError, KeyError):
        return None, None


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
