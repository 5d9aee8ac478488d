"""The epoll sets of this process and what is in them, from /proc/self/fdinfo (proc(5)). Not on Linux: none."""

import os
import re
import select
import sys
from collections.abc import Iterator
from typing import Final

LINUX: Final = sys.platform == "linux"


def sets_with(descriptor: int) -> Iterator[int]:
    """Yield the descriptors of the epoll sets that `descriptor` was added to."""
    for name in os.listdir("/proc/self/fd") if LINUX else []:
        try:
            if os.readlink(f"/proc/self/fd/{name}") != "anon_inode:[eventpoll]":
                continue
            with open(f"/proc/self/fdinfo/{name}", encoding="ascii") as lines:
                if any(re.match(rf"tfd:\s*{descriptor}\s", line) for line in lines):
                    yield int(name)
        except OSError:
            continue  # closed meanwhile


def count(descriptor: int, process: int | str = "self") -> int:
    """Return how many descriptors are in the epoll set `descriptor` of a process.

    Raises OSError where there is none, or where it is not ours to know (ptrace(2), "ptrace access mode checking").
    """
    with open(f"/proc/{process}/fdinfo/{descriptor}", "rb") as lines:
        return lines.read().count(b"tfd:")


def remove(descriptor: int) -> None:
    """Remove `descriptor` from every epoll set."""
    for each in list(sets_with(descriptor)):
        try:
            with select.epoll.fromfd(os.dup(each)) as poller:
                poller.unregister(descriptor)
        except OSError:
            continue  # a second descriptor of a set that has let go of it already
