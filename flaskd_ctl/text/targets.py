"""The results of several targets as one table, one line for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from flaskd_ctl.contract.times import clock
from flaskd_ctl.errors import ControlError
from flaskd_ctl.text.layout import table

Row = tuple[str, dict[str, Any] | None, ControlError | None]
Cell = Callable[[dict[str, Any]], Any]

WORDS: Final = {
    "not_running": "not running",
    "timeout": "no answer",
    "not_permitted": "not permitted",
    "unreachable": "unreachable",
}
"""The state of a target with this error; "failed" for others. The sentences are on stderr."""


def _table(columns: dict[str, Cell]) -> Callable[[Sequence[Row], bool], str]:
    def write(rows: Sequence[Row], colour: bool) -> str:
        cells = []
        for label, result, error in rows:
            if result is None or error is not None:
                state = (
                    WORDS.get(error.name, "failed") if error else "-"
                )  # not tried, or no longer waited for
                cells.append((label, state, *["-"] * (len(columns) - 1)))
            else:
                cells.append((label, *(cell(result) for cell in columns.values())))
        return table(cells, head=("TARGET", *columns), coloured=1 if colour else None)

    return write


def _state(result: dict[str, Any]) -> str:
    return str(result.get("state"))


def _ready(result: dict[str, Any]) -> str:
    return "yes" if result.get("ready") else "no"


def _since(result: dict[str, Any]) -> str:
    return clock(float(result.get("since") or 0.0))


def _workers(result: dict[str, Any]) -> str:
    if not result.get("wanted_workers"):
        return "-"
    serving = sum(one.get("state") == "serving" for one in result.get("workers") or [])
    return f"{serving} of {result['wanted_workers']}"


def _in_flight(result: dict[str, Any]) -> Any:
    return "-" if result.get("in_flight") is None else result["in_flight"]


TABLES: Final[dict[str, Callable[[Sequence[Row], bool], str]]] = {
    "ping": _table(
        {
            "STATE": _state,
            "PID": lambda result: result.get("pid"),
            "PROTOCOL": lambda result: result.get("protocol"),
        }
    ),
    "status": _table(
        {
            "STATE": _state,
            "READY": _ready,
            "SINCE": _since,
            "PID": lambda result: result.get("pid"),
            "GENERATION": lambda result: result.get("generation"),
            "WORKERS": _workers,
            "IN FLIGHT": _in_flight,
            "SERVED": lambda result: sum((result.get("served") or {}).values()),
            "SERVES": lambda result: ", ".join(result.get("listeners") or []) or "-",
        }
    ),
    "drain": _table({"STATE": _state, "READY": _ready, "SINCE": _since}),
    "resume": _table({"STATE": _state, "READY": _ready, "SINCE": _since}),
}
"""The columns of the commands whose results are shown as one table."""
