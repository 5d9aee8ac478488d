"""`--workers 1..4`: the seconds from the begin of a load until four workers serve, and from its end until one is left.

The load is more than four workers can serve; the application takes two seconds to load. `--scale-down-after` is 1 s, in place
of a minute.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from typing import Final

from benchmarks.contenders import Contender, flaskd
from benchmarks.findings import Findings, Rounds
from benchmarks.running import serving
from benchmarks.side_by_side import main
from benchmarks.timing import WRK
from flaskd_ctl import Client

APP: Final = "benchmarks.waiting_app:app"
MOST: Final = 4
CONNECTIONS: Final = 64
PATIENCE: Final = 60.0
OPTIONS: Final = ("--workers", f"1..{MOST}", "--scale-down-after", "1")
CONTENDERS: Final = [
    flaskd(*OPTIONS, *more, name=", ".join((f"flaskd on {engine}", *more)), engine=engine)
    for engine in ("waitress", "granian")
    for more in ((), ("--preload",))
]


def measure(quick: bool) -> Findings:
    """Put a load on each of them, and take it away."""
    if WRK is None:
        return Findings([], [])
    contenders = [each for each in CONTENDERS if each.installed]
    up: dict[str, list[float]] = {}
    down: dict[str, list[float]] = {}
    for contender in contenders[1:2] if quick else contenders:
        found = [_cycle(contender) for _ in range(1 if quick else 3)]
        up[contender.name] = [each[0] for each in found]
        down[contender.name] = [each[1] for each in found]
    return Findings(
        [],
        [
            Rounds("autoscale-up", f"begin of the load to {MOST} workers", "s", up),
            Rounds("autoscale-down", "end of the load to 1 worker", "s", down),
        ],
    )


def _cycle(contender: Contender) -> tuple[float, float]:
    with (
        serving(contender, APP) as running,
        Client(endpoint=f"unix://{running.control_socket}", timeout=PATIENCE) as client,
    ):
        with _load(running.url):
            up = _seconds_until(client, MOST)
        return up, _seconds_until(client, 1)


@contextlib.contextmanager
def _load(url: str) -> Iterator[None]:
    assert WRK is not None
    command = [WRK, "-t1", f"-c{CONNECTIONS}", f"-d{PATIENCE:.0f}s", f"{url}/"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as load:
        try:
            yield
        finally:
            load.kill()


def _seconds_until(client: Client, wanted: int) -> float:
    begun = time.perf_counter()
    while len(workers := client.workers()) != wanted or any(each.state != "serving" for each in workers):
        if time.perf_counter() - begun > PATIENCE:
            raise RuntimeError(f"there are not {wanted} workers after {PATIENCE:.0f} s")
        time.sleep(0.02)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main(measure)
