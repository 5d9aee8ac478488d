"""How many CPUs and how much memory this process may use: of the machine, or of its control group, whichever is less."""

import os
from typing import Final, NamedTuple

from flaskd.process.cgroup import ControlGroups, Memory

TOLERANCE: Final = 0.1
"""A quota that exceeds a whole number of CPUs by no more than this is not rounded up."""


class Capacity(NamedTuple):
    """What a process may use.

    `cores` are the CPUs that it may run on (sched_getaffinity(2), which cpusets are part of), `quota` how many CPUs' time it
    gets, None without a quota. `memory` is None where it cannot be known; `limited` tells whether a control group limits it.
    """

    cores: int
    quota: float | None = None
    memory: Memory | None = None
    limited: bool = False

    @property
    def cpu_time(self) -> float:
        """How many CPUs' time it gets at most: 0.5 with a quota of half a CPU."""
        return float(self.cores) if self.quota is None else min(float(self.cores), self.quota)

    @property
    def cpus(self) -> int:
        """How many processes can compute at the same time: a quota is rounded up, to 1 at least."""
        if self.quota is None:
            return self.cores
        whole = int(self.quota)
        return max(1, min(self.cores, whole + (self.quota - whole > TOLERANCE)))


def capacity(proc: str = "/proc") -> Capacity:
    """Return what this process may use now."""
    found = ControlGroups(f"{proc}/self")
    machine, group = machine_memory(proc), found.memory()
    limited = group is not None and (machine is None or group.limit < machine.limit)
    memory = machine
    if group is not None and limited:
        memory = group if machine is None else Memory(group.limit, min(group.free, machine.free))
    return Capacity(_cores(), found.cpus(), memory, limited)


def machine_memory(proc: str = "/proc") -> Memory | None:
    """Return the memory of the machine; `free` is what can be used without swapping (proc(5), meminfo). None if not known."""
    try:
        with open(f"{proc}/meminfo", encoding="ascii") as file:
            sizes = {row[0]: int(row[1]) * 1024 for line in file if len(row := line.split()) == 3}
        return Memory(sizes["MemTotal:"], sizes["MemAvailable:"])
    except (OSError, ValueError, KeyError):
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
