"""Lines of the log as text for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from flaskd_ctl.contract.log_line import text_of
from flaskd_ctl.contract.times import count


def log_line(line: Mapping[str, Any]) -> str:
    """Write one line as the daemon does; nothing in it can act on a terminal."""
    return text_of(
        at=float(line.get("at") or 0.0),
        level=line.get("level"),
        worker=line.get("worker"),
        message=str(line.get("message", "")),
        request_id=str(line.get("request_id") or ""),
        logger=str(line.get("logger") or ""),
        stream=str(line.get("stream") or ""),
        process=str(line.get("process") or ""),
    )


def missing(result: Mapping[str, Any]) -> str:
    """Write how many lines are not among those that a reply has; "" if none is missing."""
    parts = []
    if left_out := result.get("left_out"):
        parts.append(f"{count(left_out, 'older line')} left out (--limit)")
    if dropped := result.get("dropped"):
        parts.append(f"{count(dropped, 'line')} of any kind no longer kept")
    return ", ".join(parts)


def lost(event: Mapping[str, Any]) -> str:
    """Write that lines are missing here."""
    return f"{count(event.get('count') or 0, 'line')} of any kind lost here: this client reads too slowly"


def _logs(result: dict[str, Any], _colour: bool) -> str:
    return "\n".join(map(log_line, result.get("lines") or [])) or "no such line"


def _reopen(result: dict[str, Any], _colour: bool) -> str:
    return "\n".join(f"opened {path}" for path in result.get("files") or []) or "no log file"


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {"logs": _logs, "reopen_logs": _reopen}
"""What writes the result of each command."""
