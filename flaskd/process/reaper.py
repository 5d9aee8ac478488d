"""What process 1 of a container owes the others: the burial of those whose parents have ended.

A process that has ended stays in the table (a zombie) until its parent has asked how. One whose parent ended before it is
given to process 1 of its namespace (pid_namespaces(7)): what a worker has started and left, and what health checks leave that
the container engine runs. Nobody else can ask for them, and the table has an end.

The kernel shows one dead child at a time, and that may be a worker of ours, which its own `Process` waits for. So it is looked
again when a worker is gone.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Container
from typing import Final

_INIT: Final = 1


def exit_on_sigterm() -> None:
    """Let SIGTERM end process 1 until a loop takes it: the kernel knows no default for process 1 (kill(2))."""
    if os.getpid() == _INIT:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))


def on_child_exit(loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
    """Have `look` called when a child has ended, until the loop is closed, if we are process 1."""
    if os.getpid() == _INIT:
        loop.add_signal_handler(signal.SIGCHLD, look)


def reap(ours: Callable[[], Container[int]]) -> None:
    """Take the dead that are not `ours` out of the process table, if we are process 1. Waits for nobody."""
    while os.getpid() == _INIT:
        try:
            dead = os.waitid(
                os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT
            )  # shows it, and leaves it there
        except ChildProcessError:
            return
        if dead is None or dead.si_pid in ours():
            return
        os.waitpid(dead.si_pid, 0)
