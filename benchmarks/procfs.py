"""What Linux tells of running processes in /proc: CPU time, memory, wake-ups, listening ports (proc(5))."""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")
_LISTEN: Final = "0A"


def family(leader: int) -> list[int]:
    """List the processes of the session that `leader` leads and what they have started, in whichever session."""
    stats = {pid: _stat(pid) for pid in _pids()}
    found = [pid for pid, fields in stats.items() if fields[3:4] == [str(leader)]]
    for parent in found:  # which grows meanwhile
        found += [pid for pid, fields in stats.items() if fields[1:2] == [str(parent)] and pid not in found]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Sum the CPU time of processes and of the children they have waited for; resolution 0.01 s."""
    return sum(int(ticks) for pid in pids for ticks in _stat(pid)[11:15]) / _TICK


def wake_ups(pids: list[int]) -> int:
    """Sum the voluntary context switches of all threads that live: how often one of them slept and woke."""
    return sum(wake_ups_by_thread(pids).values())


def wake_ups_by_thread(pids: list[int]) -> dict[str, int]:
    """Tell threads apart: one that ends takes its count with it, and a sum would fall."""
    return {
        task: int(line.split()[1])
        for pid in pids
        for task in _entries(f"/proc/{pid}/task")
        for line in _lines(f"/proc/{pid}/task/{task}/status")
        if line.startswith("voluntary_ctxt_switches")
    }


def pss_kib(pids: list[int]) -> int:
    """Sum the proportional set sizes: shared pages count once, divided among those who share them."""
    return sum(
        int(line.split()[1])
        for pid in pids
        for line in _lines(f"/proc/{pid}/smaps_rollup")
        if line.startswith("Pss:")
    )


def listening_port(pids: list[int]) -> int | None:
    """Return the TCP port that one of the processes listens on, or None."""
    inodes = set()
    for pid in pids:
        for descriptor in _entries(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in (line.split() for line in _lines(table)[1:]):
            if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in inodes:
                return int(fields[1].rpartition(":")[2], 16)
    return None


def _pids() -> Iterator[int]:
    return (int(entry) for entry in _entries("/proc") if entry.isdigit())


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, none if it is gone: [1] is the parent, [3] the session, [11:15] the times."""
    return next(iter(_lines(f"/proc/{pid}/stat")), "").rpartition(")")[2].split()


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()
    return []


def _entries(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(path)
    return []
