"""CPU time for 1,000 requests of a Flask hello: what flaskd adds to the Werkzeug engine.

Both are saturated by wrk in turns; CPU time is the server's own, from /proc. Against the bare engine: flaskd
with control plane, ledger and access log off (the goal), and with all of them on (for information). gunicorn
gthread shows where the engine itself stands; the goal against it belongs to the granian engine.
"""

import contextlib
from collections.abc import Callable

from benchmarks import procfs
from benchmarks.contenders import FLASKD, GUNICORN, WERKZEUG, Contender, Running, flaskd, serving
from benchmarks.side_by_side import Figure, interleave, main, missing, ratio
from benchmarks.timing import WRK, wrk

APP = "benchmarks.hello:app"
BARE = flaskd("--no-control", "--no-ledger", name="flaskd, all off")
ALL_ON = flaskd("--access-log", "common", name="flaskd, all on")
WHAT = "CPU per 1,000 requests"


def measure(quick: bool) -> list[Figure]:
    """Put each server under load in turns."""
    if WRK is None:
        return [missing(WHAT, WERKZEUG.name, "wrk is not installed")]
    seconds, rounds = (1, 2) if quick else (2, 16)
    contenders = [BARE, FLASKD, ALL_ON, WERKZEUG, *([GUNICORN] if GUNICORN.installed and not quick else [])]
    with contextlib.ExitStack() as stack:
        servers = {each.name: stack.enter_context(serving(each, APP)) for each in contenders}
        cpu = interleave({name: _work(server, seconds) for name, server in servers.items()}, rounds)

    def figure(what: str, ours: Contender, theirs: Contender, *, goal: float | None = None) -> Figure:
        return ratio(
            f"{WHAT}, {what}",
            ours=cpu[ours.name],
            theirs=cpu[theirs.name],
            against=theirs.name,
            goal=goal,
            unit="s",
        )

    figures = [
        figure("control plane, ledger and access log off", BARE, WERKZEUG, goal=1.03),
        figure("control plane and ledger on", FLASKD, WERKZEUG),
        figure("control plane, ledger and access log on", ALL_ON, WERKZEUG),
        figure("control plane and ledger on", FLASKD, BARE),
    ]
    if GUNICORN.name in cpu:
        figures.append(figure("control plane and ledger on", FLASKD, GUNICORN))
    return figures


def _work(server: Running, seconds: int) -> Callable[[], float]:
    def once() -> float:
        pids = server.pids
        before = procfs.cpu_seconds(pids)
        answered = wrk(f"{server.url}/", seconds=seconds)
        return (procfs.cpu_seconds(pids) - before) / answered * 1000

    return once


if __name__ == "__main__":
    main(measure)
