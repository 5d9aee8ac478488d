"""Whether the kernel's OOM killer has ended a process of our control group.

It sends SIGKILL, as others do; the count in the control group tells the difference. cgroup v2 has it in memory.events, v1 in
memory.oom_control (Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst), both as a line `oom_kill N`.
"""

import os


class OomKills:
    """Counts OOM kills in the control group of this process, from now on. Without such a count it sees none."""

    def __init__(self, proc: str = "/proc/self") -> None:
        self._path = _find(proc)
        self._seen = self._count()

    def take(self) -> bool:
        """Whether there was a kill that has not been taken yet; each explains one process that ended by SIGKILL."""
        new = self._count() > self._seen
        self._seen += new
        return new

    def _count(self) -> int:
        try:
            with open(self._path, encoding="ascii") as file:
                fields = dict(line.split() for line in file)
            return int(fields["oom_kill"])
        except (OSError, ValueError, KeyError):  # no memory controller, or a kernel older than 4.13
            return 0


def _find(proc: str) -> str:
    """Return the path of the file that has the count, or "" (cgroups(7), proc_pid_mountinfo(5))."""
    try:
        with open(f"{proc}/cgroup", encoding="utf-8") as file:
            groups = [line.rstrip("\n").split(":", 2)[1:] for line in file]
        with open(f"{proc}/mountinfo", encoding="utf-8") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return ""
    paths = {controller: path for controllers, path in groups for controller in controllers.split(",")}
    for fields in mounts:
        root, mount, (kind, _, options) = fields[3], fields[4], fields[fields.index("-") + 1 :][:3]
        if kind == "cgroup2":
            path, name = paths.get("", "/"), "memory.events"
        elif kind == "cgroup" and "memory" in options.split(","):
            path, name = paths.get("memory", "/"), "memory.oom_control"
        else:
            continue
        # A container may see its own group at the mount point, by the path that the host has for it.
        for directory in (os.path.normpath(f"{mount}/{os.path.relpath(path, root)}"), mount):
            if os.path.exists(f"{directory}/{name}"):
                return f"{directory}/{name}"
    return ""
