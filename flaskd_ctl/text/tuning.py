"""Settings, levels of loggers, and what was changed of them, as text for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import clock
from flaskd_ctl.text.diagnosis import failures
from flaskd_ctl.text.layout import table

TAKES: Final = {
    "reload": "`reload` takes it",
    "restart": "a restart of the instance takes it",
    "unset": "`unset` takes it",
    "unset and reload": "`unset` and `reload` take it",
}


def _config(result: dict[str, Any], _colour: bool) -> str:
    settings = result.get("settings") or []
    rows = [
        (
            one.get("name"),
            _value(one.get("value")),
            str(one.get("source")) + _until(one),
            one.get("change"),
            _now(one),
        )
        for one in settings
    ]
    lines = [table(rows, head=("SETTING", "VALUE", "FROM", "CHANGE BY", "NOW IN THE FILES")) or "no settings"]
    if error := result.get("files_error"):
        lines.append(f"cannot tell what a reload would change: {error}")
    return "\n".join(lines)


def _now(one: dict[str, Any]) -> str:
    if not one.get("takes"):
        return ""
    takes = TAKES.get(str(one["takes"]), str(one["takes"]))
    return f"{_value(one.get('now'))} ({one.get('now_source')}): {takes}"


def _set(result: dict[str, Any], _colour: bool) -> str:
    key, value, was = result.get("setting"), _value(result.get("value")), _value(result.get("was"))
    if not result.get("changed", True):
        return f"{key} is not set: it is {value} ({result.get('source')})"
    origin = "" if result.get("source") == "set" else f" ({result.get('source')})"
    head = f"{key} is {value}{origin}{_until(result)}; it was {was} ({result.get('was_source')})"
    return "\n".join([head, *failures(result.get("workers") or [])])


def _log_level(result: dict[str, Any], _colour: bool) -> str:
    logger, level, worker = result.get("logger"), result.get("level"), result.get("worker")
    where = f" in worker {worker}" if worker is not None else ""
    was = f"; {result['was']} was set before" if result.get("was") else ""
    now = "has its own level" if level == "default" else f"has the level {level}{_until(result)}"
    return "\n".join([f"{logger} {now}{where}{was}", *failures(result.get("workers") or [])])


def _log_levels(result: dict[str, Any], _colour: bool) -> str:
    levels = result.get("levels") or []
    rows = [
        (
            one.get("logger"),
            one.get("level"),
            str(one.get("source")) + _until(one),
            ", ".join(str(worker) for worker in one.get("workers") or [] if worker) or "-",
        )
        for one in levels
    ]
    lines = [table(rows, head=("LOGGER", "LEVEL", "FROM", "WORKERS")) or "no worker serves now"]
    if result.get("more"):
        lines.append(f"and {result['more']} more")
    return "\n".join([*lines, *failures(result.get("workers") or [])])


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "-"


def _until(one: dict[str, Any]) -> str:
    until = one.get("until")
    return f" until {clock(float(until))}" if until is not None else ""


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {
    "config": _config,
    "set": _set,
    "unset": _set,
    "log_level": _log_level,
    "log_levels": _log_levels,
}
"""What writes the result of each command."""
