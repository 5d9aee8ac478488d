"""Requests a second of a Flask hello with one worker and with two, saturated by wrk in turns.

wrk takes its part of the same CPUs, more of it where more is answered: on few CPUs a second worker cannot double anything.
"""

import contextlib
from collections.abc import Callable
from typing import Final

from benchmarks.contenders import ALL, FLASKD_GRANIAN, GRANIAN, Contender
from benchmarks.findings import Findings, Rounds, missing
from benchmarks.running import serving
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import WRK, wrk

APP: Final = "benchmarks.hello:app"
WHAT: Final = "requests a second"
QUICK: Final = (FLASKD_GRANIAN, GRANIAN)


def measure(quick: bool) -> Findings:
    """Put each server under load in turns, those with one worker and those with two in the same rounds."""
    if WRK is None:
        return Findings([missing(WHAT, GRANIAN.name, "wrk is not installed")])
    found = [
        (each, workers)
        for each in (QUICK if quick else ALL)
        for workers in (1, 2)
        if each.installed and workers <= each.most_workers
    ]
    with contextlib.ExitStack() as stack:
        work = {
            _key(each, workers): _rate(stack.enter_context(serving(each, APP, workers=workers)).url, workers)
            for each, workers in found
        }
        rates = interleave(work, 1 if quick else 8)
    by_workers = [
        Rounds(
            f"throughput-{workers}",
            f"{WHAT}, {workers} worker{'s' * (workers > 1)}",
            "requests/s",
            {each.name: rates[_key(each, number)] for each, number in found if number == workers},
        )
        for workers in (1, 2)
    ]
    return Findings([], by_workers)


def _key(contender: Contender, workers: int) -> str:
    return f"{contender.name}, {workers}"


def _rate(url: str, workers: int) -> Callable[[], float]:
    return lambda: wrk(f"{url}/", seconds=1, connections=8 * workers)


if __name__ == "__main__":
    main(measure)
