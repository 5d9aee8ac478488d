"""All benchmarks, one after the other.

python -m benchmarks.all --quick     a smoke test of less than a minute
python -m benchmarks.all             about fifteen minutes
"""

from benchmarks import (
    cli_start,
    idle_wakeups,
    ledger_cost,
    lost_requests,
    memory,
    request_cpu,
    status_round_trip,
    stop_time,
)
from benchmarks.side_by_side import Figure, main


def measure(quick: bool) -> list[Figure]:
    """Run each benchmark and collect the figures."""
    benchmarks = (
        lost_requests,
        request_cpu,
        ledger_cost,
        status_round_trip,
        cli_start,
        stop_time,
        idle_wakeups,
        memory,
    )
    return [figure for benchmark in benchmarks for figure in benchmark.measure(quick)]


if __name__ == "__main__":
    main(measure)
