"""Stopping an idle server: from the command to the process being gone.

`flaskd_ctl shutdown` returns when the daemon is gone; against it stand granian's own exit after SIGTERM plus
one start of a command line program (Python with click). The other servers' exits after their signal are
shown for information.
"""

import time
from collections.abc import Callable

from benchmarks.contenders import GRANIAN, GUNICORN, OURS, WERKZEUG, Contender, python, serving
from benchmarks.side_by_side import Figure, interleave, main, missing, ratio
from benchmarks.timing import command_seconds

APP = "benchmarks.hello:app"
WHAT = "idle `flaskd_ctl shutdown`, command to process gone"
CLI = "one CLI start"


def measure(quick: bool) -> list[Figure]:
    """Start and stop each in turns."""
    rounds = 3 if quick else 15
    peers = [peer for peer in (GRANIAN, GUNICORN, WERKZEUG) if peer.installed]
    ours = [each for each in OURS if each.installed]
    contenders = {each.name: _stop(each) for each in (*ours, *peers)}
    taken = interleave({**contenders, CLI: lambda: command_seconds(python("-c", "import click"))}, rounds)
    figures = []
    for peer in peers:
        theirs = [stop + start for stop, start in zip(taken[peer.name], taken[CLI], strict=True)]
        against = f"{peer.name}'s exit + {CLI}"
        goal = 1.3 if peer is GRANIAN else None
        figures += [
            ratio(
                f"{WHAT}, {own.name}",
                ours=taken[own.name],
                theirs=theirs,
                against=against,
                goal=goal,
                unit="s",
            )
            for own in ours
        ]
    if GRANIAN not in peers:
        figures.append(missing(WHAT, GRANIAN.name, "not installed"))
    return figures


def _stop(contender: Contender) -> Callable[[], float]:
    def once() -> float:
        with serving(contender, APP) as running:
            begun = time.perf_counter()
            running.begin_stop()
            if running.wait_gone() is None:
                raise RuntimeError(f"{contender.name} did not end")
            return time.perf_counter() - begun

    return once


if __name__ == "__main__":
    main(measure)
