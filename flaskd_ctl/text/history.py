"""The last stop of an instance and the audit log, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flaskd_ctl.contract import audit_log
from flaskd_ctl.contract.times import clock, span
from flaskd_ctl.text.layout import cut, printable, table

LONGEST: Final = 50
"""Characters of a command line in a text for people; with --json it is whole."""


def last_stop(stop: Mapping[str, Any]) -> str:
    """Write how an instance ended, in one line."""
    why = str(stop.get("why") or "")
    if stop.get("at") is None:
        return printable(
            f"pid {stop.get('pid')} {why}: killed, or the machine went down, or its disk was full"
        )
    took = f", took {span(float(stop['took']))}" if isinstance(stop.get("took"), int | float) else ""
    how = "clean" if stop.get("clean") else "not clean"
    return printable(f"{clock(float(stop['at']))}, {how}{took}: {why}{_by(stop)}")


def brief(command_line: str) -> str:
    """Shorten the command line of a caller: no directories of programs, and at most LONGEST characters."""
    words = command_line.split(" ")
    words[:2] = [word if word.startswith("-") else word.rpartition("/")[2] or word for word in words[:2]]
    text = " ".join(words)
    return cut(text, LONGEST)


def _by(stop: Mapping[str, Any]) -> str:
    """Write who asked, unless `why` says it."""
    by = stop.get("by") or {}
    if by.get("uid") is None and not by.get("key"):
        return f" (pid {by['pid']})" if by.get("pid") else ""
    return f" by {audit_log.described({**by, 'via': 'control'}, who=brief(str(stop.get('who') or '')))}"


def stopped_status(name: str, stop: Mapping[str, Any]) -> str:
    """Write what `status` shows of an instance that has stopped."""
    return f"{printable(name)}: stopped\n  last stop  {last_stop(stop)}"


def history(result: Mapping[str, Any], _colour: bool = False) -> str:
    """Write the audit log, one line for each command; below a refused or failed one, the reason."""
    entries = result.get("entries") or []
    rows = [
        (
            clock(float(entry.get("at") or 0.0)),
            " ".join(
                [str(entry.get("command")), *(f"{k}={v}" for k, v in (entry.get("params") or {}).items())]
            ),
            str(entry.get("outcome")),
            span(float(entry["took"])) if isinstance(entry.get("took"), int | float) else "-",
            entry.get("role") or "-",
            audit_log.described(
                entry.get("by") or {},
                who=brief(str(entry.get("who") or "")),
                user=str(entry.get("user") or ""),
            ),
        )
        for entry in entries
    ]
    if not rows:
        return "the audit log is empty"
    head, *lines = table(rows, head=("AT", "COMMAND", "OUTCOME", "TOOK", "ROLE", "ASKED BY")).splitlines()
    for entry, line in zip(entries, lines, strict=True):
        head += f"\n{line}" + (f"\n  {printable(entry['error'])}" if entry.get("error") else "")
    return head
