"""The terminal of `flaskd dev`, which the worker gets too: `breakpoint()` reads and writes there.

A worker leads a session of its own, so the terminal is not its controlling terminal (tty(4)): it may read and write there
without being in the foreground, and Ctrl-C goes to the supervisor alone.
"""

import contextlib
import os
import termios
from typing import Any, Self

from flaskd.process.ending import STDIN, STDOUT


def is_ours() -> bool:
    """Whether we run in the foreground of a terminal, with both our input and our output there."""
    try:
        return os.isatty(STDOUT) and os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:  # it is no terminal, or not our controlling one
        return False


class Terminal:
    """Leaves the terminal as it was: a debugger that is killed while it edits a line leaves it without echo."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, termios.error):
            if is_ours():
                self._before = termios.tcgetattr(STDIN)
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError, termios.error):
            if self._before is not None and is_ours() and termios.tcgetattr(STDIN) != self._before:
                termios.tcsetattr(STDIN, termios.TCSADRAIN, self._before)
