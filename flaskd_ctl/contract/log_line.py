"""A line of the log as text: the same in what the daemon writes and in `flaskd_ctl logs`.

    2026-01-01T10:01:37.250+01:00 error    [3 7f3a9c21d0e4-17] shop.cart: cannot pay
      | Traceback (most recent call last):

Every line begins with a time, or, if it continues a record, with BAR: no text that was logged can look like a line of its own.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""The levels of the module `logging`, in its order."""

STEP: Final = 10
"""`logging` numbers its levels in steps of ten, from 10."""

PRINTED_AS: Final = "info"
"""What the application prints has no level; where lines are chosen by level, it counts as this one."""

PROCESSES: Final = ("supervisor", "template", "worker")
"""What writes lines. The first two stand in the place of a worker's id."""

BAR: Final = "  | "
"""Begins the second and each further line of a record."""


def level_name(number: int) -> str:
    """Return the level of a number of `logging`; one between two levels is the lower one."""
    return LEVELS[min(max(number // STEP, 1), len(LEVELS)) - 1]


def rank(level: str | None) -> int:
    """Return where a level is in LEVELS; None is that of a printed line."""
    return LEVELS.index(level or PRINTED_AS)


def timestamp(at: float) -> str:
    """Return a Unix time as local time with milliseconds and offset (RFC 3339)."""
    milliseconds = round(at * 1000)
    before, after = _second(milliseconds // 1000)
    return f"{before}.{milliseconds % 1000:03d}{after}"


def text_of(
    *,
    at: float,
    level: str | None,
    worker: int | None,
    message: str,
    request_id: str = "",
    logger: str = "",
    stream: str = "",
    process: str = "",
) -> str:
    """Return a line as text, several lines if its message has several; unprintable characters are escaped."""
    first, *rest = (escaped(line) for line in message.split("\n"))
    name = f"{escaped(logger)}: " if logger else ""
    head = f"{header(at, level or stream)}{origin(worker, request_id, process)}{name}{first}"
    return "\n".join([head, *(BAR + line for line in rest)])


def header(at: float, word: str) -> str:
    """Return the beginning of a line: the time, and the level or the stream."""
    return f"{timestamp(at)} {word:<8} "


def origin(worker: int | None, request_id: str = "", process: str = "") -> str:
    """Return who wrote a line, and for which request; without a worker and a process, it is the supervisor."""
    who = worker if worker is not None else escaped(process) or PROCESSES[0]
    return f"[{who} {escaped(request_id)}] " if request_id else f"[{who}] "


def escaped(line: str) -> str:
    """Escape unprintable characters except tabs: none of them can begin a line, or act on a terminal."""
    if line.isprintable():
        return line
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode()
        for char in line
    )


@lru_cache(maxsize=8)
def _second(at: int) -> tuple[str, str]:
    """Return what stands before and after the milliseconds of a second."""
    local = time.localtime(at)
    offset = time.strftime("%z", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local), f"{offset[:3]}:{offset[3:5]}"
