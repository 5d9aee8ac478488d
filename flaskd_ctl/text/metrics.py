"""Numbers of finished requests, as text for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import clock, count, fine_span, span
from flaskd_ctl.text.layout import mebibytes, table

WINDOWS: Final = {"minute": "1 min", "five_minutes": "5 min", "hour": "1 h", "start": "start"}
"""The windows of time, as they are called in text."""

ENDPOINTS: Final = (
    "ENDPOINT",
    "RULE",
    "REQUESTS",
    "ERRORS",
    "TIME",
    "P50",
    "P95",
    "P99",
    "P95 1 min",
    "P95 1 h",
)
WORKERS: Final = (
    "WORKER",
    "PID",
    "STATE",
    "SERVED",
    "1 min",
    "P95",
    "IN FLIGHT",
    "WAIT",
    "CPU",
    "RSS/PSS MiB",
    "GC",
)


def _stats(result: dict[str, Any], _colour: bool) -> str:
    total = result.get("total") or {}
    only = [one for one in result.get("endpoints") or [] if one.get("endpoint") is not None]
    listed = result.get("endpoints") or []
    shown = listed[0] if len(listed) == 1 and not result.get("not_shown") else total
    busy = f"{_known(result.get('in_flight'))} of {_known(result.get('threads'))} threads busy"
    parts = [
        f"since {clock(float(result.get('since') or 0.0))}: {_served(total)}; {busy}, CPU {fine_span(result.get('cpu'))}",
        _windows(shown, result.get("queue") or {}),
        _endpoints(result.get("endpoints") or []),
    ]
    if not_shown := result.get("not_shown"):
        parts.append(f"{count(not_shown, 'endpoint')} not shown (--limit)")
    parts += [
        _history(result.get("history") or [], float(result.get("step") or 300.0)),
        _workers(result.get("workers") or []),
    ]
    parts.append(_listeners(result))
    return "\n".join(part for part in parts if part) if only or total else "no numbers"


def _metrics(result: dict[str, Any], _colour: bool) -> str:
    return str(result.get("text") or "no metrics").rstrip("\n")


def _served(one: dict[str, Any]) -> str:
    served = one.get("served") or {}
    kinds = ", ".join(f"{number} {kind}" for kind, number in served.items() if number)
    return f"{count(sum(served.values()), 'request')}" + (f" ({kinds})" if kinds else "")


def _windows(total: dict[str, Any], queue: dict[str, Any]) -> str:
    rows = []
    for window, name in WINDOWS.items():
        one, waited = total.get(window) or {}, queue.get(window) or {}
        rows.append(
            (
                name,
                _known(one.get("requests")),
                _known(one.get("errors")),
                *(fine_span(one.get(each)) for each in ("p50", "p95", "p99")),
                *(fine_span(waited.get(each)) for each in ("p50", "p95", "p99")),
            )
        )
    head = ("LAST", "REQUESTS", "ERRORS", "P50", "P95", "P99", "QUEUE P50", "P95", "P99")
    return table(rows, head=head, indent="  ")


def _endpoints(endpoints: list[dict[str, Any]]) -> str:
    rows = []
    for one in endpoints:
        start, minute, hour = (one.get(window) or {} for window in ("start", "minute", "hour"))
        name = one.get("endpoint")
        rows.append(
            (
                "(others)" if name is None else name or "(no route)",
                one.get("rule") or "-",
                start.get("requests"),
                start.get("errors"),
                fine_span(one.get("seconds")),
                *(fine_span(start.get(each)) for each in ("p50", "p95", "p99")),
                fine_span(minute.get("p95")),
                fine_span(hour.get("p95")),
            )
        )
    return table(rows, head=ENDPOINTS, indent="  ")


def _history(history: list[dict[str, Any]], step: float) -> str:
    rows = []
    for moment in history:
        one, waited = moment.get("latency") or {}, moment.get("queue") or {}
        rows.append(
            (
                clock(float(moment.get("at") or 0.0)),
                one.get("requests"),
                one.get("errors"),
                *(fine_span(one.get(each)) for each in ("p50", "p95", "p99")),
                fine_span(waited.get("p95")),
            )
        )
    head = (f"{span(step)} FROM", "REQUESTS", "ERRORS", "P50", "P95", "P99", "QUEUE P95")
    return table(rows, head=head, indent="  ")


def _workers(workers: list[dict[str, Any]]) -> str:
    rows = []
    for one in workers:
        minute = one.get("minute") or {}
        rows.append(
            (
                one.get("worker") or "-",
                one.get("pid"),
                one.get("state"),
                sum((one.get("served") or {}).values()),
                _known(minute.get("requests")),
                fine_span(minute.get("p95")),
                _known(one.get("in_flight")),
                _known(one.get("waiting")),
                fine_span(one.get("cpu")),
                f"{mebibytes(one.get('rss'))}/{mebibytes(one.get('pss'))}",
                sum(each.get("count") or 0 for each in one.get("collections") or []),
            )
        )
    return table(rows, head=WORKERS, indent="  ")


def _listeners(result: dict[str, Any]) -> str:
    queue = result.get("queue") or {}
    rejected = f", {queue['rejected']} rejected after --max-queue-time" if queue.get("rejected") else ""
    parts = [f"{queue.get('waiting', 0)} wait for a thread, {queue.get('waited', 0)} have waited{rejected}"]
    parts += [
        f"{one.get('listener')}: {_known(one.get('queue'))} in the accept queue, at most {_known(one.get('most'))}"
        for one in result.get("listeners") or []
    ]
    for name in ("starts", "ends"):
        reasons = ", ".join(f"{number} {reason}" for reason, number in (result.get(name) or {}).items())
        parts += [f"workers {'started' if name == 'starts' else 'ended'}: {reasons}"] if reasons else []
    return "\n".join(f"  {part}" for part in parts)


def _known(number: int | None) -> int | str:
    return "-" if number is None else number


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {"stats": _stats, "metrics": _metrics}
"""What writes the result of each command."""
