"""The process that `flaskd run` is: its descriptor limit at the start, its end in time."""

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

STDOUT: Final = 1
STDERR: Final = 2

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
"""Signals that a supervisor takes as orders (of the last two, that they ask for nothing here); `signals` holds them."""

STACKS_SIGNAL: Final = signal.SIGURG
"""What makes a worker write the stacks of its threads; whoever does not handle it ignores it (signal(7))."""


def fill_standard_descriptors() -> None:
    """Let /dev/null stand where stdin, stdout or stderr was closed (`>&-`): what is opened next would be taken for it."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= STDERR:
        descriptor = os.dup(descriptor)
    os.close(descriptor)


def raise_descriptor_limit() -> int:
    """Raise RLIMIT_NOFILE to the hard limit (setrlimit(2)); returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS refuses its own "unlimited"
            return soft
    return hard


def check_descriptors(threads: int, limit: int) -> None:
    """Raise ConfigError where `threads` connections and what else the process needs exceed its descriptor `limit`."""
    if limit != resource.RLIM_INFINITY and threads > limit - RESERVE:
        raise ConfigError(
            f"{threads} threads need {threads + RESERVE} descriptors, this process may have {limit}",
            hint="choose fewer --threads, or raise LimitNOFILE= or `ulimit -n`",
        )


def exit_within(seconds: float) -> None:
    """See that the process ends soon, and in `seconds` at the latest, also if a thread of the application would stay.

    The interpreter waits at its end for every thread that is no daemon, without bound; an operator who was told "stopped"
    waits for the process. What is cut short is said on stderr.
    """
    # The collector's last rounds over all modules are most of the interpreter's end (45 ms of which 37, seen with httpbin):
    # frozen objects are passed over. Threads are joined, atexit functions and destructors run all the same.
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
    """See that the interpreter's last steps are left out if `when` says so after all exit functions; call it before any other.

    A thread that is still in a request then dies where it next takes the GIL, by pthread_exit. Beneath a thread of granian's
    are Rust's frames, which cannot be unwound: the process would end in a panic (seen with Python 3.11).
    """
    atexit.register(lambda: exit_now(0) if when() else None)


def exit_now(code: int) -> NoReturn:
    """End without the interpreter's clean-up; what was printed is written."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: was closed at the start
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
