"""Priorities of lines for the journal: a prefix such as <3> (sd-daemon(3)), only if the journal reads stderr."""

import logging
import os
import re
import sys
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


LEVELS: Final = (
    (logging.ERROR, Priority.ERR),
    (logging.WARNING, Priority.WARNING),
    (logging.INFO, Priority.INFO),
    (0, Priority.DEBUG),
)
PREFIX: Final = re.compile(rb"<[0-7]>")

_marking = False


def journal_reads(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether `descriptor` is the stream that systemd connected to the journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        there = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{there.st_dev}:{there.st_ino}"


def mark_lines() -> None:
    """Mark lines from now on, in `marked` and in the records of the root logger."""
    global _marking
    _marking = True
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
            handler.setFormatter(_Marked(handler.formatter or logging.Formatter()))


def marking() -> bool:
    """Whether lines are marked."""
    return _marking


def marked(line: str, priority: Priority) -> str:
    """Return `line` with its priority, if lines are marked; INFO needs no mark."""
    return f"<{priority:d}>{line}" if _marking and priority is not Priority.INFO else line


def before(prefix: bytes, line: bytes) -> bytes:
    """Put `prefix` before `line`, but after its priority, which the journal expects at the first byte."""
    found = PREFIX.match(line) if _marking else None
    return prefix + line if found is None else found[0] + prefix + line[found.end() :]


class _Marked(logging.Formatter):
    """Formats a record with another formatter, and marks each line with the record's priority."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Mark every line, because the journal makes an entry of each."""
        priority = next(priority for level, priority in LEVELS if record.levelno >= level)
        return "\n".join(marked(line, priority) for line in self._inner.format(record).split("\n"))
