"""Priorities of lines for the journal: a prefix such as <3> (sd-daemon(3)), only if the journal reads stderr."""

import os
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Priority(IntEnum):
    """The syslog levels in use. A line without one is INFO (SyslogLevel= of the unit)."""

    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


PREFIX: Final = re.compile(rb"<([0-7])>")

_marking = False


def journal_reads(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether `descriptor` is the stream that systemd connected to the journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        there = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{there.st_dev}:{there.st_ino}"


def mark_lines() -> None:
    """Mark lines from now on."""
    global _marking
    _marking = True


def marking() -> bool:
    """Whether lines are marked."""
    return _marking


def marked(line: str, priority: Priority) -> str:
    """Return `line` with its priority, if lines are marked; INFO needs no mark."""
    return f"<{priority:d}>{line}" if _marking and priority is not Priority.INFO else line


def of(line: bytes) -> tuple[Priority, bytes]:
    """Return the priority that a printed line begins with, and its rest, if lines are marked: a program may choose it."""
    found = PREFIX.match(line) if _marking else None
    if found is None:
        return Priority.INFO, line
    return Priority(max(int(found[1]), Priority.ERR)), line[found.end() :]
