"""Memory with a Flask hello: the supervisor's against a bare Python with the same libraries, and all servers side by side.

Proportional set size after a few requests: a page that several processes share counts once, in equal parts.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Final

from benchmarks import procfs
from benchmarks.contenders import ALL, FLASKD_GRANIAN, GRANIAN, OURS, python
from benchmarks.findings import Findings, Rounds, missing, ratio
from benchmarks.running import Running, serving
from benchmarks.side_by_side import main
from benchmarks.timing import ENVIRON

APP: Final = "benchmarks.hello:app"
BARE: Final = "python -c 'import asyncio, zmq, click, msgspec'"


def measure(quick: bool) -> Findings:
    """Weigh all of them while all are running, so that each shares its libraries with the same others; each time anew."""
    contenders = [each for each in ((*OURS, GRANIAN) if quick else ALL) if each.installed]
    whole: dict[str, list[float]] = {each.name: [] for each in contenders}
    worker: dict[str, list[float]] = {each.name: [] for each in contenders}
    supervisor: dict[str, list[float]] = {each.name: [] for each in OURS if each.installed}
    bare: list[float] = []
    for _ in range(1 if quick else 5):
        with contextlib.ExitStack() as stack:
            lone = stack.enter_context(_bare())
            servers = [stack.enter_context(serving(each, APP)) for each in contenders]
            for server in servers:
                _use(server)
            bare.append(_mib([lone]))
            for server in servers:
                name = server.contender.name
                whole[name].append(_mib(server.pids))
                worker[name].append(max(_mib([pid]) for pid in server.workers))
                if name in supervisor:
                    supervisor[name].append(_mib([server.process.pid]))
    figures = [
        ratio(
            f"memory (PSS) of the supervisor, {each.name}",
            ours=supervisor[each.name],
            theirs=bare,
            against=BARE,
            goal=1.25,
            unit="MiB",
        )
        if each.installed
        else missing(f"memory (PSS) of the supervisor, {each.name}", BARE, "not installed", goal=1.25)
        for each in OURS
    ]
    what = "memory (PSS) of all processes, one worker, granian engine"
    if FLASKD_GRANIAN.installed:
        pair = {"ours": whole[FLASKD_GRANIAN.name], "theirs": whole[GRANIAN.name]}
        figures.append(ratio(what, **pair, against=GRANIAN.name, goal=1.2, unit="MiB"))
    else:
        figures.append(missing(what, GRANIAN.name, "not installed", goal=1.2))
    rounds = [
        Rounds("memory", "memory of all processes, one worker", "MiB", whole),
        Rounds("memory-worker", "memory of the worker", "MiB", worker),
    ]
    return Findings(figures, rounds)


def _mib(pids: list[int]) -> float:
    return procfs.pss_kib(pids) / 1024


def _use(server: Running) -> None:
    for _ in range(20):
        server.get()


@contextlib.contextmanager
def _bare() -> Iterator[int]:
    """Run a Python with the supervisor's libraries and nothing else, asleep."""
    program = "import asyncio, zmq, click, msgspec; print(flush=True); input()"
    with subprocess.Popen(
        python("-c", program), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRON
    ) as process:
        if process.stdout is None or process.stdin is None or not process.stdout.readline():
            raise RuntimeError("the bare Python did not start")
        try:
            yield process.pid
        finally:
            process.kill()


if __name__ == "__main__":
    main(measure)
