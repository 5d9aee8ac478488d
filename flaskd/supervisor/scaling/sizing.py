"""How many workers a machine, or a container, has room for, and why. Pure: no process, socket or clock.

An interpreter computes on one CPU at a time, so more workers than CPUs only take memory. What a worker takes is measured: the
first one, when it has loaded the application. It is said to grow by a quarter while it serves (`GROWTH`), and one more worker
must always have room, since a reload starts the new one before it stops an old one.
"""

import math
from typing import Final, NamedTuple

from flaskd.process.capacity import Capacity

GROWTH: Final = 1.25
"""What a worker takes while it serves, in relation to what it takes after it has loaded the application."""

AMPLE: Final = 1 << 30
"""Bytes for each worker that are enough without measuring one: then all start at the same time."""

MIB: Final = 1 << 20


class Sizing(NamedTuple):
    """A number of workers, and where it comes from, in words."""

    workers: int
    why: str


def by_cpus(found: Capacity) -> Sizing:
    """Return one worker for each CPU."""
    cores = f"{found.cores} CPU{'s' if found.cores != 1 else ''}"
    if found.quota is not None and found.cpus < found.cores:
        return Sizing(found.cpus, f"a CPU quota of {found.quota:g} of {cores}")
    return Sizing(found.cpus, cores)


def is_ample(found: Capacity, workers: int) -> bool:
    """Tell whether so many workers have room, whatever the application takes."""
    return workers <= 1 or found.memory is None or found.memory.free >= workers * AMPLE


def more(found: Capacity, size: int | None) -> int | None:
    """Return how many more workers of `size` bytes have room, besides one for a reload; None where that is not known."""
    if found.memory is None or not size:
        return None
    return max(0, math.floor(found.memory.free / (size * GROWTH)) - 1)


def by_memory(cpus: Sizing, found: Capacity, size: int | None, *, there: int) -> Sizing:
    """Return as many workers as CPUs, or as have room; `there` serve already, and each takes `size` bytes."""
    room = more(found, size)
    if room is None or size is None or found.memory is None or there + room >= cpus.workers:
        return cpus
    workers = max(1, there + room)
    group = " in the control group" if found.limited else ""
    why = (
        f"{cpus.why}, but memory for {workers}: {found.memory.free // MIB} MiB are free{group}, a worker takes "
        f"{math.ceil(size * GROWTH / MIB)} MiB, and a reload needs room for one more"
    )
    return Sizing(workers, why)


def sizing_of(found: Capacity, size: int | None, *, there: int = 1) -> Sizing:
    """Return what auto is; so many workers, or processes that have loaded the application like one, take `size` bytes each."""
    cpus = by_cpus(found)
    return cpus if is_ample(found, cpus.workers) else by_memory(cpus, found, size, there=there)
