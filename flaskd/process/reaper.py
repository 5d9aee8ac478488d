"""Reap orphaned processes if flaskd is process 1 of a container.

A process that has ended stays in the process table (a zombie) until its parent waits for it. If its parent has ended, process 1
of its namespace becomes the parent (pid_namespaces(7)): of processes that a worker started, and of those that the container
engine's health checks leave. Only process 1 can wait for them, and the table is limited.

The kernel shows one dead child at a time. That may be a worker of ours, which its own `Process` waits for; so `reap` is called
again when a worker has gone.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Container
from typing import Final

_INIT: Final = 1


def exit_on_sigterm() -> None:
    """Make SIGTERM end process 1 until a loop handles it: for process 1 the kernel has no default action (kill(2))."""
    if os.getpid() == _INIT:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))


def on_child_exit(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call `call` when a child has ended, until the loop is closed, if we are process 1."""
    if os.getpid() == _INIT:
        loop.add_signal_handler(signal.SIGCHLD, call)


def reap(ours: Callable[[], Container[int]]) -> None:
    """Reap dead children except `ours`, without waiting, if we are process 1."""
    while os.getpid() == _INIT:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # does not reap it yet
        except ChildProcessError:
            return
        if dead is None or dead.si_pid in ours():
            return
        os.waitpid(dead.si_pid, 0)
