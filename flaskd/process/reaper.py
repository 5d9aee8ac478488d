"""Reap orphaned processes if flaskd is process 1 of a container, or adopts orphans.

A process that has ended stays in the process table (a zombie) until its parent waits for it. If its parent has ended, process 1
of its namespace becomes the parent (pid_namespaces(7)): of processes that a worker started, and of those that the container
engine's health checks leave. Only process 1 can wait for them, and the table is limited. A process that adopts orphans
(PR_SET_CHILD_SUBREAPER, prctl(2)) takes the place of process 1 for those among its descendants.

The kernel shows one dead child at a time. That may be a worker of ours, which its own `Process` waits for; so `reap` is called
again when a worker has gone.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Container
from typing import Final

_INIT: Final = 1


_adopting = False


def exit_on_sigterm() -> None:
    """Make SIGTERM end process 1 until a loop handles it: for process 1 the kernel has no default action (kill(2))."""
    if os.getpid() == _INIT:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))


def on_child_exit(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call `call` when a child has ended, until the loop is closed, if we are process 1 or adopt orphans."""
    if os.getpid() == _INIT or _adopting:
        loop.add_signal_handler(signal.SIGCHLD, call)


def adopt_orphans(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Become the parent of descendants whose parent ends, and call `call` when a child has ended. Raises OSError.

    Linux only.
    """
    global _adopting
    if _adopting:
        return
    from flaskd.process.prctl import SET_CHILD_SUBREAPER, prctl  # only here: it takes memory

    prctl(SET_CHILD_SUBREAPER, 1)
    _adopting = True
    on_child_exit(loop, call)


def reap(ours: Callable[[], Container[int]]) -> None:
    """Reap dead children except `ours`, without waiting, if we are process 1 or adopt orphans."""
    while os.getpid() == _INIT or _adopting:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # does not reap it yet
        except ChildProcessError:
            return
        if dead is None or dead.si_pid in ours() or (_adopting and _is_own(dead.si_pid)):
            return
        os.waitpid(dead.si_pid, 0)


def _is_own(pid: int) -> bool:
    """Whether somebody here started it, and waits for it: it is in our session, which workers and their children are not."""
    try:
        return os.getsid(pid) == os.getsid(0)
    except ProcessLookupError:
        return False
