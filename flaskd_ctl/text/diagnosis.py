"""What goes on inside the workers, as text for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import span
from flaskd_ctl.text.layout import mebibytes, table

HEAD: Final = ("WORKER", "PID", "COLLECTED", "UNCOLLECTABLE", "LEFT", "TOOK", "RSS MiB BEFORE", "AFTER")


def _gc(result: dict[str, Any], _colour: bool) -> str:
    workers = result.get("workers") or []
    rows = [
        (
            one.get("worker") or "-",
            one.get("pid"),
            one.get("collected"),
            one.get("uncollectable"),
            one.get("tracked"),
            span(float(one.get("took") or 0.0)),
            mebibytes(one.get("rss_before")),
            mebibytes(one.get("rss_after")),
        )
        for one in workers
        if not one.get("error")
    ]
    return "\n".join([*filter(None, [table(rows, head=HEAD)]), *failures(workers)]) or "no worker"


def failures(workers: list[dict[str, Any]]) -> list[str]:
    """Write one line for each worker that did not reply."""
    return [
        f"worker {one.get('worker')} (pid {one.get('pid')}): {one['error']}"
        for one in workers
        if one.get("error")
    ]


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {"gc": _gc}
"""What writes the result of each command."""
