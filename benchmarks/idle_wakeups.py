"""Wake-ups of an idle server: voluntary context switches of all its threads while nobody asks it anything.

Counted in several windows, the quietest counts: a timer wakes a server in each of them, a page that has to be
read from disk (a voluntary switch, too) does not.
"""

import contextlib
import time
from typing import Final

from benchmarks import procfs
from benchmarks.contenders import ALL, OURS
from benchmarks.findings import Figure, Findings, Rounds, count, missing
from benchmarks.running import Running, serving
from benchmarks.side_by_side import main

APP: Final = "benchmarks.hello:app"


def measure(quick: bool) -> Findings:
    """Let all of them stand idle through the same seconds; flaskd's supervisor and its worker are told apart."""
    seconds, windows = (1, 3) if quick else (20, 2)
    contenders = [each for each in (OURS if quick else ALL) if each.installed]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(each, APP)) for each in contenders]
        time.sleep(2)  # what the first request set going has ended
        groups = {server.contender.name: _groups(server) for server in servers}
        woken: dict[tuple[str, str], list[int]] = {
            (name, part): [] for name, parts in groups.items() for part in parts
        }
        for _ in range(windows):
            before = {key: procfs.wake_ups_by_thread(groups[key[0]][key[1]]) for key in woken}
            time.sleep(seconds)
            for (name, part), counts in woken.items():
                now = procfs.wake_ups_by_thread(groups[name][part])
                counts.append(sum(number - before[name, part].get(task, 0) for task, number in now.items()))
    what = f"wake-ups in {seconds} idle seconds"
    figures: list[Figure] = [
        count(f"{what}, {name}, {part}", min(counts), goal=0, detail=f"windows: {counts}")
        for (name, part), counts in woken.items()
        if name in {each.name for each in OURS}
    ]
    figures += [
        missing(f"{what}, {each.name}", "", "not installed", goal=0) for each in OURS if not each.installed
    ]
    whole = {name: [float(sum(min(woken[name, part]) for part in parts))] for name, parts in groups.items()}
    return Findings(figures, [Rounds("wake-ups", what, "wake-ups", whole)])


def _groups(server: Running) -> dict[str, list[int]]:
    workers = server.workers
    others = [pid for pid in server.pids if pid not in workers]
    return {"supervisor": others, "worker": workers} if others else {"worker": workers}


if __name__ == "__main__":
    main(measure)
