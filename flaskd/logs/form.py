"""How a line is written: as text for people, as JSON for programs, plain for somebody who develops, or for the journal.

The journal knows the time itself.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from flaskd.console.priority import Priority
from flaskd_ctl.contract.log_line import BAR, escaped, header, origin, text_of, timestamp
from flaskd_ctl.protocol import LogLine

FORMATS: Final = ("text", "json", "plain")

PRIORITIES: Final = {
    "debug": Priority.DEBUG,
    "info": Priority.INFO,
    "warning": Priority.WARNING,
    "error": Priority.ERR,
    "critical": Priority.ERR,
}
"""The journal's priority of each level."""


class Entry(NamedTuple):
    """A line, and its bytes if it was printed: they are passed on as they are. `priority` is for the journal."""

    line: LogLine
    printed: bytes | None = None
    priority: Priority = Priority.INFO


def as_text(entry: Entry) -> bytes:
    """Return an entry for a terminal or a file."""
    line = entry.line
    if entry.printed is not None:
        return (
            (header(line.at, line.stream) + origin(line.worker, process=line.process)).encode()
            + entry.printed
            + b"\n"
        )
    return f"{text_of(**msgspec.structs.asdict(line))}\n".encode("utf-8", "backslashreplace")


def as_json(entry: Entry) -> bytes:
    """Return an entry as one object in one line, with the fields that docs/logs.md lists."""
    line = entry.line
    fields = {
        "time": timestamp(line.at),
        "level": line.level,
        "process": line.process,
        "worker": line.worker,
        "request_id": line.request_id or None,
        "logger": line.logger or None,
        "stream": line.stream or None,
        "message": line.message,
    }
    return f"{json_text(fields)}\n".encode()


def as_plain(entry: Entry) -> bytes:
    """Return an entry for somebody who develops: what was printed as it is, a record without time, worker and request."""
    line = entry.line
    if entry.printed is not None:
        return entry.printed + b"\n"
    text = "\n".join(map(escaped, line.message.split("\n")))
    name = f"{escaped(line.logger)}: " if line.logger else ""
    level = f"{line.level} " if line.logger not in {"", "flaskd"} else ""
    return f"{level}{name}{text}\n".encode("utf-8", "backslashreplace")


def json_text(fields: Mapping[str, Any]) -> str:
    """Return an object in one line; unprintable characters are escaped, so that none acts on a terminal or ends the line."""
    text = msgspec.json.encode(fields).decode()
    return text if text.isprintable() else json.dumps(fields)


def for_journal(entry: Entry) -> bytes:
    """Return an entry for a stream that the journal reads: each line with its priority (sd-daemon(3))."""
    before = mark(entry.priority)
    if entry.printed is not None:
        return before + origin(entry.line.worker, process=entry.line.process).encode() + entry.printed + b"\n"
    lines = journal_message(entry.line).encode("utf-8", "backslashreplace").split(b"\n")
    return b"".join(before + line + b"\n" for line in lines)


def mark(priority: Priority) -> bytes:
    """Return what stands before a line so that the journal knows its priority; INFO needs nothing."""
    return f"<{priority:d}>".encode() if priority is not Priority.INFO else b""


def journal_message(line: LogLine) -> str:
    """Return a record as the journal shows it."""
    name = f"{escaped(line.logger)}: " if line.logger else ""
    first, *rest = (escaped(each) for each in line.message.split("\n"))
    return "\n".join(
        [f"{origin(line.worker, line.request_id, line.process)}{name}{first}", *(BAR + each for each in rest)]
    )


WRITERS: Final = {"text": as_text, "json": as_json, "plain": as_plain}
"""What writes an entry, by the setting `log_format`."""
