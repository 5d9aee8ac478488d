"""What a worker leaves behind: children that its application forked, and that run no other program.

They would hold memory and connections of a worker that is gone, and outlive a stop. A forked child still maps its worker's
request table; execve(2) unmaps it. Children for which `multiprocessing` starts Python anew are known by their command line.

A program that the application starts (subprocess) is left alone. So is a child in a session of its own: setsid(2) is how a
process says that it wants to live on. The kernel assigns sessions, so a worker that was taken over can have only its own
descendants killed.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Final

PROC: Final = "/proc"

MULTIPROCESSING: Final = (b"from multiprocessing.spawn import", b"from multiprocessing.forkserver import")
"""What the command line of a child of `multiprocessing` contains; its resource tracker ends by itself, after cleaning up."""


def kill_forked(session: int, table: int) -> None:
    """Kill what is left of the worker that led `session`; `table` is the descriptor of its request table. Linux only."""
    status = os.fstat(table)
    # As proc_pid_maps(5) shows it, so that two files with one inode number differ.
    mapped = f" {os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x} {status.st_ino} ".encode()
    killed: set[int] = set()
    while (
        found := {pid for pid in _members(session) if _is_forked(pid, mapped)} - killed
    ):  # they may fork too
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        killed |= found


def _members(session: int) -> Iterator[int]:
    """Yield the processes of a session but for its leader."""
    with contextlib.suppress(OSError):  # no /proc
        for name in filter(str.isdigit, os.listdir(PROC)):
            with contextlib.suppress(OSError):  # it has ended
                if os.getsid(int(name)) == session != int(name):
                    yield int(name)


def _is_forked(pid: int, mapped: bytes) -> bool:
    try:
        with open(f"{PROC}/{pid}/cmdline", "rb") as command, open(f"{PROC}/{pid}/maps", "rb") as maps:
            line = command.read()
            return any(word in line for word in MULTIPROCESSING) or mapped in maps.read()
    except OSError:
        return False
