"""Print a line for people on stderr."""

import contextlib
import sys

from flaskd.console.priority import Priority, marked


def say(line: str, priority: Priority = Priority.INFO) -> None:
    """Print one line to stderr and flush it. A closed stderr is ignored, so that it cannot make a stop fail.

    Control characters are escaped: a client chooses the path of its request, which must not control the operator's terminal.
    """
    line = escaped(line)
    with contextlib.suppress(OSError, ValueError):
        print(marked(line, priority), file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints for people


def escaped(line: str) -> str:
    """Return `line` with its unprintable characters escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
