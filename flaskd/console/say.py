"""Say a line to people: on stderr, or where the process's log goes."""

import contextlib
import sys
from collections.abc import Callable

from flaskd.console.priority import Priority, marked


def _print(line: str, priority: Priority) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(marked(line, priority), file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints for people


_write: Callable[[str, Priority], None] = _print


def send_to(write: Callable[[str, Priority], None] | None) -> None:
    """Have lines written by `write` from now on; None prints them to stderr, as at first."""
    global _write
    _write = write or _print


def say(line: str, priority: Priority = Priority.INFO) -> None:
    """Say one line. A closed stderr is ignored, so that it cannot make a stop fail.

    Control characters are escaped: a client chooses the path of its request, which must not control the operator's terminal.
    """
    _write(escaped(line), priority)


def escaped(line: str) -> str:
    """Return `line` with its unprintable characters escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
