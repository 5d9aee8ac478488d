"""The panels of `top`: which rows and columns each has, made of what is known of an instance. Pure."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from flaskd_ctl.contract.times import clock, fine_span, span
from flaskd_ctl.live.seen import Row, Seen
from flaskd_ctl.text import results
from flaskd_ctl.text.layout import mebibytes, printable

GAP: Final = 2
"""Characters around the text of a cell."""

NARROWEST: Final = 8
"""Characters that a column keeps when it is cut."""


def _same(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)


def _span(value: Any) -> str:
    return "-" if value is None else span(float(value))


def _fine(value: Any) -> str:
    return fine_span(value)


def _clock(value: Any) -> str:
    return clock(float(value or 0.0))


def _percent(value: Any) -> str:
    return "-" if value is None else f"{value:.0f}%"


def rate(value: float | None) -> str:
    """Write a rate: 0, 0.25, 12.3, 1234; "-" if it is not known."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


class Column(NamedTuple):
    """A column: its head, the field of a row that it shows and sorts by, and how that is written.

    `numeric` columns are aligned to the right, and sorted with the largest first. An `extra` one is shown where there is room;
    one that can `shrink` is cut where there is none.
    """

    head: str
    field: str
    write: Callable[[Any], str] = _same
    numeric: bool = False
    extra: bool = False
    shrink: bool = False


class Panel(NamedTuple):
    """A panel: `key` shows it, `method` is the command that its rows come from, `ident` the fields that name a row.

    `sort` is the column that it is sorted by at first; None: as the rows come.
    """

    name: str
    key: str
    title: str
    method: str
    columns: Sequence[Column]
    rows: Callable[[Seen], list[Row]]
    ident: Sequence[str]
    sort: str | None
    empty: str

    def column(self, field: str | None) -> Column | None:
        """Return the column of a field."""
        return next((column for column in self.columns if column.field == field), None)


def arranged(panel: Panel, rows: Sequence[Row], *, sort: str | None, reverse: bool, wanted: str) -> list[Row]:
    """Sort rows by a field, unknown values last, and leave out those in which `wanted` occurs in no column."""
    kept = [row for row in rows if _matches(panel, row, wanted)]
    column = panel.column(sort)
    if column is None:
        return kept[::-1] if reverse else kept
    known = [row for row in kept if row.get(column.field) is not None]
    unknown = [row for row in kept if row.get(column.field) is None]
    known.sort(key=lambda row: _sort_key(row[column.field]), reverse=column.numeric is not reverse)
    return known + unknown


def _sort_key(value: Any) -> tuple[bool, Any]:
    """Order numbers before texts, which one column may have both of, from instances of several versions."""
    number = isinstance(value, int | float)
    return (not number, value if number else str(value))


def cells(panel: Panel, row: Row) -> list[str]:
    """Write the cells of a row, of all columns; nothing in them can act on a terminal."""
    return [printable(column.write(row.get(column.field))) for column in panel.columns]


def fitted(
    panel: Panel, lines: Sequence[Sequence[str]], *, sort: str | None, width: int
) -> list[tuple[int, int]]:
    """Return the columns that fit into `width` characters, as pairs of index and width; `sort` has a mark in its head.

    Extra columns are left out first, then a column that can shrink is cut.
    """
    natural = [
        max([len(column.head) + (column.field == sort), *(len(line[number]) for line in lines)])
        for number, column in enumerate(panel.columns)
    ]
    kept = [number for number, column in enumerate(panel.columns) if not column.extra]
    left = width - sum(natural[number] + GAP for number in kept)
    for number, column in enumerate(panel.columns):
        if column.extra and natural[number] + GAP <= left:
            kept.append(number)
            left -= natural[number] + GAP
    for number in kept:
        if left < 0 and panel.columns[number].shrink:
            cut = min(-left, max(natural[number] - NARROWEST, 0))
            natural[number] -= cut
            left += cut
    return [(number, natural[number]) for number in sorted(kept)]


def _matches(panel: Panel, row: Row, wanted: str) -> bool:
    wanted = wanted.casefold()
    return not wanted or any(wanted in cell.casefold() for cell in cells(panel, row))


def _worker_rows(seen: Seen) -> list[Row]:
    """Join what `status` and `stats` say of each worker; an instance that is one process has one row."""
    described = {one.get("id"): one for one in seen.status.get("workers") or []}
    counted = {one.get("worker"): one for one in seen.stats.get("workers") or []}
    return [
        _worker(ident, described.get(ident) or {}, counted.get(ident) or {}, seen.cpu.get(ident or 0))
        for ident in [*counted, *(ident for ident in described if ident not in counted)]
    ]


def _worker(ident: Any, described: Row, counted: Row, cpu: float | None) -> Row:
    minute = counted.get("minute") or {}
    both = described | counted
    return {
        "worker": ident,
        "pid": both.get("pid"),
        "state": both.get("state"),
        "age": both.get("age"),
        "minute": minute.get("requests"),
        "p95": minute.get("p95"),
        "in_flight": both.get("in_flight"),
        "waiting": counted.get("waiting"),
        "cpu": cpu,
        "rss": both.get("rss"),
        "pss": both.get("pss"),
        "connections": described.get("connections"),
        "generation": described.get("generation"),
        "why": described.get("why"),
    }


def _endpoint_rows(seen: Seen) -> list[Row]:
    rows = []
    for one in seen.stats.get("endpoints") or []:
        minute, start, name = one.get("minute") or {}, one.get("start") or {}, one.get("endpoint")
        rows.append(
            {
                "name": name,
                "endpoint": "(others)" if name is None else name or "(no route)",
                "rule": one.get("rule"),
                "minute": minute.get("requests"),
                "errors": minute.get("errors"),
                **{each: minute.get(each) for each in ("p50", "p95", "p99")},
                "requests": start.get("requests"),
                "seconds": one.get("seconds"),
            }
        )
    return rows


def _error_rows(seen: Seen) -> list[Row]:
    rows = []
    for one in seen.answers.get("errors", {}).get("errors") or []:
        kind = str(one.get("exception") or f"status {one.get('status')}")
        message = str(one.get("message") or "").partition("\n")[0]
        file = str(one.get("file") or "").rpartition("/")[2]
        place = f"{file}:{one.get('line')}" if file else str(one.get("endpoint") or "")
        rows.append({**one, "error": f"{kind}: {message}" if message else kind, "place": place})
    return rows


def _event_rows(seen: Seen) -> list[Row]:
    return [
        {
            "number": number,
            "at": one.get("at"),
            "text": results.event_line(one).removeprefix(f"{_clock(one.get('at'))} "),
            "event": one,
        }
        for number, one in seen.events
    ][::-1]


def _log_rows(seen: Seen) -> list[Row]:
    return [
        {
            **one,
            "number": number,
            "level": one.get("level") or one.get("stream"),
            "worker": one["worker"] if one.get("worker") is not None else one.get("process") or "supervisor",
            "text": str(one.get("message") or "").partition("\n")[0],
        }
        for number, one in seen.log
    ][::-1]


def instance_row(seen: Seen) -> Row:
    """Make the row of an instance among others."""
    status, stats = seen.status, seen.stats
    minute = (stats.get("total") or {}).get("minute") or {}
    serving = sum(one.get("state") == "serving" for one in status.get("workers") or [])
    away = bool(seen.away)
    return {
        "label": seen.label,
        "state": seen.state,
        "ready": "-" if away else "yes" if status.get("ready") else "no",
        "workers": "-"
        if away
        else f"{serving} of {status.get('wanted_workers')}"
        if status.get("workers")
        else "1",
        "rate": None if away or not seen.rates else seen.rates[-1],
        "errors": seen.errors_per_second,
        "in_flight": None if away else stats.get("in_flight", status.get("in_flight")),
        **{each: None if away else minute.get(each) for each in ("p50", "p95", "p99")},
        "away": seen.away,
    }


INSTANCES: Final = Panel(
    "instances",
    "0",
    "Instances",
    "status",
    [
        Column("NAME", "label", shrink=True),
        Column("STATE", "state"),
        Column("READY", "ready"),
        Column("WORKERS", "workers"),
        Column("REQ/S", "rate", rate, numeric=True),
        Column("ERR/S", "errors", rate, numeric=True),
        Column("BUSY", "in_flight", numeric=True),
        Column("P50", "p50", _fine, numeric=True, extra=True),
        Column("P95", "p95", _fine, numeric=True),
        Column("P99", "p99", _fine, numeric=True),
        Column("", "away", extra=True),
    ],
    lambda _seen: [],
    ["label"],
    None,
    "no instance",
)
"""The panel of all instances, where there are several; its rows are made by `instance_row`."""

PANELS: Final = [
    Panel(
        "workers",
        "1",
        "Workers",
        "stats",
        [
            Column("ID", "worker"),
            Column("PID", "pid"),
            Column("STATE", "state"),
            Column("AGE", "age", _span),
            Column("REQ/MIN", "minute", numeric=True),
            Column("P95", "p95", _fine, numeric=True),
            Column("BUSY", "in_flight", numeric=True),
            Column("WAIT", "waiting", numeric=True),
            Column("CPU", "cpu", _percent, numeric=True),
            Column("RSS", "rss", mebibytes, numeric=True),
            Column("PSS", "pss", mebibytes, numeric=True, extra=True),
            Column("OPEN", "connections", numeric=True, extra=True),
            Column("GEN", "generation", numeric=True, extra=True),
            Column("STARTED FOR", "why", extra=True),
        ],
        _worker_rows,
        ["worker"],
        "worker",
        "no worker",
    ),
    Panel(
        "requests",
        "2",
        "Requests in flight",
        "requests",
        [
            Column("ID", "id"),
            Column("AGE", "age", _span, numeric=True),
            Column("METHOD", "method"),
            Column("PATH", "path", shrink=True),
            Column("ENDPOINT", "endpoint", shrink=True),
            Column("WORKER", "worker"),
            Column("CLIENT", "client", extra=True),
            Column("THREAD", "thread", extra=True),
        ],
        lambda seen: seen.answers.get("requests", {}).get("requests") or [],
        ["worker", "id"],
        "age",
        "no request in flight",
    ),
    Panel(
        "endpoints",
        "3",
        "Endpoints, last minute",
        "stats",
        [
            Column("ENDPOINT", "endpoint", shrink=True),
            Column("REQ/MIN", "minute", numeric=True),
            Column("ERR/MIN", "errors", numeric=True),
            Column("P50", "p50", _fine, numeric=True),
            Column("P95", "p95", _fine, numeric=True),
            Column("P99", "p99", _fine, numeric=True),
            Column("ALL", "requests", numeric=True, extra=True),
            Column("TIME", "seconds", _fine, numeric=True, extra=True),
            Column("RULE", "rule", extra=True),
        ],
        _endpoint_rows,
        ["endpoint"],
        "p99",
        "no request has ended",
    ),
    Panel(
        "errors",
        "4",
        "Errors",
        "errors",
        [
            Column("LAST", "last", _clock, numeric=True),
            Column("COUNT", "count", numeric=True),
            Column("ERROR", "error", shrink=True),
            Column("PLACE", "place", shrink=True),
            Column("REQUEST", "path", extra=True),
        ],
        _error_rows,
        ["id"],
        "last",
        "no error",
    ),
    Panel(
        "events",
        "5",
        "Events",
        "events",
        [Column("AT", "at", _clock), Column("EVENT", "text", shrink=True)],
        _event_rows,
        ["number"],
        None,
        "no event since top was started",
    ),
    Panel(
        "log",
        "6",
        "Log",
        "logs",
        [
            Column("AT", "at", _clock),
            Column("LEVEL", "level"),
            Column("WORKER", "worker"),
            Column("MESSAGE", "text", shrink=True),
        ],
        _log_rows,
        ["number"],
        None,
        "no line yet",
    ),
]
"""The panels of one instance, in the order in which they are shown."""
