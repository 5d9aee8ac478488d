"""CPU time that the ledger adds to a request: applications called in this process, bare and with the ledger before them.

No engine, no socket, no second process that would make the numbers scatter: what is left is the application and
the ledger, which writes on a table in shared memory as it does in a worker. The application that does nothing shows
the ledger's own time; before Flask's hello it takes longer, and Flask's signals, which tell of routes, add to it.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from werkzeug.test import create_environ

from benchmarks.findings import Figure, Findings
from benchmarks.hello import app as hello
from benchmarks.side_by_side import interleave, main
from flaskd.app.extension import watch_flask
from flaskd.ledger.middleware import Ledger
from flaskd.ledger.shared_memory import RequestTable
from flaskd.metrics.memory import MetricsMemory
from flaskd.metrics.recorder import Recorder

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

GOAL: Final = 4.0
"""Microseconds of CPU."""
BARE, KEPT, COUNTED, WATCHED = "bare", "with the ledger", "with numbers, too", "with routes, too"


def nothing(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer with two headers and one chunk."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def measure(quick: bool) -> Findings:
    """Call each application by turns: bare, with the ledger, with numbers, and with Flask's signals going to the ledger."""
    calls, rounds = (2_000, 3) if quick else (20_000, 25)
    with contextlib.closing(RequestTable.create(64)) as table:
        alone = _sides(nothing, table, calls, rounds)
        flask = _sides(hello, table, calls // 10, rounds)
    what, does_nothing = "CPU that the ledger adds to a request, µs", "an application that does nothing"
    figures = [
        _added(what, does_nothing, alone[KEPT], alone[BARE], goal=GOAL),
        _added(f"{what}, with numbers", does_nothing, alone[COUNTED], alone[BARE]),
        _added(what, "a Flask hello, no HTTP", flask[KEPT], flask[BARE]),
        _added(f"{what}, with numbers and routes", "a Flask hello, no HTTP", flask[WATCHED], flask[BARE]),
    ]
    return Findings(figures)


def _added(
    what: str, against: str, ours: list[float], bare: list[float], *, goal: float | None = None
) -> Figure:
    added = sorted(with_it - without for with_it, without in zip(ours, bare, strict=True))
    detail = f"on {statistics.median(bare):.3g} µs, {len(added)} rounds"
    return Figure(what, against, statistics.median(added), goal, detail, low=added[0], high=added[-1])


def _sides(app: "WSGIApplication", table: RequestTable, calls: int, rounds: int) -> dict[str, list[float]]:
    ledger = Ledger(app, lambda: None, table=table)
    memory = MetricsMemory.private()
    counting = Ledger(app, lambda: None, table=table, count=Recorder(memory).record)
    counted = _work(counting, calls)

    def watched() -> float:
        with contextlib.ExitStack() as stack:
            stack.callback(watch_flask(counting))
            return counted()

    sides = {BARE: _work(app, calls), KEPT: _work(ledger, calls), COUNTED: counted, WATCHED: watched}
    return interleave(sides, rounds)


def _work(app: "WSGIApplication", calls: int) -> Callable[[], float]:
    base = create_environ("/")

    def start_response(status: str, headers: Any, exc_info: Any = None, /) -> Any:
        return None

    def once() -> float:
        begun = time.process_time()
        for _ in range(calls):
            body = app(dict(base), start_response)
            for _chunk in body:
                pass
            close = getattr(body, "close", None)
            if close is not None:
                close()
        return (time.process_time() - begun) / calls * 1e6

    return once


if __name__ == "__main__":
    main(measure)
