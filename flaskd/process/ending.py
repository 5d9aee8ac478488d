"""The process of `flaskd run`: its descriptor limit at the start, and its end in time."""

import atexit
import contextlib
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final, NoReturn

from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd.errors import ConfigError
from flaskd.process.descriptors import RESERVE

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

CUT: Final = 6
"""Exit code after a stop that cut requests, as of `flaskd_ctl shutdown`."""

KILLED: Final = 137
"""Exit code after `kill`: what a shell shows for SIGKILL."""

SUPERVISOR_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Signals that a supervisor handles (the last two do nothing); see `signals.block`."""

STACKS_SIGNAL: Final = signal.SIGURG
"""Makes a worker write the stacks of its threads; a process that does not handle it ignores it (signal(7))."""


def check_descriptors(threads: int, limit: int) -> None:
    """Raise ConfigError if the descriptor `limit` is too low for `threads` connections and what else the process needs."""
    if limit != resource.RLIM_INFINITY and threads > limit - RESERVE:
        raise ConfigError(
            f"{threads} threads need {threads + RESERVE} descriptors, this process may have {limit}",
            hint="choose fewer --threads, or raise LimitNOFILE= or `ulimit -n`",
        )


def exit_within(seconds: float) -> None:
    """Make the process exit within `seconds`, even if a thread of the application continues.

    The interpreter waits at its end for every thread that is not a daemon thread, without limit; but an operator who has read
    "stopped" waits for the process. What is cut short is printed to stderr.
    """
    # The garbage collector's last runs over all modules are most of the interpreter's end (37 of 45 ms, measured with
    # httpbin): they skip frozen objects. Threads are still joined; atexit functions and destructors still run.
    gc.freeze()

    def end() -> None:
        main = threading.main_thread()
        alive = [each.name for each in threading.enumerate() if not each.daemon and each is not main]
        say(
            f"flaskd: still running after {seconds:g} s, ended: {', '.join(alive) or 'clean-up'}",
            Priority.WARNING,
        )
        exit_now(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def skip_finalizing(when: Callable[[], bool]) -> None:
    """Skip the interpreter's last steps if `when` returns True after all exit functions; call this before registering others.

    In these steps a thread that is still in a request is ended by pthread_exit when it next takes the GIL. A thread of granian
    has Rust frames, which cannot be unwound: the process would panic (seen with Python 3.11).
    """
    atexit.register(lambda: exit_now(0) if when() else None)


def exit_now(code: int) -> NoReturn:
    """Exit without the interpreter's clean-up, after flushing stdout and stderr."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: it was closed at the start
        with contextlib.suppress(OSError, ValueError):  # nobody reads it
            stream.flush()
    os._exit(code)
