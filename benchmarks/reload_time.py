"""Reloading an idle server with two workers: from the command to the old workers being gone and a new one answering.

Two, since uvicorn reloads only then. granian sleeps 3.5 s for each worker (its --respawn-interval). flaskd's time has
one start of `flaskd_ctl` in it.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Final

from benchmarks.contenders import ALL, FLASKD_GRANIAN, OURS
from benchmarks.findings import Findings, Rounds
from benchmarks.running import Running, serving
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import command_seconds

APP: Final = "benchmarks.hello:app"
WORKERS: Final = 2


def measure(quick: bool) -> Findings:
    """Reload each in turns."""
    contenders = [each for each in ((FLASKD_GRANIAN,) if quick else ALL) if each.installed and each.reload]
    with contextlib.ExitStack() as stack:
        work = {
            each.name: _reload(stack.enter_context(serving(each, APP, workers=WORKERS)))
            for each in contenders
        }
        taken = interleave(work, 1 if quick else 8)
    return Findings([], [Rounds("reload", "idle reload of two workers", "s", taken)])


def _reload(running: Running) -> Callable[[], float]:
    # One worker answers before the other has started; flaskd refuses a reload until then.
    if running.contender in OURS:
        command_seconds([*running.ctl, "wait", "--for", "ready"])

    def once() -> float:
        begun = time.perf_counter()
        running.reload()
        return time.perf_counter() - begun

    return once


if __name__ == "__main__":
    main(measure)
