"""Requests in flight as text for people."""

from __future__ import annotations

from typing import Any

from flaskd_ctl.contract.times import span
from flaskd_ctl.text.layout import printable, table


def request(one: dict[str, Any]) -> str:
    """Write a request in a few words."""
    return printable(f"{one.get('method')} {one.get('path')} ({span(float(one.get('age') or 0.0))})")


def requests_table(requests: list[dict[str, Any]], *, indent: str = "") -> str:
    """Write one line for each request; with its worker, if there are workers."""
    workers = any(one.get("worker") for one in requests)
    rows = [
        (
            one.get("id"),
            *([one.get("worker")] if workers else []),
            span(float(one.get("age") or 0.0)),
            one.get("method"),
            one.get("path"),
            f"{one.get('endpoint') or '-'} {one.get('rule') or ''}".rstrip(),
            one.get("client"),
            one.get("thread"),
        )
        for one in requests
    ]
    head = ("ID", *(["WORKER"] if workers else []), "AGE", "METHOD", "PATH", "ENDPOINT", "CLIENT", "THREAD")
    return table(rows, head=head, indent=indent)
