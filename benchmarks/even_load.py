"""How evenly the workers share the load, and what that is worth.

Requests a second of a Flask hello with two workers, on 16, 64 and 256 kept connections, and on short ones (16 at a time, one
for each request), against granian's own server. And how many requests each of four workers answers on 16 kept connections: the
most, divided by the mean.
"""

import contextlib
import json
import statistics
import subprocess
from collections.abc import Callable
from typing import Final

from benchmarks.contenders import FLASKD_GRANIAN, GRANIAN, OURS, Contender
from benchmarks.findings import Figure, Findings, Rounds, missing, ratio
from benchmarks.running import Running, serving
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import WRK, wrk

APP: Final = "benchmarks.hello:app"
WHAT: Final = "requests a second, 2 workers"
LOADS: Final = {"16 kept": 16, "64 kept": 64, "256 kept": 256, "short": 16}
"""Connections at a time, by the kind of load."""
CLOSE: Final = ("Connection: close",)
SLOWER: Final = 1.05
"""The goal: at least 0.95 of granian's requests a second."""
UNEVEN: Final = 1.25
WORKERS: Final = 4
KEPT: Final = 16


def measure(quick: bool) -> Findings:
    """Put two servers under each load in turns; then look at the workers of each engine."""
    if WRK is None:
        return Findings([missing(WHAT, GRANIAN.name, "wrk is not installed", goal=SLOWER)])
    figures, rounds = [], []
    pair = (FLASKD_GRANIAN, GRANIAN)
    if all(each.installed for each in pair):
        for kind, connections in LOADS.items():
            rates = _rates(kind, connections, rounds=1 if quick else 8)
            rounds.append(Rounds(f"even-{kind.replace(' ', '-')}", f"{WHAT}, {kind}", "requests/s", rates))
            figures.append(
                ratio(
                    f"{WHAT}, {kind} connections: granian's, divided by ours",
                    ours=rates[GRANIAN.name],
                    theirs=rates[FLASKD_GRANIAN.name],
                    against=GRANIAN.name,
                    goal=SLOWER,
                    unit="requests/s",
                )
            )
    else:
        figures.append(missing(WHAT, GRANIAN.name, "not installed", goal=SLOWER))
    shares = {each.name: _shares(each, 1 if quick else 5) for each in OURS if each.installed}
    what = f"requests by worker, {WORKERS} workers, {KEPT} connections: most divided by mean"
    figures += [
        Figure(
            f"{what}, {name}",
            "",
            statistics.median(found),
            UNEVEN,
            f"{len(found)} rounds",
            low=min(found),
            high=max(found),
        )
        for name, found in shares.items()
    ]
    return Findings(figures, [*rounds, Rounds("even-workers", what, "ratio", shares)])


def _rates(kind: str, connections: int, *, rounds: int) -> dict[str, list[float]]:
    headers = CLOSE if kind == "short" else ()

    def load(server: Running) -> Callable[[], float]:
        return lambda: wrk(f"{server.url}/", seconds=1, connections=connections, headers=headers)

    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(each, APP, workers=2)) for each in (FLASKD_GRANIAN, GRANIAN)]
        return interleave({server.contender.name: load(server) for server in servers}, rounds)


def _shares(contender: Contender, rounds: int) -> list[float]:
    """Return the most requests of a worker, divided by the mean, once for each round."""
    found = []
    with serving(contender, APP, workers=WORKERS) as server:
        for _ in range(rounds):
            before = _served(server)
            wrk(f"{server.url}/", seconds=1 if rounds == 1 else 5, connections=KEPT)
            counts = [count - before[worker] for worker, count in _served(server).items()]
            found.append(max(counts) / statistics.mean(counts))
    return found


def _served(server: Running) -> dict[int, int]:
    """Return how many requests each worker has answered, by its id."""
    told = subprocess.run(
        [*server.ctl, "workers", "--json"], check=True, capture_output=True, timeout=60
    ).stdout
    return {worker["id"]: sum(worker["served"].values()) for worker in json.loads(told)["workers"]}


if __name__ == "__main__":
    main(measure)
