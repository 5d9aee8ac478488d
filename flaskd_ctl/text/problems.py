"""Errors, slow requests and cancelled ones as text for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import clock, count, span
from flaskd_ctl.text.layout import paragraph, printable, table

LONGEST: Final = 60
"""Characters of a message or a path in a table."""


def _errors(result: dict[str, Any], _colour: bool) -> str:
    rows = [
        (
            one.get("id"),
            _clock(one, "last"),
            one.get("count"),
            _shortened(_what(one)),
            _place(one),
            _shortened(_request(one)),
        )
        for one in result.get("errors") or []
    ]
    lines = [table(rows, head=("ID", "LAST", "COUNT", "ERROR", "PLACE", "LAST REQUEST")) or "no error"]
    if dropped := result.get("dropped"):
        lines.append(f"{count(dropped, 'older kind')} of errors not kept")
    return "\n".join(lines)


def _error(result: dict[str, Any], _colour: bool) -> str:
    return "\n".join(_whole(one) for one in result.get("errors") or []) or "no such error"


def _whole(one: dict[str, Any]) -> str:
    often = count(int(one.get("count") or 0), "time")
    since = f" since {_clock(one, 'first')}" if one.get("count") != 1 else ""
    lines = [
        printable(f"error {one.get('id')}: {_what(one)}"),
        printable(f"  place         {_place(one)}"),
        f"  happened      {often}{since}, last {_clock(one, 'last')}",
        printable(f"  last request  {_request(one)}, answered {one.get('status')}"),
        printable(f"                {_where(one)}"),
    ]
    if one.get("traceback"):
        lines += ["traceback:", paragraph(str(one["traceback"]), indent="  ")]
    return "\n".join(lines)


def _slow(result: dict[str, Any], _colour: bool) -> str:
    requests = result.get("requests") or []
    workers = any(one.get("worker") for one in requests)
    rows = [
        (
            span(float(one.get("seconds") or 0.0)),
            _clock(one, "at"),
            one.get("status"),
            one.get("method"),
            _shortened(str(one.get("path"))),
            one.get("endpoint") or "-",
            *([one.get("worker")] if workers else []),
            one.get("request_id"),
        )
        for one in requests
    ]
    head = ("TOOK", "ENDED", "STATUS", "METHOD", "PATH", "ENDPOINT", *(["WORKER"] if workers else []))
    return table(rows, head=(*head, "REQUEST ID")) or "no request has ended within the last hour"


def _cancel(result: dict[str, Any], _colour: bool) -> str:
    took = span(float(result.get("took") or 0.0))
    where = f" in worker {result['worker']}" if result.get("worker") else ""
    request = f"{result.get('method')} {result.get('path')}"
    return printable(f"cancelled request {result.get('id')}{where} in {took}: {request}")


def _what(one: dict[str, Any]) -> str:
    if not one.get("exception"):
        return f"status {one.get('status')}"
    return f"{one['exception']}: {one['message']}" if one.get("message") else str(one["exception"])


def _place(one: dict[str, Any]) -> str:
    if not one.get("file"):
        return f"endpoint {one.get('endpoint') or '-'}"
    return f"{one['file']}:{one.get('line')}, in {one.get('function')}"


def _request(one: dict[str, Any]) -> str:
    return f"{one.get('method')} {one.get('path')}"


def _where(one: dict[str, Any]) -> str:
    worker = [f"worker {one['worker']}"] if one.get("worker") else []
    parts = [f"endpoint {one.get('endpoint') or '-'}", *worker, f"X-Request-ID {one.get('request_id')}"]
    return ", ".join(parts)


def _shortened(text: str) -> str:
    line = text.split("\n", 1)[0]
    return line if line == text and len(text) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _clock(one: dict[str, Any], field: str) -> str:
    return clock(float(one.get(field) or 0.0))


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {
    "errors": _errors,
    "error": _error,
    "slow": _slow,
    "cancel": _cancel,
}
"""What writes the result of each command; "error" is `errors` with an id."""
