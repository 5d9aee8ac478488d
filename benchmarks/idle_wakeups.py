"""Wake-ups of an idle server: voluntary context switches of all its threads while nobody asks it anything.

Counted in several windows, the quietest counts: a timer wakes a server in each of them, a page that has to be
read from disk (a voluntary switch, too) does not.
"""

import contextlib
import time

from benchmarks import procfs
from benchmarks.contenders import OURS, PEERS, serving
from benchmarks.side_by_side import Figure, main

APP = "benchmarks.hello:app"


def measure(quick: bool) -> list[Figure]:
    """Let all of them stand idle through the same seconds."""
    seconds, windows = (2, 3) if quick else (20, 2)
    contenders = [each for each in (OURS if quick else (*OURS, *PEERS)) if each.installed]
    woken: dict[str, list[int]] = {each.name: [] for each in contenders}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(each, APP)) for each in contenders]
        time.sleep(2)  # what the first request set going has ended
        pids = {server.contender.name: server.pids for server in servers}
        for _ in range(windows):
            before = {name: procfs.wake_ups(each) for name, each in pids.items()}
            time.sleep(seconds)
            for name, each in pids.items():
                woken[name].append(procfs.wake_ups(each) - before[name])
    ours = {each.name for each in OURS}
    return [
        Figure(
            f"wake-ups while idle for {seconds} s",
            name,
            min(counts),
            0 if name in ours else None,
            f"{min(counts) / seconds:.1f} a second, {len(pids[name])} processes, windows: {counts}",
            exact=name in ours,
        )
        for name, counts in woken.items()
    ]


if __name__ == "__main__":
    main(measure)
