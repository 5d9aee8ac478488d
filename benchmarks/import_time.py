"""What each process imports: how many modules, how long that takes, and which single one takes longest (-X importtime).

The supervisor and the client are held against a bare Python, the worker against one that has imported Flask, as any worker of a
Flask application has to. A module that is imported costs every start, and memory in every process.
"""

import functools
import re
import statistics
import subprocess
import sys
from typing import Final, NamedTuple

from benchmarks.findings import Figure, Findings, Rounds, count, ratio
from benchmarks.running import ROOT
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import ENVIRON

OWN: Final = ("flaskd", "flaskd_ctl")
LINE: Final = re.compile(r"import time: +([0-9]+) \| +[0-9]+ \| *([^ \n]+)")

SUPERVISOR: Final = "import flaskd.entry, flaskd.cli, flaskd.logs.handler, flaskd.supervisor.main"
WORKER: Final = (
    "import flask.cli, flaskd.worker.handover, flaskd.worker.main; "
    "from flaskd.engines.factory import check_engine, engine_class; "
    "engine_class('waitress'); check_engine('waitress', tls=None)"
)
CLIENT: Final = "from flaskd_ctl.cli import main; main.main(['status', '--name', 'nobody'])"


class Process(NamedTuple):
    """A process: what it imports, what stands against it, and its budget.

    `modules` is how many it may have beyond the other, `longer` how many times as long its imports may take.
    """

    name: str
    code: str
    against: str
    other: str
    modules: int
    longer: float


PROCESSES: Final = (
    Process("supervisor", SUPERVISOR, "bare Python", "pass", 470, 33.0),
    Process("worker", WORKER, "import flask.cli", "import flask.cli", 260, 1.9),
    Process("client (status)", CLIENT, "bare Python", "pass", 145, 10.5),
)

SLOWEST: Final = 0.7
"""The longest that one module of ours may take by itself, as a share of what a bare Python imports."""


def measure(quick: bool) -> Findings:
    """Import in turns."""
    rounds = 2 if quick else 15
    codes = {each.code for each in PROCESSES} | {each.other for each in PROCESSES}
    seen: dict[str, list[dict[str, float]]] = {code: [] for code in codes}
    for code in codes:  # bytecode is written, files are in the page cache
        _imports(code)

    def once(code: str) -> float:
        seen[code].append(_imports(code))
        return sum(seen[code][-1].values())

    taken = interleave({code: functools.partial(once, code) for code in sorted(codes)}, rounds)
    figures: list[Figure] = []
    for each in PROCESSES:
        more = len(seen[each.code][-1]) - len(seen[each.other][-1])
        what = f"imports of the {each.name}"
        own = {
            name: statistics.median(one[name] for one in seen[each.code])
            for name in seen[each.code][-1]
            if name.split(".")[0] in OWN
        }
        slowest = max(own, key=lambda name: own[name])
        figures += [
            count(f"{what}: modules beyond those of {each.against}", more, goal=each.modules),
            ratio(
                f"{what}: time",
                ours=taken[each.code],
                theirs=taken[each.other],
                against=each.against,
                goal=each.longer,
                unit="s",
            ),
            ratio(
                f"{what}: the slowest one of ours, {slowest}",
                ours=[one[slowest] for one in seen[each.code]],
                theirs=taken["pass"],
                against="all of a bare Python's",
                goal=SLOWEST,
                unit="s",
            ),
        ]
    names = {each.code: each.name for each in PROCESSES}
    numbers = {names[code]: taken[code] for code in taken if code in names}
    return Findings(figures, [Rounds("imports", "time of imports (-X importtime)", "s", numbers)])


def _imports(code: str) -> dict[str, float]:
    """Return each module that a new Python imports, and the seconds that it takes by itself."""
    command = [sys.executable, "-P", "-X", "importtime", "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=dict(ENVIRON)
    )
    return {name: int(spent) / 1e6 for spent, name in LINE.findall(done.stderr)}


if __name__ == "__main__":
    main(measure)
