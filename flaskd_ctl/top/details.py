"""What is behind a row: the commands to ask, and their results as text."""

import json
from typing import Any

from flaskd_ctl.live.seen import Row
from flaskd_ctl.live.watch import Asked
from flaskd_ctl.text import results
from flaskd_ctl.text.layout import printable_within
from flaskd_ctl.text.logs import log_line
from flaskd_ctl.top.panels import Panel


async def behind(source: Asked, panel: Panel, row: Row) -> str:
    """Return what is behind a row as text; raises ControlError."""
    match panel.name:
        case "workers":
            return await _text(source, "stacks", {"worker": row["worker"]} if row.get("worker") else {})
        case "requests":
            narrow = {"worker": row["worker"]} if row.get("worker") else {}
            return await _one_request(source, row, narrow)
        case "endpoints":
            return await _endpoint(source, row.get("name"))
        case "errors":
            return await _text(source, "errors", {"id": row["id"]}, writer="error")
        case "events" if (row["event"].get("incident") or {}).get("id"):
            return await _text(source, "incidents", {"id": row["event"]["incident"]["id"]}, writer="incident")
        case "events":
            return json.dumps(printable_within(row["event"]), indent=2)
    return log_line(row | {"worker": None if row["worker"] == "daemon" else row["worker"]})


def title(panel: Panel, row: Row) -> str:
    """Say what is behind a row."""
    match panel.name:
        case "workers":
            return f"Stacks of worker {row['worker']}" if row.get("worker") else "Stacks"
        case "requests":
            return f"Request {row.get('id')}: {row.get('method')} {row.get('path')}"
        case "endpoints":
            return f"Endpoint {row.get('endpoint')}: numbers, requests in flight, and their stacks"
        case "errors":
            return f"Error {row.get('id')}"
        case "events":
            return "Event"
    return "Line of the log"


async def _endpoint(source: Asked, name: str | None) -> str:
    """Show an endpoint's requests in flight and what their threads do, then its numbers."""
    if name is None:
        return "These endpoints are counted together: an instance counts at most 512 endpoints by name."
    parts = []
    if name:
        parts.append(await _text(source, "requests", {"endpoint": name, "stacks": True}))
    parts.append(await _text(source, "stats", {"endpoint": name}))
    return "\n\n".join(parts)


async def _one_request(source: Asked, row: Row, narrow: dict[str, Any]) -> str:
    result = await source.call("requests", {"stacks": True, "path": row.get("path"), **narrow})
    ident = row.get("id")
    requests = [one for one in result.get("requests") or [] if one.get("id") == ident]
    stacks = [
        worker | {"stacks": [one for one in worker.get("stacks") or [] if _serves(one, ident)]}
        for worker in result.get("stacks") or []
    ]
    if not requests:
        return "This request has ended. The panel of errors and `flaskd_ctl slow` may tell how."
    return results.as_text("requests", {"requests": requests, "stacks": stacks})


def _serves(stack: dict[str, Any], ident: Any) -> bool:
    return any((thread.get("request") or {}).get("id") == ident for thread in stack.get("threads") or [])


async def _text(source: Asked, method: str, params: dict[str, Any], writer: str = "") -> str:
    return results.as_text(writer or method, await source.call(method, params))
