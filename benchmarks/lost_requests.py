"""Requests lost under load in 20 graceful stops, 20 reloads, and 20 cycles of growing and shrinking; closed-loop and open-loop.

What counts as lost is said in tests/support/outcome.py. The application is httpbin. The load begins before the change and ends
after it; it comes at a random moment. Stops are each of a server of its own with one worker; reloads are one after the other
of a server with two workers (uvicorn reloads only then), each when the one before has ended. In a cycle 40 more clients come,
flaskd (`--workers 2..4`) starts workers, they go, and it stops them again; none of the others has that.
"""

import concurrent.futures
import contextlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from benchmarks.contenders import ALL, GUNICORN, GUNICORN_C, OURS, Contender, flaskd, python
from benchmarks.findings import Figure, Findings, Rounds, count, missing
from benchmarks.running import PATIENCE, ROOT, Running, serving
from benchmarks.side_by_side import main
from tests.support.pressure import Pressure

APP: Final = "httpbin:app"
MODES: Final = ("closed", "open")
KINDS: Final = ("reset", "truncated", "timed_out", "wrong")
Report = dict[str, Any]
Job = tuple[str, Contender, str, int]


def stop_under_load(contender: Contender, mode: str, seed: int) -> Report:
    """Start, load, stop; return the load client's report with `exit` and `took` added."""
    with serving(contender, APP) as running, _load(running.url, mode, seed) as load:
        time.sleep(random.Random(seed).uniform(0.0, 0.4))
        begun = time.monotonic()
        running.begin_stop()
        status = running.wait_gone()
        return {**_end(load), "exit": status, "took": time.monotonic() - begun}


def reload_under_load(contender: Contender, mode: str, times: int) -> Report:
    """Start, load, reload so many times; return the load client's report with `exit` and `took` (the slowest) added.

    A peer that does not come back from a reload ends it, and has `exit` None.
    """
    rng, took = random.Random(times), [0.0]
    status: int | None = 0
    with serving(contender, APP, workers=2) as running, _load(running.url, mode, times) as load:
        for _ in range(times):
            time.sleep(rng.uniform(0.0, 0.4))
            begun = time.monotonic()
            try:
                running.reload()
            except RuntimeError:
                if contender in OURS:
                    raise
                status = None
                break
            took.append(time.monotonic() - begun)
        return {**_end(load), "exit": status, "took": max(took)}


def cycle_under_load(contender: Contender, mode: str, times: int) -> Report:
    """Start, load, let the number of workers go from 2 to 4 and back so many times; return the load client's report.

    With `exit` and `took`, the slowest cycle; what the further clients lost is added to `lost`.
    """
    took, failed = [0.0], 0
    with serving(contender, APP, workers=2) as running, _load(running.url, mode, times) as load:
        for _ in range(times):
            begun = time.monotonic()
            with Pressure(running.url, 40) as pressure:
                _wait_wanted(running, 4)
            failed += len(pressure.failures)
            _wait_wanted(running, 2)
            took.append(time.monotonic() - begun)
        report = _end(load)
        return {**report, "lost": report["lost"] + failed, "exit": 0, "took": max(took)}


def _wait_wanted(running: Running, workers: int) -> None:
    """Wait until so many workers are wanted, and serve."""
    deadline = time.monotonic() + PATIENCE
    while True:
        done = subprocess.run([*running.ctl, "status", "--json"], capture_output=True, text=True, check=True)
        status = json.loads(done.stdout)
        serving_now = sum(each["state"] == "serving" for each in status["workers"])
        if status["wanted_workers"] == serving_now == workers:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{running.contender.name} did not come to {workers} workers")
        time.sleep(0.1)


@contextlib.contextmanager
def _load(url: str, mode: str, seed: int) -> Iterator[subprocess.Popen[str]]:
    command = python(
        "-m", "tests.support.load", url, "--mode", mode, "--seed", str(seed), "--count", "1000000"
    )
    command += ["--seconds", "300", "--until-eof", "--warm", "40", "--tail", "0.3"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as load:
        try:
            if load.stdout is None or not load.stdout.readline():
                raise RuntimeError(f"no load on {url}")
            yield load
        finally:
            load.kill()


def _end(load: subprocess.Popen[str]) -> Report:
    if load.stdin is None or load.stdout is None:
        raise RuntimeError("the load has no pipes")
    load.stdin.close()
    report: Report = json.loads(load.stdout.readline())
    return report


CHANGES: Final[dict[str, Callable[[Contender, str, int], Report]]] = {
    "stops": stop_under_load,
    "reloads": reload_under_load,
    "autoscale cycles": cycle_under_load,
}

FOLLOWING: Final = {
    each.name: flaskd("--workers", "2..4", "--scale-down-after", "1", name=each.name, engine=each.modules[0])
    for each in OURS
}
"""flaskd on each engine, with workers that follow the load."""


def measure(quick: bool) -> Findings:
    """Change every contender so many times in each mode, a few side by side: most of the time is spent waiting."""
    times = 1 if quick else 20
    # the parser makes no difference to what becomes of connections
    contenders = (*OURS, GUNICORN) if quick else tuple(each for each in ALL if each is not GUNICORN_C)
    installed = [each for each in contenders if each.installed]
    jobs: list[Job] = [("reloads", each, mode, times) for mode in MODES for each in installed if each.reload]
    jobs += [("stops", each, mode, seed) for seed in range(times) for mode in MODES for each in installed]
    jobs += [
        ("autoscale cycles", FOLLOWING[each.name], mode, times)
        for mode in MODES
        for each in installed
        if each in OURS
    ]
    with concurrent.futures.ThreadPoolExecutor(1 + (os.cpu_count() or 1)) as pool:
        reports = list(zip(jobs, pool.map(_report, jobs), strict=True))
    figures, rounds = [], []
    for change in CHANGES:
        for mode in MODES:
            own = {
                each.name: [
                    report
                    for job, report in reports
                    if (job[0], job[1].name, job[2]) == (change, each.name, mode)
                ]
                for each in installed
            }
            own = {name: of_it for name, of_it in own.items() if of_it}
            for name, of_it in own.items():
                figures += _figures(f"in {times} {change}, {mode}-loop", name, of_it)
            rounds += _rounds(change, mode, own)
    figures += [
        missing(f"{each.name}: requests lost", "", "not installed", goal=0 if each in OURS else None)
        for each in contenders
        if not each.installed
    ]
    return Findings(figures, rounds)


def _report(job: Job) -> Report:
    change, contender, mode, number = job
    return CHANGES[change](contender, mode, number)


def _figures(what: str, name: str, reports: list[Report]) -> list[Figure]:
    total = {
        key: sum(report[key] for report in reports) for key in ("ok", "lost", "races", "excused", "refused")
    }
    told = ", ".join(f"{number} {kind}" for kind in KINDS if (number := sum(each[kind] for each in reports)))
    left = sum(report["exit"] is None for report in reports)
    detail = f"{total['ok']} answered, {total['refused']} refused, slowest {max(each['took'] for each in reports):.1f} s"
    detail += f"; unanswered: {told}" * bool(told) + f"; {total['excused']} excused" * bool(total["excused"])
    detail += f"; {left} did not come to an end" * bool(left)
    goal = 0 if name in {each.name for each in OURS} else None
    return [
        count(f"{name}: requests lost {what}", total["lost"], goal=goal, detail=detail),
        count(f"{name}: keep-alive races {what}", total["races"], goal=goal),
    ]


def _rounds(change: str, mode: str, reports: dict[str, list[Report]]) -> list[Rounds]:
    """Keep the counts, and the share of requests that were lost, which says more where loads differ."""

    def rounds(key: str, what: str, unit: str, of: Callable[[Report], float]) -> Rounds:
        numbers = {name: [float(of(report)) for report in own] for name, own in reports.items()}
        return Rounds(
            f"{change.replace(' ', '-')}-{mode}-{key}", f"{what}{change}, {mode}-loop", unit, numbers
        )

    lost = {name: sum(report["lost"] for report in own) for name, own in reports.items()}
    answered = {name: sum(report["ok"] for report in own) for name, own in reports.items()}
    share = {name: [100 * lost[name] / (lost[name] + answered[name])] for name in reports}
    return [
        rounds("lost", "lost in ", "requests", lambda report: report["lost"]),
        rounds("ok", "answered in ", "requests", lambda report: report["ok"]),
        rounds("races", "keep-alive races in ", "requests", lambda report: report["races"]),
        rounds("refused", "refused in ", "requests", lambda report: report["refused"]),
        rounds("failed", "failures in ", "requests", lambda report: report["exit"] is None),
        rounds("took", "time for one of ", "s", lambda report: report["took"]),
        Rounds(
            f"{change.replace(' ', '-')}-{mode}-share", f"{change}, {mode}-loop", "% of requests lost", share
        ),
    ]


if __name__ == "__main__":
    main(measure)
