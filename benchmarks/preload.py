"""`--preload`: memory of four workers against gunicorn's, and the time of what takes a fork instead of an import.

Memory is the sum of the proportional set sizes of all processes, the supervisor's and the template's (gunicorn: the
arbiter's) among them, once each worker has answered some requests.
"""

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from benchmarks import procfs
from benchmarks.contenders import GUNICORN, Contender, flaskd, python
from benchmarks.findings import Figure, Findings, Rounds, missing, ratio
from benchmarks.running import Running, Setup, serving
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import command_seconds
from flaskd_ctl import Client

WORKERS: Final = 4
REQUESTS: Final = 50 * WORKERS
CLIENTS: Final = 4 * WORKERS
APPS: Final = {"200,000 dicts": "benchmarks.large_app:app", "Django admin": "benchmarks.django_admin:app"}
SLOW: Final = "benchmarks.slow_app:app"
REPLACEMENT: Final = 0.15
"""Seconds from the order to replace a worker until the new one serves."""

PRELOADED: Final = [
    flaskd("--preload", name=f"flaskd on {engine}, --preload", engine=engine)
    for engine in ("waitress", "granian")
]


def _gunicorn(setup: Setup) -> list[str]:
    return [*GUNICORN.command(setup), "--preload"]


PEER: Final = replace(GUNICORN, name="gunicorn gthread, --preload", command=_gunicorn)


def measure(quick: bool) -> Findings:
    """Measure the memory, then the times."""
    memory = [_memory(what, app, 1 if quick else 5) for what, app in APPS.items()]
    times = _times(1 if quick else 5)
    return Findings(
        [figure for found in (*memory, times) for figure in found.figures],
        [rounds for found in (*memory, times) for rounds in found.rounds],
    )


def _memory(what: str, app: str, rounds: int) -> Findings:
    """Weigh each of them with four workers, by turns."""
    title = f"memory (PSS), 4 workers, {what}"
    if "django" in app and importlib.util.find_spec("django") is None:
        return Findings([missing(title, PEER.name, "Django is not installed", goal=1.2)])
    contenders = [each for each in (*PRELOADED, PEER) if each.installed]
    found = interleave({each.name: _weigh(each, app) for each in contenders}, rounds)
    figures = [
        ratio(
            f"{title}, {each.name}",
            ours=found[each.name],
            theirs=found[PEER.name],
            against=PEER.name,
            goal=1.2,
            unit="MiB",
        )
        for each in contenders
        if each is not PEER
    ]
    return Findings(
        figures, [Rounds(f"preload-memory-{app.split('.')[1].split(':')[0]}", title, "MiB", found)]
    )


def _weigh(contender: Contender, app: str) -> Callable[[], float]:
    def weigh() -> float:
        with serving(contender, app, workers=WORKERS) as running:
            running.wait_workers(WORKERS)
            # One after the other, they would all go to one worker of gunicorn's.
            with ThreadPoolExecutor(CLIENTS) as clients:
                list(clients.map(lambda _: running.get(), range(REQUESTS)))
            return procfs.pss_kib(running.pids) / 1024

    return weigh


def _times(rounds: int) -> Findings:
    """Replace one of four workers, then all of them, of an application that takes five seconds to load."""
    module = SLOW.partition(":")[0]
    loading = min(command_seconds(python("-c", f"import {module}")) for _ in range(rounds))
    figures: list[Figure] = []
    replacements: dict[str, list[float]] = {}
    reloading: dict[str, list[float]] = {}
    for contender in (each for each in PRELOADED if each.installed):
        with (
            serving(contender, SLOW, workers=WORKERS) as running,
            Client(endpoint=f"unix://{running.control_socket}", timeout=60) as client,
        ):
            client.wait("ready")
            replaced = [_replacement(client) for _ in range(rounds * 4)]
            reloads = [_reload(running, client) for _ in range(rounds)]
        figures += [
            ratio(
                f"replacement of a worker, s of 5 s to load, {contender.name}",
                ours=replaced,
                theirs=[1.0] * len(replaced),
                against="",
                goal=REPLACEMENT,
                unit="s",
            ),
            ratio(
                f"reload of 4 workers, {contender.name}",
                ours=reloads,
                theirs=[loading] * len(reloads),
                against="loading the application once",
                goal=1.3,
                unit="s",
            ),
        ]
        replacements[contender.name], reloading[contender.name] = replaced, reloads
    return Findings(
        figures,
        [
            Rounds("preload-replacement", "replacement of a worker", "s", replacements),
            Rounds("preload-reload", f"reload of {WORKERS} workers, 5 s to load", "s", reloading),
        ],
    )


def _replacement(client: Client) -> float:
    oldest = next(worker.id for worker in client.workers() if worker.state == "serving")
    begun = time.time()
    new = client.restart_worker(oldest).worker
    return next(worker.since for worker in client.workers() if worker.id == new) - begun


def _reload(running: Running, client: Client) -> float:
    begun = time.perf_counter()
    client.reload()
    taken = time.perf_counter() - begun
    running.get()
    return taken


if __name__ == "__main__":
    main(measure)
