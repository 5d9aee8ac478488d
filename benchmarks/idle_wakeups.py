"""Wake-ups of an idle server: voluntary context switches of all its threads while nobody asks it anything."""

import contextlib
import time

from benchmarks import procfs
from benchmarks.contenders import FLASKD, PEERS, serving
from benchmarks.side_by_side import Figure, main

APP = "benchmarks.hello:app"


def measure(quick: bool) -> list[Figure]:
    """Let all of them stand idle through the same seconds."""
    seconds = 3 if quick else 20
    contenders = [each for each in (FLASKD, *PEERS) if each.installed and (not quick or each is FLASKD)]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(each, APP)) for each in contenders]
        time.sleep(2)  # what the first request set going has ended
        pids = {server.contender.name: server.pids for server in servers}
        before = {name: procfs.wake_ups(each) for name, each in pids.items()}
        time.sleep(seconds)
        woken = {name: procfs.wake_ups(each) - before[name] for name, each in pids.items()}
    return [
        Figure(
            f"wake-ups while idle for {seconds} s",
            name,
            count,
            0 if name == FLASKD.name else None,
            f"{count / seconds:.1f} a second, {len(pids[name])} processes",
            exact=name == FLASKD.name,
        )
        for name, count in woken.items()
    ]


if __name__ == "__main__":
    main(measure)
