"""Starting a server, from the command to its first response; and stopping it while idle, from the command to its end.

`flaskd_ctl shutdown` returns when the daemon is gone; against it stand granian's own exit after SIGTERM plus
one start of a command line program (Python with click).
"""

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Final

from benchmarks.contenders import ALL, FLASKD_WERKZEUG, GRANIAN, OURS, WERKZEUG, Contender, python
from benchmarks.findings import Findings, Rounds, missing, ratio
from benchmarks.running import serving
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import command_seconds

APP: Final = "benchmarks.hello:app"
STOP: Final = "idle `flaskd_ctl shutdown`, command to process gone"
START: Final = "start to first response"
CLI: Final = "one CLI start"


def measure(quick: bool) -> Findings:
    """Start and stop each in turns."""
    contenders = [each for each in ((*OURS, GRANIAN, WERKZEUG) if quick else ALL) if each.installed]
    started: dict[str, list[float]] = {each.name: [] for each in contenders}
    work = {each.name: _start_and_stop(each, started[each.name]) for each in contenders}
    stopped = interleave(
        {**work, CLI: lambda: command_seconds(python("-c", "import click"))}, 1 if quick else 12
    )
    cli = stopped.pop(CLI)
    figures = []
    for own in OURS:
        stop, start = f"{STOP}, {own.name}", f"{START}, {own.name}"
        against = f"{GRANIAN.name}'s exit + {CLI}"
        if own.name not in stopped or GRANIAN.name not in stopped:
            figures.append(missing(stop, against, "not installed", goal=1.3))
            continue
        theirs = [exit_ + cli_ for exit_, cli_ in zip(stopped[GRANIAN.name], cli, strict=True)]
        figures += [
            ratio(stop, ours=stopped[own.name], theirs=theirs, against=against, goal=1.3, unit="s"),
            ratio(
                start,
                ours=started[own.name],
                theirs=started[GRANIAN.name],
                against=GRANIAN.name,
                goal=None if own is FLASKD_WERKZEUG else 1.25,
                unit="s",
            ),
        ]
    rounds = [
        Rounds("start", START, "s", started),
        Rounds("stop", "idle stop", "s", stopped),
    ]
    return Findings(figures, rounds)


def _start_and_stop(contender: Contender, started: list[float]) -> Callable[[], float]:
    def once() -> float:
        with serving(contender, APP, port=free_port()) as running:
            started.append(running.started_in)
            begun = time.perf_counter()
            running.begin_stop()
            if running.wait_gone() is None:
                raise RuntimeError(f"{contender.name} did not end")
            return time.perf_counter() - begun

    return once


def free_port() -> int:
    """Return a port that the kernel chose; nothing else is started until it is taken."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as chosen:
        port: int = chosen.getsockname()[1]
        return port


if __name__ == "__main__":
    main(measure)
