"""CPU time for 1,000 requests of a Flask hello: what flaskd adds to either engine.

All are saturated by wrk in turns; CPU time is the server's own, from /proc. Against the bare engine (Werkzeug's
threaded server, granian's own command): flaskd with control plane, ledger and access log off (the goal), and
with them on (for information). gunicorn gthread shows where the engines themselves stand; the goal against it
is the granian engine's.
"""

import contextlib
from collections.abc import Callable

from benchmarks import procfs
from benchmarks.contenders import (
    FLASKD,
    FLASKD_GRANIAN,
    GRANIAN,
    GUNICORN,
    WERKZEUG,
    Contender,
    Running,
    flaskd,
    serving,
)
from benchmarks.side_by_side import Figure, interleave, main, missing, ratio
from benchmarks.timing import WRK, wrk

APP = "benchmarks.hello:app"
WHAT = "CPU per 1,000 requests"
OFF, ON, LOGGED = "all off", "control plane and ledger on", "access log on, too"
WITHOUT = ("--no-control", "--no-ledger")
LOG = ("--access-log", "common")
BARE = flaskd(*WITHOUT, name=f"flaskd, {OFF}")
BARE_GRANIAN = flaskd(*WITHOUT, name=f"flaskd on granian, {OFF}", engine="granian")
ALL_ON = flaskd(*LOG, name=f"flaskd, {LOGGED}")
ALL_ON_GRANIAN = flaskd(*LOG, name=f"flaskd on granian, {LOGGED}", engine="granian")
COMPARED: list[tuple[str, Contender, Contender, float | None]] = [
    (f"werkzeug engine, {OFF}", BARE, WERKZEUG, 1.03),
    (f"werkzeug engine, {ON}", FLASKD, WERKZEUG, None),
    (f"werkzeug engine, {LOGGED}", ALL_ON, WERKZEUG, None),
    (f"werkzeug engine, {ON}", FLASKD, BARE, None),
    (f"werkzeug engine, {ON}", FLASKD, GUNICORN, None),
    (f"granian engine, {OFF}", BARE_GRANIAN, GRANIAN, 1.03),
    (f"granian engine, {ON}", FLASKD_GRANIAN, GRANIAN, None),
    (f"granian engine, {LOGGED}", ALL_ON_GRANIAN, GRANIAN, None),
    (f"granian engine, {ON}", FLASKD_GRANIAN, BARE_GRANIAN, None),
    (f"granian engine, {OFF}", BARE_GRANIAN, GUNICORN, 0.45),
    (f"granian engine, {ON}", FLASKD_GRANIAN, GUNICORN, 0.45),
]
"""What is compared: ours, theirs, the goal."""
QUICK = (BARE, FLASKD, WERKZEUG, BARE_GRANIAN, GRANIAN)


def measure(quick: bool) -> list[Figure]:
    """Put each server under load in turns."""
    if WRK is None:
        return [missing(WHAT, WERKZEUG.name, "wrk is not installed")]
    seconds, rounds = (1, 2) if quick else (2, 16)
    wanted = dict.fromkeys(side for _, ours, theirs, _ in COMPARED for side in (ours, theirs))
    contenders = [each for each in wanted if each.installed and (not quick or each in QUICK)]
    with contextlib.ExitStack() as stack:
        servers = {each: stack.enter_context(serving(each, APP)) for each in contenders}
        cpu = interleave({each.name: _work(server, seconds) for each, server in servers.items()}, rounds)
    figures = []
    for what, ours, theirs, goal in COMPARED:
        told = f"{WHAT}, {what}"
        if not (ours.installed and theirs.installed):
            figures.append(missing(told, theirs.name, "not installed"))
        elif ours in servers and theirs in servers:
            pair = {"ours": cpu[ours.name], "theirs": cpu[theirs.name]}
            figures.append(ratio(told, **pair, against=theirs.name, goal=goal, unit="s"))
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
