"""Whether the kernel's OOM killer has ended a process of our control group.

It sends SIGKILL, as others do; the count in the control group tells the difference.
"""

from flaskd.process.cgroup import ControlGroups


class OomKills:
    """Counts OOM kills in the control group of this process, from now on. Without such a count it sees none."""

    def __init__(self, proc: str = "/proc/self") -> None:
        self._groups = ControlGroups(proc)
        self._seen = self._groups.oom_kills()

    def take(self) -> bool:
        """Whether there was a kill that has not been taken yet; each explains one process that ended by SIGKILL."""
        new = self._groups.oom_kills() > self._seen
        self._seen += new
        return new
