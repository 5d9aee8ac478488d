"""Workers, their progress and their incidents as text for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import clock, count, span
from flaskd_ctl.text.layout import mebibytes, paragraph, printable, table
from flaskd_ctl.text.requests import requests_table

VERBS: Final = {
    "starting": "starts",
    "serving": "serves",
    "leaving": "leaves",
    "gone": "is gone",
    "loading": "loads the application",
    "ready": "has loaded the application",
}
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
            one.get("pid") or "-",
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


def template_line(one: dict[str, Any]) -> str:
    """Write a template in one line."""
    memory = f"{mebibytes(one.get('rss'))}/{mebibytes(one.get('pss'))} MiB"
    return f"pid {one.get('pid')}, {one.get('state')}, generation {one.get('generation')}, {memory}"


def summary(status: dict[str, Any]) -> str:
    """Write how many of the wanted workers serve, and how many have died."""
    serving = sum(one.get("state") == "serving" for one in status.get("workers") or [])
    parts = [f"{serving} of {status.get('wanted_workers')} serve", f"generation {status.get('generation')}"]
    if restarts := status.get("restarts"):
        parts.append(f"{restarts} exited unexpectedly")
    return ", ".join(parts)


def scaling(status: dict[str, Any]) -> str:
    """Write where the number of workers comes from; "" for a fixed number."""
    known = status.get("scaling") or {}
    parts = []
    if known.get("scaled") is not None:
        until = "until the instance ends"
        if known.get("until"):
            until = f"until {clock(float(known['until']))}, then {known.get('setting')}"
        parts.append(f"{known['scaled']} set by `scale` {until}")
    elif known.get("why") or ".." in str(known.get("setting")):
        wanted = f", {status.get('wanted_workers')}" if known.get("since") else ""
        since = f"{wanted} since {clock(float(known['since']))}" if known.get("since") else ""
        why = f": {known['why']}" if known.get("why") else ""
        parts.append(f"{known.get('setting')}{since}{why}")
    if known.get("limited"):
        parts.append(f"more are needed: {known['limited']}")
    return "; ".join(parts)


def scale_line(event: dict[str, Any]) -> str:
    """Write a `scale` event."""
    least, most, wanted = event.get("minimum"), event.get("maximum"), count(event.get("wanted", 0), "worker")
    between = f" ({least}..{most})" if least != most else ""
    return printable(f"scaled from {event.get('was')} to {wanted}{between}: {event.get('why')}")


def step(event: dict[str, Any]) -> str:
    """Write the state of a worker, or of a template."""
    state = str(event.get("state"))
    return printable(f"{_who(event)} {VERBS.get(state, state)}")


def worker_line(event: dict[str, Any]) -> str:
    """Write a `worker` or a `template` event."""
    why = f": {event['why']}" if event.get("why") else ""
    return printable(f"{step(event)}{why}, generation {event.get('generation')}")


def incident_line(incident: dict[str, Any]) -> str:
    """Write an incident in one line."""
    return printable(
        f"incident {incident.get('id')}, {incident.get('kind')}: {_who(incident)}: {incident.get('reason')}"
    )


def _workers(result: dict[str, Any], colour: bool) -> str:
    lines = [workers_table(result.get("workers") or [], colour=colour) or "no worker"]
    lines += [printable(f"template: {template_line(each)}") for each in result.get("templates") or []]
    return "\n".join(lines)


def _who(one: dict[str, Any]) -> str:
    """Name what an event or an incident is of."""
    who = f"worker {one['worker']}" if one.get("worker") else "template"
    return f"{who} (pid {one.get('pid')})" if one.get("pid") else who


def _incidents(result: dict[str, Any], _colour: bool) -> str:
    rows = [
        (
            one.get("id"),
            clock(float(one.get("at") or 0.0)),
            one.get("kind"),
            one.get("worker") or "-",
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
    until = f", until {clock(float(result['until']))}" if result.get("until") else ""
    return f"scaled{_named(result)}: {count(there, 'worker')}, {change}{until}"


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
