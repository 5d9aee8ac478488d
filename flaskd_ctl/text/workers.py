"""Workers, their progress and their incidents as text for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import clock, count, span
from flaskd_ctl.text.layout import mebibytes, paragraph, printable, table
from flaskd_ctl.text.requests import requests_table

VERBS: Final = {"starting": "starts", "serving": "serves", "leaving": "leaves", "gone": "is gone"}
HEAD: Final = (
    "ID",
    "PID",
    "STATE",
    "AGE",
    "GENERATION",
    "IN FLIGHT",
    "OPEN",
    "SERVED",
    "RSS/PSS MiB",
    "STARTED FOR",
)


def workers_table(workers: list[dict[str, Any]], *, colour: bool, indent: str = "") -> str:
    """Write one line for each worker; "-" for unknown values."""
    rows = [
        (
            one.get("id"),
            one.get("pid"),
            one.get("state"),
            span(float(one.get("age") or 0.0)),
            one.get("generation"),
            _known(one.get("in_flight")),
            _known(one.get("connections")),
            sum((one.get("served") or {}).values()),
            f"{mebibytes(one.get('rss'))}/{mebibytes(one.get('pss'))}",
            one.get("why"),
        )
        for one in workers
    ]
    return table(rows, head=HEAD, indent=indent, coloured=2 if colour else None)


def summary(status: dict[str, Any]) -> str:
    """Write how many of the wanted workers serve, and how many have died."""
    serving = sum(one.get("state") == "serving" for one in status.get("workers") or [])
    parts = [f"{serving} of {status.get('wanted_workers')} serve", f"generation {status.get('generation')}"]
    if restarts := status.get("restarts"):
        parts.append(f"{restarts} exited unexpectedly")
    return ", ".join(parts)


def step(event: dict[str, Any]) -> str:
    """Write the state of a worker."""
    state = str(event.get("state"))
    return printable(f"worker {event.get('worker')} (pid {event.get('pid')}) {VERBS.get(state, state)}")


def worker_line(event: dict[str, Any]) -> str:
    """Write a `worker` event."""
    return printable(f"{step(event)}: {event.get('why')}, generation {event.get('generation')}")


def incident_line(incident: dict[str, Any]) -> str:
    """Write an incident in one line."""
    who = f"worker {incident.get('worker')} (pid {incident.get('pid')})"
    return printable(
        f"incident {incident.get('id')}, {incident.get('kind')}: {who}: {incident.get('reason')}"
    )


def _workers(result: dict[str, Any], colour: bool) -> str:
    return workers_table(result.get("workers") or [], colour=colour) or "no worker"


def _incidents(result: dict[str, Any], _colour: bool) -> str:
    rows = [
        (
            one.get("id"),
            clock(float(one.get("at") or 0.0)),
            one.get("kind"),
            one.get("worker"),
            one.get("pid"),
            len(one.get("requests") or []) + int(one.get("unnamed") or 0),
            one.get("reason"),
        )
        for one in result.get("incidents") or []
    ]
    return table(rows, head=("ID", "AT", "KIND", "WORKER", "PID", "REQUESTS", "REASON")) or "no incident"


def _incident(result: dict[str, Any], _colour: bool) -> str:
    return "\n".join(_whole(one) for one in result.get("incidents") or []) or "no such incident"


def _whole(one: dict[str, Any]) -> str:
    lines = [f"{clock(float(one.get('at') or 0.0))} {incident_line(one)}"]
    if one.get("requests"):
        lines += ["requests in flight:", requests_table(one["requests"], indent="  ")]
    if one.get("unnamed"):
        lines.append(f"{count(one['unnamed'], 'connection')} with unknown requests lost")
    for part in ("stacks", "traceback"):
        if one.get(part):
            lines += [f"{part}:", paragraph(str(one[part]), indent="  ")]
    return "\n".join(lines)


def _reload(result: dict[str, Any], _colour: bool) -> str:
    joined = ", joined to a reload already in progress" if result.get("joined") else ""
    replaced, took = count(result.get("replaced", 0), "worker"), span(float(result.get("took") or 0.0))
    head = f"reloaded{_named(result)}: {replaced} replaced in {took}, generation {result.get('generation')}{joined}"
    lines = []
    later = result.get("needs_restart") or []
    now = [name for name in result.get("changed") or [] if name not in later]
    if now:
        lines.append(f"  changed settings: {', '.join(now)}")
    if later:
        lines.append(f"  changed, but takes effect only after a restart of the daemon: {', '.join(later)}")
    if overridden := result.get("overridden"):
        lines.append(
            f"  changed in the files, but another value is set: {', '.join(overridden)} (see `unset`)"
        )
    return "\n".join([head, *map(printable, lines)])


def _scale(result: dict[str, Any], _colour: bool) -> str:
    there, was = result.get("workers", 0), result.get("was")
    change = "as before" if there == was else f"{was} before, in {span(float(result.get('took') or 0.0))}"
    return f"scaled{_named(result)}: {count(there, 'worker')}, {change}"


def _restart(result: dict[str, Any], _colour: bool) -> str:
    took = span(float(result.get("took") or 0.0))
    return f"restarted{_named(result)}: worker {result.get('worker')} in place of {result.get('replaced')}, in {took}"


def _named(result: dict[str, Any]) -> str:
    return f" {printable(result['name'])}" if result.get("name") else ""


def _known(number: int | None) -> int | str:
    return "-" if number is None else number


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {
    "workers": _workers,
    "incidents": _incidents,
    "incident": _incident,
    "reload": _reload,
    "scale": _scale,
    "restart_worker": _restart,
}
"""What writes the result of each command; "incident" is `incidents` with an id."""
