"""CPU time for 1,000 requests of a Flask hello: what flaskd adds to each engine, and what the peers take.

All are saturated by wrk in turns; CPU time is that of all the server's processes, from /proc. The goals are against
granian's own command, gunicorn gthread and uWSGI.
"""

import contextlib
from collections.abc import Callable
from typing import Final

from benchmarks import procfs
from benchmarks.contenders import (
    FLASKD,
    FLASKD_GRANIAN,
    FLASKD_WERKZEUG,
    GRANIAN,
    GUNICORN,
    PEERS,
    UWSGI,
    WAITRESS,
    WERKZEUG,
    Contender,
    flaskd,
)
from benchmarks.findings import Findings, Rounds, missing, ratio
from benchmarks.running import Running, serving
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import WRK, wrk

APP: Final = "benchmarks.hello:app"
WHAT: Final = "CPU per 1,000 requests"
OFF, ON, LOGGED = (
    "control plane, ledger and access log off",
    "control plane and ledger on",
    "access log on, too",
)
WITHOUT: Final = ("--no-control", "--no-ledger")
LOG: Final = ("--access-log", "common")
BARE: Final = flaskd(*WITHOUT, name="flaskd on waitress, all off", engine="waitress")
BARE_WERKZEUG: Final = flaskd(*WITHOUT, name="flaskd on Werkzeug, all off", engine="werkzeug")
BARE_GRANIAN: Final = flaskd(*WITHOUT, name="flaskd on granian, all off", engine="granian")
ALL_ON: Final = flaskd(*LOG, name="flaskd on waitress, access log on", engine="waitress")
ALL_ON_GRANIAN: Final = flaskd(*LOG, name="flaskd on granian, access log on", engine="granian")
COMPARED: Final[list[tuple[str, Contender, Contender, float | None]]] = [
    (f"granian engine, {OFF}", BARE_GRANIAN, GRANIAN, 1.03),
    (f"granian engine, {ON}", FLASKD_GRANIAN, GRANIAN, 1.10),
    (f"granian engine, {ON}", FLASKD_GRANIAN, UWSGI, 1.00),
    (f"granian engine, {LOGGED}", ALL_ON_GRANIAN, GRANIAN, None),
    (f"granian engine, {ON}", FLASKD_GRANIAN, BARE_GRANIAN, None),
    (f"granian engine, {OFF}", BARE_GRANIAN, GUNICORN, 0.45),
    (f"granian engine, {ON}", FLASKD_GRANIAN, GUNICORN, 0.45),
    (f"waitress engine, {ON}", FLASKD, GUNICORN, 0.60),
    (f"waitress engine, {OFF}", BARE, WAITRESS, None),
    (f"waitress engine, {ON}", FLASKD, BARE, None),
    (f"waitress engine, {LOGGED}", ALL_ON, BARE, None),
    (f"Werkzeug engine, {OFF}", BARE_WERKZEUG, WERKZEUG, None),
    (f"Werkzeug engine, {ON}", FLASKD_WERKZEUG, GUNICORN, None),
]
"""What is compared: ours, theirs, the goal."""
CONTENDERS: Final = (
    *(FLASKD_GRANIAN, BARE_GRANIAN, ALL_ON_GRANIAN),
    *(FLASKD, BARE, ALL_ON),
    *(FLASKD_WERKZEUG, BARE_WERKZEUG, *PEERS),
)
QUICK: Final = (FLASKD, GUNICORN, FLASKD_GRANIAN, BARE_GRANIAN, GRANIAN)


def measure(quick: bool) -> Findings:
    """Put each server under load in turns."""
    if WRK is None:
        return Findings([missing(WHAT, WERKZEUG.name, "wrk is not installed", goal=1.03)])
    contenders = [each for each in (QUICK if quick else CONTENDERS) if each.installed]
    with contextlib.ExitStack() as stack:
        servers = {each: stack.enter_context(serving(each, APP)) for each in contenders}
        cpu = interleave({each.name: _work(server) for each, server in servers.items()}, 1 if quick else 16)
    figures = []
    for what, ours, theirs, goal in COMPARED:
        told = f"{WHAT}, {what}"
        if not (ours.installed and theirs.installed):
            figures.append(missing(told, theirs.name, "not installed", goal=goal))
        elif ours in servers and theirs in servers:
            pair = {"ours": cpu[ours.name], "theirs": cpu[theirs.name]}
            figures.append(ratio(told, **pair, against=theirs.name, goal=goal, unit="s"))
    return Findings(figures, [Rounds("cpu", WHAT, "s", cpu)])


def _work(server: Running) -> Callable[[], float]:
    def once() -> float:
        pids = server.pids
        before = procfs.cpu_seconds(pids)
        answered = wrk(f"{server.url}/", seconds=1)
        return (procfs.cpu_seconds(pids) - before) / answered * 1000

    return once


if __name__ == "__main__":
    main(measure)
