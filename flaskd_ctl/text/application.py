"""The application's own commands, its routes and its configuration, as text for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import fine_span, span
from flaskd_ctl.text.diagnosis import failures
from flaskd_ctl.text.layout import paragraph, printable, table


def progress(event: dict[str, Any]) -> str:
    """Write what a command has yielded."""
    who = f"worker {event['worker']}: " if event.get("worker") else ""
    skipped = f" (and {event['skipped']} before it, left out)" if event.get("skipped") else ""
    if event.get("event") == "lost":
        return f"{event.get('count')} messages were lost here"
    return f"{who}{_value(event.get('value'))}{skipped}"


def _call(result: dict[str, Any], _colour: bool) -> str:
    workers = result.get("workers") or []
    done = [one for one in workers if not one.get("error")]
    if len(workers) == 1 and done:
        return _value(done[0].get("result"))
    lines = [f"worker {one.get('worker')}: {_value(one.get('result'))}" for one in done]
    for one, line in zip((one for one in workers if one.get("error")), failures(workers), strict=True):
        lines += [paragraph(str(one["traceback"]))] if one.get("traceback") else []
        lines.append(line)
    return "\n".join(lines) or "no worker"


def _commands(result: dict[str, Any], _colour: bool) -> str:
    rows = []
    for one in result.get("commands") or []:
        may = "" if one.get("x-permitted", True) else " (not you)"
        rows.append(
            (
                one.get("name"),
                _parameters(one.get("params") or {}),
                f"{one.get('x-role')}{may}",
                one.get("x-on"),
                span(float(one.get("x-timeout") or 0.0)),
                one.get("summary") or "",
            )
        )
    head = ("COMMAND", "PARAMETERS", "ROLE", "ON", "TIME", "SUMMARY")
    return table(rows, head=head) or "the application has no commands (or no worker serves)"


def _parameters(schema: dict[str, Any]) -> str:
    """Write the parameters as one types them; optional ones in brackets."""
    required = schema.get("required") or []
    words = []
    for name, part in (schema.get("properties") or {}).items():
        word = f"{name}={_kind(part, schema)}"
        words.append(word if name in required else f"[{word}]")
    return " ".join(words) or "-"


def _kind(part: dict[str, Any], whole: dict[str, Any]) -> str:
    """Write what a part of a schema admits."""
    if "$ref" in part:
        name = str(part["$ref"]).rpartition("/")[2]
        part = (whole.get("$defs") or {}).get(name) or {}
        if "enum" not in part:
            return name
    if "enum" in part:
        return "|".join(map(str, part["enum"]))
    if "anyOf" in part:
        return "|".join(_kind(each, whole) for each in part["anyOf"])
    return str(part.get("format") or part.get("type") or "JSON")


def _routes(result: dict[str, Any], _colour: bool) -> str:
    rows = [
        (
            f"{one.get('host') or ''}{one.get('rule')}",
            "WebSocket" if one.get("websocket") else ",".join(one.get("methods") or []),
            one.get("endpoint"),
            "-" if one.get("calls") is None else one["calls"],
            fine_span(one.get("p95")),
        )
        for one in result.get("routes") or []
    ]
    listed = table(rows, head=("RULE", "METHODS", "ENDPOINT", "CALLS", "P95")) or "no route"
    return "\n".join([listed, *_missing(result, "routes")])


def _app_config(result: dict[str, Any], _colour: bool) -> str:
    listed = table(sorted((result.get("config") or {}).items())) or "no configuration"
    return "\n".join([listed, *_missing(result, "keys")])


def _missing(result: dict[str, Any], what: str) -> list[str]:
    return [f"({result['missing']} more {what} did not fit into the reply)"] if result.get("missing") else []


def _value(value: Any) -> str:
    """Write what a command returned: text as it is, "done" for nothing, anything else as JSON."""
    if value is None:
        return "done"
    if isinstance(value, str):
        return "\n".join(map(printable, value.split("\n")))
    return json.dumps(value, ensure_ascii=False)


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {
    "call": _call,
    "commands": _commands,
    "routes": _routes,
    "app_config": _app_config,
}
"""What writes the result of each command; "commands" is the list that `call` shows without a name."""
