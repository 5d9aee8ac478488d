"""The last stop of an instance and the audit log, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flaskd_ctl.contract import audit_log
from flaskd_ctl.contract.times import clock, span
from flaskd_ctl.text.layout import printable, table


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


def _by(stop: Mapping[str, Any]) -> str:
    """Write who asked, unless `why` says it."""
    by = stop.get("by") or {}
    if by.get("uid") is None and not by.get("key"):
        return f" (pid {by['pid']})" if by.get("pid") else ""
    return f" by {audit_log.described({**by, 'via': 'control'}, who=str(stop.get('who') or ''))}"


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
                entry.get("by") or {}, who=str(entry.get("who") or ""), user=str(entry.get("user") or "")
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
