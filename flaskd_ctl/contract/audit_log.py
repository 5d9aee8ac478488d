"""Read the audit log: one JSON object a line. A command may have several lines with the same `id`; the last one counts.

The daemon reads it for `history`, the client for an instance that has stopped. Only the end of the file is read. Lines that are
not entries (a partial line of a writer that was killed, a comment) are skipped.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final

SUFFIX: Final = ".audit.jsonl"

ENDS: Final = (65_536, 524_288)
"""Bytes to read from the end of the file: the second value if the first has too few entries. Either fits into one message."""

HIDDEN: Final = "***"
QUERY: Final = re.compile(r"\?[^\s'\"]+")

TEXTS: Final = ("id", "command", "who", "role", "outcome", "error", "user")


def newest(path: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest entries of the file, newest last, `limit` at most; raises OSError."""
    entries: list[dict[str, Any]] = []
    # O_NONBLOCK: a pipe without a writer must not block.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        length = os.fstat(descriptor).st_size
        for size in ENDS:
            start = max(0, length - size)
            data = os.pread(descriptor, size, start)
            entries = merged(data if start == 0 else data.partition(b"\n")[2])
            if len(entries) >= limit or start == 0:
                break
    finally:
        os.close(descriptor)
    return entries[-limit:]


def merged(data: bytes) -> list[dict[str, Any]]:
    """Return one entry for each command, oldest first."""
    entries: dict[str, dict[str, Any]] = {}
    for line in data.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_entry(entry):
            entries[entry["id"]] = entry
    return list(entries.values())


def without_query(text: str) -> str:
    """Hide the query strings in `text`: they may contain tokens."""
    return QUERY.sub(f"?{HIDDEN}", text)


def described(by: Mapping[str, Any], *, who: str = "", user: str = "") -> str:
    """Describe a caller in a few words; `who` is the command line, `user` the name of the uid, both "" if unknown."""
    via, detail, pid = by.get("via"), str(by.get("detail") or ""), by.get("pid")
    if via == "application":
        return f"the application (pid {pid})"
    if via == "code":
        return detail or "the program"
    if via == "http":
        return f"a request ({detail})"
    if by.get("key"):
        return f"key {by['key']}"
    if by.get("uid") is None:
        return detail or "unknown"
    inside = ", ".join(part for part in (user, f"pid {pid}" if pid else "", who) if part)
    asked = f"uid {by['uid']}" + (f" ({inside})" if inside else "")
    return f"{detail} from {asked}" if via == "signal" else asked


def _is_entry(read: Any) -> bool:
    """Tell whether it has the fields of `protocol.AuditEntry`."""
    return (
        isinstance(read, dict)
        and all(isinstance(read.get(name), str) for name in TEXTS)
        and isinstance(read.get("at"), int | float)
        and isinstance(read.get("took"), int | float | None)
        and isinstance(read.get("params"), dict)
        and isinstance(read.get("by"), dict)
        and isinstance(read["by"].get("via"), str)
    )
