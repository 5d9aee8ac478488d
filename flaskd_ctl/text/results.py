"""Results as text for people; JSON is the result itself.

Fields may be missing or new: the daemon may be of another version.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import clock, count, span
from flaskd_ctl.text.layout import printable, printable_within, state, table
from flaskd_ctl.text.requests import request


def as_json(result: Any) -> str:
    """Write one line of JSON."""
    return json.dumps(result)


def as_text(method: str, result: dict[str, Any], *, colour: bool = False) -> str:
    """Write the result of `method` for people."""
    writer = _WRITERS.get(method)
    if writer is None and method in _ELSEWHERE:
        module = importlib.import_module(f"flaskd_ctl.text.{_ELSEWHERE[method]}")
        writer = module.WRITERS[method]
    return writer(printable_within(result), colour) if writer else as_json(result)


def actor(by: dict[str, Any] | None) -> str:
    """Write who asked."""
    if not by:
        return "unknown"
    parts = [f"{what} {by[what]}" for what in ("key", "uid", "pid") if by.get(what) not in (None, "")]
    via = " ".join(part for part in (str(by.get("via", "")), str(by.get("detail") or "")) if part)
    return printable(", ".join([via, *parts]))


def listing(rows: list[dict[str, Any]], *, colour: bool = False) -> str:
    """Write the instances that `list` found."""
    cells = [
        (
            row["name"],
            row["state"],
            "-" if row["pid"] is None else row["pid"],
            "-" if row["since"] is None else clock(float(row["since"])),
            ", ".join(row["listeners"]) or "-",
            row["detail"],
        )
        for row in rows
    ]
    return table(cells, head=("NAME", "STATE", "PID", "SINCE", "SERVES", ""), coloured=1 if colour else None)


def event_line(event: dict[str, Any]) -> str:
    """Write one event in one line."""
    event = printable_within(event)
    kind = event.get("event")
    at = clock(float(event.get("at", 0.0)))
    if kind == "state":
        by = f" (by {actor(event['by'])})" if event.get("by") else ""
        return f"{at} {printable(event.get('was'))} -> {printable(event.get('state'))}{by}"
    if kind == "progress":
        return f"{at} {progress_line(event)}"
    if kind == "cut":
        return f"{at} cut {request(event.get('request') or {})}"
    if kind == "slow":
        limit = span(float(event.get("limit") or 0.0))
        return f"{at} slow, more than {limit}: {request(event.get('request') or {})}"
    if kind == "saturation":
        rejected = (
            f"{count(int(event.get('rejected') or 0), 'request')} waited too long and were answered 503"
        )
        return f"{at} {'saturated' if event.get('saturated') else 'no longer saturated'}: {rejected}"
    if kind == "lost":
        return f"{at} {event.get('count')} events were lost here: this client reads too slowly"
    if kind in {"worker", "template", "incident", "scale"}:
        from flaskd_ctl.text import workers as workers_text

        if kind == "scale":
            return f"{at} {workers_text.scale_line(event)}"
        if kind != "incident":
            return f"{at} {workers_text.worker_line(event)}"
        return f"{at} {workers_text.incident_line(event.get('incident') or {})}"
    return f"{at} {printable(as_json(event))}"


def progress_line(event: dict[str, Any]) -> str:
    """Write the progress of a shutdown; the deadline is a time of day, so the line stays true while nothing changes."""
    parts = [f"{printable(event.get('phase', 'stopping'))}: {event.get('in_flight', 0)} in flight"]
    idle = event.get("connections", 0) - event.get("in_flight", 0)
    if idle > 0:
        parts.append(f"{count(idle, 'connection')} without a request")
    left = event.get("deadline_left")
    if isinstance(left, int | float):
        parts.append(f"deadline {clock(float(event.get('at', time.time())) + left)}")
    if event.get("slowest"):
        parts.append(f"slowest {request(event['slowest'])}")
    return ", ".join(parts)


def failure(last: dict[str, Any]) -> str:
    """Write how a worker failed, in one line."""
    who = f"worker {last.get('worker')}"
    reason = (str(last.get("reason") or "").splitlines() or ["unknown"])[0]
    return printable(f"{who} (pid {last.get('pid')}): {reason.removeprefix(who).lstrip()}")


def _ping(result: dict[str, Any], colour: bool) -> str:
    return (
        f"{printable(result.get('name'))} answers: {state(str(result.get('state')), colour=colour)}, "
        f"pid {result.get('pid')}, protocol {printable(result.get('protocol'))}"
    )


def _status(result: dict[str, Any], colour: bool) -> str:
    ready = "ready" if result.get("ready") else "not ready"
    head = (
        f"{printable(result.get('name'))}: {state(str(result.get('state')), colour=colour)}, {ready}, "
        f"since {clock(float(result.get('since', 0.0)))}"
    )
    served = result.get("served") or {}
    counts = ", ".join(f"{count} {kind}" for kind, count in served.items() if count)
    workers = result.get("workers") or []
    rows = [
        (
            "app",
            f"{result.get('app')} (pid {result.get('pid')}, up {span(float(result.get('uptime', 0.0)))})",
        ),
        ("serves", ", ".join(result.get("listeners") or ["nothing"])),
        *(result.get("probes") or {}).items(),
        ("control", ", ".join(result.get("endpoints") or [])),
        ("in flight", f"{_in_flight(result)}, {result.get('connections')} open"),
        ("served", f"{sum(served.values())}{f' ({counts})' if counts else ''}"),
        ("rejected", _rejected(result)),
        (
            "engine",
            f"{result.get('engine')}" + (f" ({result['engine_why']})" if result.get("engine_why") else ""),
        ),
        (
            "versions",
            ", ".join(f"{name} {version}" for name, version in (result.get("versions") or {}).items()),
        ),
    ]
    rows += _status_extras(result)
    each = ""
    if workers or result.get("wanted_workers"):
        from flaskd_ctl.text import workers as workers_text

        rows.append(("workers", workers_text.summary(result)))
        rows.append(("scaling", workers_text.scaling(result)))
        rows += [("template", workers_text.template_line(one)) for one in result.get("templates") or []]
        each = workers_text.workers_table(workers, colour=colour, indent="    ")
    return "\n".join(filter(None, (head, table([row for row in rows if row[1]], indent="  "), each)))


def _rejected(result: dict[str, Any]) -> str:
    if not result.get("rejected"):
        return ""
    saturated = ", saturated now" if result.get("saturated") else ""
    return f"{count(result['rejected'], 'request')} after --max-queue-time{saturated}"


def _status_extras(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Write the fields that not every status has."""
    rows = []
    if note := _replaced(result):
        rows.append(("installed", note))
    if result.get("requested_by"):
        at = result.get("requested_at")
        rows.append(("asked by", actor(result["requested_by"]) + (f", {clock(float(at))}" if at else "")))
    if result.get("phase"):
        rows.append(("phase", str(result["phase"])))
    if isinstance(result.get("deadline_left"), int | float):
        rows.append(("deadline", f"in {span(float(result['deadline_left']))}"))
    if error := result.get("last_error"):
        at = clock(float(error.get("at", 0)))
        rows.append(("last error", f"{at} {error.get('request')}: {error.get('message')}"))
    if last := result.get("last_failure"):
        at = clock(float(last.get("at") or 0))
        rows.append(("last failure", f"{at} {failure(last)} (more: `flaskd_ctl incidents`)"))
    if stop := result.get("last_stop"):
        from flaskd_ctl.text.history import last_stop

        rows.append(("last stop", last_stop(stop)))
    return rows


def _replaced(result: dict[str, Any]) -> str:
    """Tell that flaskd on disk is not what runs; an older daemon does not know."""
    runs, installed = (result.get("versions") or {}).get("flaskd"), result.get("installed_flaskd", "")
    if runs is None or installed in {"", runs}:
        return ""
    if installed is None:
        return "flaskd is not completely installed: install it again"
    return f"flaskd {installed}: restart the instance to use it"


def _in_flight(status: dict[str, Any]) -> str:
    """Write how many of the requests that can be in flight are, and what waits; a worker that leaves still has threads."""
    queued = f", {status['queued']} queued" if status.get("queued") else ""
    if status.get("in_flight") is None:
        return f"unknown (no ledger){queued}"
    workers = status.get("workers") or []
    processes = sum(one.get("state") != "starting" for one in workers) if workers else 1
    return f"{status['in_flight']} of {int(status.get('threads') or 0) * processes}{queued}"


def _describe(result: dict[str, Any], _colour: bool) -> str:
    info = result.get("info") or {}
    caller = result.get("x-caller") or {}
    rows = []
    for method in result.get("methods") or []:
        params = [str(param.get("name")) for param in method.get("params") or []]
        needed = str(method.get("x-role", ""))
        may = "" if method.get("x-permitted", True) else " (not you)"
        rows.append((method.get("name"), needed + may, ", ".join(params), method.get("summary", "")))
    head = f"{printable(info.get('title', 'flaskd'))} {printable(info.get('version', ''))}".rstrip()
    listed = table(rows, head=("METHOD", "ROLE", "PARAMS", "SUMMARY"))
    you = f"you are {printable(caller['role'])} here; " if caller.get("role") else ""
    return f"{head}\n{listed}\n({you}the schemas: --json)"


def _state(result: dict[str, Any], colour: bool) -> str:
    ready = "ready" if result.get("ready") else "not ready"
    already = "" if result.get("changed", True) else ", as before"
    at = clock(float(result.get("since", 0.0)))
    return f"{state(str(result.get('state')), colour=colour)}, {ready}, since {at}{already}"


def _shutdown(result: dict[str, Any], _colour: bool) -> str:
    took = span(float(result.get("took", 0.0)))
    joined = ", joined to a shutdown already in progress" if result.get("joined") else ""
    answered = f"{count(result.get('answered', 0), 'request')} answered during the stop"
    if result.get("clean"):
        return f"stopped in {took}, nothing was cut, {answered}{joined}"
    cut = result.get("cut") or []
    others = max(
        0, int(result.get("connections_cut", 0)) - len(cut)
    )  # a request's own connection is no second loss
    queued = result.get("queued_cut", 0)
    died = result.get("workers_lost", 0)
    what = [count(len(cut), "request")] if cut or not (others or queued or died) else []
    what += [f"{count(others, 'connection')} of unknown requests"] if others else []
    what += [f"{queued} in the accept queue"] if queued else []
    what += [f"the requests of {count(died, 'worker')} that died"] if died else []
    head = f"stopped in {took}, {answered}{joined}, but cut: {', '.join(what)}"
    return "\n".join([head, *(f"  cut {request(one)}" for one in cut)])


def _kill(result: dict[str, Any], _colour: bool) -> str:
    return (
        f"killed pid {result.get('pid')}"
        if result.get("process_exits", True)
        else "killed; its program continues"
    )


def _history(result: dict[str, Any], colour: bool) -> str:
    from flaskd_ctl.text.history import history

    return history(result, colour)


_WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {
    "ping": _ping,
    "status": _status,
    "describe": _describe,
    "drain": _state,
    "resume": _state,
    "shutdown": _shutdown,
    "kill": _kill,
    "history": _history,
}

_ELSEWHERE: Final = {
    "workers": "workers",
    "incidents": "workers",
    "incident": "workers",
    "reload": "workers",
    "scale": "workers",
    "restart_worker": "workers",
    "errors": "problems",
    "error": "problems",
    "slow": "problems",
    "cancel": "problems",
    "gc": "diagnosis",
    "stats": "metrics",
    "metrics": "metrics",
    "call": "application",
    "commands": "application",
    "routes": "application",
    "app_config": "application",
    "info": "code",
    "config": "tuning",
    "set": "tuning",
    "unset": "tuning",
    "log_level": "tuning",
    "log_levels": "tuning",
    "logs": "logs",
    "reopen_logs": "logs",
    "profile": "profiles",
    "requests": "stacks",
    "stacks": "stacks",
}
"""The module that writes the result of each further command: it is imported only for that."""
