"""All benchmarks, one after the other.

python -m benchmarks.all --quick                       a smoke test of a few minutes
python -m benchmarks.all --write docs                  everything, about half an hour; draws in docs
python -m benchmarks.all --write docs --only memory    one of them anew, the others' findings stay
python -m benchmarks.all --draw docs                   draws tables and plots again from what was found
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Final

from benchmarks import (
    autoscale,
    cli_start,
    dev_reload,
    even_load,
    idle_wakeups,
    import_time,
    ledger_cost,
    lost_requests,
    memory,
    page,
    preload,
    profile_cost,
    reload_time,
    request_cpu,
    start_and_stop,
    status_round_trip,
    throughput,
)
from benchmarks.findings import Findings
from benchmarks.running import ROOT
from benchmarks.side_by_side import Measure, options_parser, tell

BENCHMARKS: Final[dict[str, Measure]] = {
    "lost_requests": lost_requests.measure,
    "request_cpu": request_cpu.measure,
    "throughput": throughput.measure,
    "even_load": even_load.measure,
    "ledger_cost": ledger_cost.measure,
    "status_round_trip": status_round_trip.measure,
    "cli_start": cli_start.measure,
    "start_and_stop": start_and_stop.measure,
    "import_time": import_time.measure,
    "profile_cost": profile_cost.measure,
    "reload_time": reload_time.measure,
    "dev_reload": dev_reload.measure,
    "idle_wakeups": idle_wakeups.measure,
    "memory": memory.measure,
    "preload": preload.measure,
    "autoscale": autoscale.measure,
}


def main() -> None:
    """Run what is asked for; with `--write`, note the findings of each benchmark as soon as it has ended."""
    parser = options_parser()
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--write", metavar="DOCS", help="note the findings there, and draw tables and plots")
    parser.add_argument("--draw", metavar="DOCS", help="measure nothing, draw tables and plots again")
    options = parser.parse_args()
    if options.draw:
        return page.draw(options.draw)
    with contextlib.ExitStack() as stack:
        docs = options.write or stack.enter_context(_copy_of_docs())
        together = Findings([], [])
        for name in options.only:
            found = BENCHMARKS[name](options.quick)
            page.note(docs, name, found, order=list(BENCHMARKS))
            together = Findings(together.figures + found.figures, together.rounds + found.rounds)
        page.draw(docs)
    tell(together, as_json=options.json, strict=options.strict)
    return None


@contextlib.contextmanager
def _copy_of_docs() -> Iterator[str]:
    """Make a directory to draw in that is thrown away, so that drawing is tried in any case."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        for name in page.PAGES:
            shutil.copy(os.path.join(ROOT, "docs", name), directory)
        yield directory


if __name__ == "__main__":
    main()
