"""A worker's signals: it leaves a stop to the supervisor, and writes stacks when asked. Forked children have none of this."""

import faulthandler
import signal
from types import FrameType
from typing import Final

from flaskd.process import ending, forks

IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def take_signals() -> None:
    """Ignore signals that reach every process of the instance (from systemd, a container engine): the supervisor decides."""
    for number in IGNORED:
        # Not SIG_IGN, which what the application starts would inherit (execve(2)). What is ignored already stays so, there too.
        if signal.getsignal(number) is not signal.SIG_IGN:
            forks.take_signal(number, leave_to_supervisor)


def leave_to_supervisor(number: int, frame: FrameType | None) -> None:
    """Ignore a signal."""


def write_stacks_to(descriptor: int) -> None:
    """Write the stacks of all threads there at STACKS_SIGNAL; a child that the application forks does not."""
    faulthandler.register(ending.STACKS_SIGNAL, file=descriptor, all_threads=True)
    forks.undo_in_children(lambda: faulthandler.unregister(ending.STACKS_SIGNAL))
