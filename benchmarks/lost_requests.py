"""Requests lost when a server is stopped gracefully under load: 20 stops closed-loop, 20 open-loop.

What counts as lost is said in tests/live/outcome.py. The application is httpbin. The load begins before the
stop and ends after it; the stop comes at a random moment.
"""

import concurrent.futures
import json
import os
import random
import subprocess
import time
from typing import Any

from benchmarks.contenders import OURS, PEERS, ROOT, Contender, python, serving
from benchmarks.side_by_side import Figure, main, missing

QUICK_PEERS = {"gunicorn gthread"}
UNANSWERED = ("reset", "truncated", "timed_out", "wrong")


def stop_under_load(contender: Contender, mode: str, seed: int) -> dict[str, Any]:
    """Start, load, stop; return the load client's report with `exit` and `stop_took` added."""
    with serving(contender, "httpbin:app") as running:
        command = python("-m", "tests.live.load", running.url, "--mode", mode, "--seed", str(seed))
        command += ["--seconds", "60", "--until-eof", "--warm", "40", "--tail", "0.3"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
        ) as load:
            if load.stdin is None or load.stdout is None or not load.stdout.readline():
                raise RuntimeError(f"no load on {contender.name}")
            time.sleep(random.Random(seed).uniform(0.0, 0.4))
            begun = time.monotonic()
            running.begin_stop()
            status = running.wait_gone()
            took = time.monotonic() - begun
            load.stdin.close()
            report: dict[str, Any] = json.loads(load.stdout.readline())
    return {**report, "exit": status, "stop_took": took}


def measure(quick: bool) -> list[Figure]:
    """Stop every contender so many times in each mode, as many side by side as there are CPUs."""
    stops = 2 if quick else 20
    peers = [peer for peer in PEERS if not quick or peer.name in QUICK_PEERS]
    contenders = (*OURS, *peers)
    installed = [contender for contender in contenders if contender.installed]
    jobs = [(c, mode, seed) for seed in range(stops) for mode in ("closed", "open") for c in installed]
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        reports = list(pool.map(lambda job: (job[0], job[1], stop_under_load(*job)), jobs))
    figures = []
    for mode in ("closed", "open"):
        for contender in installed:
            own = [report for who, how, report in reports if (who, how) == (contender, mode)]
            figures += _figures(contender, mode, own)
    absent = [contender for contender in contenders if not contender.installed]
    return [*figures, *(missing("lost requests", each.name, "not installed") for each in absent)]


def _figures(contender: Contender, mode: str, reports: list[dict[str, Any]]) -> list[Figure]:
    total = {
        key: sum(report[key] for report in reports) for key in ("ok", "lost", "races", "excused", "refused")
    }
    kinds = {
        key: sum(report[key] for report in reports) for key in ("reset", "truncated", "timed_out", "wrong")
    }
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    left = sum(report["exit"] is None for report in reports)
    slowest = max(report["stop_took"] for report in reports)
    detail = f"{total['ok']} answered, {total['refused']} refused, slowest stop {slowest:.1f} s"
    detail += f"; unanswered: {told}" * bool(told) + f"; {total['excused']} excused" * bool(total["excused"])
    detail += f"; {left} did not end" * bool(left)
    goal = 0 if contender in OURS else None
    what = f"in {len(reports)} stops, {mode}-loop"
    return [
        Figure(f"requests lost {what}", contender.name, total["lost"], goal, detail, exact=goal is not None),
        Figure(f"keep-alive races {what}", contender.name, total["races"], goal, "", exact=goal is not None),
    ]


if __name__ == "__main__":
    main(measure)
