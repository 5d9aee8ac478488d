"""The control groups of this process: where their files are, and the limits that they set.

cgroup v1 has a hierarchy for each controller, v2 one for all of them (cgroups(7); Linux, Documentation/admin-guide/cgroup-v2
and cgroup-v1/memory, Documentation/scheduler/sched-bwc). A group's limit holds for all groups below it. So each limit is
looked for in the group of this process and in those above it, as far as they are mounted, and the smallest counts.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

UNLIMITED: Final = 1 << 62
"""A limit of so many bytes is none: v1 writes the largest number of pages that a counter can hold."""

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Group(NamedTuple):
    """A directory with the files of a control group, and the version of its hierarchy: 1 or 2."""

    directory: str
    version: int


class Memory(NamedTuple):
    """Bytes that the groups allow at most, and how many of them are free. Cached files that can be dropped count as free."""

    limit: int
    free: int


def groups(controller: str, cgroup: str, mountinfo: str) -> list[Group]:
    """Return where a process's groups of a controller may be, its own before those above it.

    `cgroup` and `mountinfo` are the texts of these files in its directory of /proc (proc_pid_mountinfo(5)). A process may see
    its own group at the mount point, by a path that only the host has: then the mount point is its group.
    """
    fields = [line.rstrip("\n").split(":", 2)[1:] for line in cgroup.splitlines() if line.count(":") >= 2]
    paths = {each: path for controllers, path in fields for each in controllers.split(",")}
    found: list[Group] = []
    for root, mount, version in _mounts(controller, mountinfo):
        path = paths.get(controller if version == 1 else "")
        if path is None:
            continue
        below = os.path.relpath(path, root)
        parts = [] if below.split("/")[0] in {".", ".."} else below.split("/")
        ways = (os.path.join(mount, *parts[:count]) for count in range(len(parts), -1, -1))
        found += [Group(each, version) for each in ways]
    return found


def _mounts(controller: str, mountinfo: str) -> Iterator[tuple[str, str, int]]:
    """Return root, mount point and version of each mount that has the controller, or may have it."""
    for line in mountinfo.splitlines():
        before, dash, after = (f" {line} ").partition(" - ")
        first, last = before.split(), after.split()
        if not dash or len(first) < 5 or len(last) < 3:
            continue
        root, mount = (_ESCAPE.sub(lambda found: chr(int(found[1], 8)), each) for each in first[3:5])
        if last[0] == "cgroup2":
            yield root, mount, 2
        elif last[0] == "cgroup" and controller in last[2].split(","):
            yield root, mount, 1


class ControlGroups:
    """The groups of this process, or of the one with this directory of /proc. What cannot be read sets no limit."""

    def __init__(self, proc: str = "/proc/self") -> None:
        texts = _text(f"{proc}/cgroup"), _text(f"{proc}/mountinfo")
        self._cpu = groups("cpu", *texts)
        self._memory = groups("memory", *texts)

    def cpus(self) -> float | None:
        """Return how many CPUs' time the groups may use; None without a quota."""
        return min((quota for each in self._cpu if (quota := _quota(each)) is not None), default=None)

    def memory(self) -> Memory | None:
        """Return the memory that the groups may use; None without a limit."""
        found = [memory for each in self._memory if (memory := _memory(each)) is not None]
        if not found:
            return None
        return Memory(min(each.limit for each in found), min(each.free for each in found))

    def oom_kills(self) -> int:
        """Count the processes of the own group that the OOM killer has killed. A kernel before 4.13 has no such count."""
        for group in self._memory:
            name = "memory.oom_control" if group.version == 1 else "memory.events"
            if os.path.exists(f"{group.directory}/{name}"):
                return _number(_table(group, name).get("oom_kill"), at_most=None) or 0
        return 0


def _quota(group: Group) -> float | None:
    if group.version == 1:
        words = [_read(group, "cpu.cfs_quota_us"), _read(group, "cpu.cfs_period_us")]
    else:
        words = _read(group, "cpu.max").split()
    try:
        quota, period = map(float, words)  # v2 writes "max" where there is none, v1 writes -1
        return quota / period if quota > 0 and period > 0 else None
    except ValueError:
        return None


def _memory(group: Group) -> Memory | None:
    stat = _table(group, "memory.stat")
    if group.version == 1:  # a process may not see the groups above; the kernel sums them up
        limits = [_read(group, "memory.limit_in_bytes"), stat.get("hierarchical_memory_limit")]
        used, cached = _read(group, "memory.usage_in_bytes"), stat.get("total_inactive_file")
    else:  # from `high` on the kernel reclaims, and slows the processes down
        limits = [_read(group, "memory.max"), _read(group, "memory.high")]
        used, cached = _read(group, "memory.current"), stat.get("inactive_file")
    set_ones = [limit for each in limits if (limit := _number(each)) is not None]
    if not set_ones:
        return None
    limit = min(set_ones)
    in_use = max(0, (_number(used) or 0) - (_number(cached) or 0))
    return Memory(limit, max(0, limit - in_use))


def _number(text: str | None, *, at_most: int | None = UNLIMITED) -> int | None:
    """Return a number of bytes, or a count; None for "max", for no limit, and for anything else."""
    if text is None or not text.isdecimal():
        return None
    number = int(text)
    return None if at_most is not None and number >= at_most else number


def _table(group: Group, name: str) -> Mapping[str, str]:
    """Return a file that has a name and a value in each line."""
    rows = (line.split() for line in _read(group, name).splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _read(group: Group, name: str) -> str:
    return _text(f"{group.directory}/{name}").strip()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
