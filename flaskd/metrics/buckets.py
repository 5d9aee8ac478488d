"""The buckets of a latency histogram: log-linear, so that a bucket's middle is at most 5 % away from what it holds.

Each decade is divided at 1.0, 1.1, … 2.5, 2.75, … 5, 5.5, … 10. The bounds that people put into dashboards (0.1, 0.25, 0.5) are
bounds here too, so cumulative counts at those are exact.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final

SMALLEST: Final = -5
"""The first bound is 10 to this power: 10 µs. Below it the error is absolute."""
DECADES: Final = 8
"""From 10 µs to 1,000 s; longer requests are in the last bucket."""

_STEPS: Final = (*range(100, 250, 10), *range(250, 500, 25), *range(500, 1000, 50))

BOUNDS: Final[tuple[float, ...]] = (
    *(float(f"{step}e{decade - 2}") for decade in range(SMALLEST, SMALLEST + DECADES) for step in _STEPS),
    float(f"1e{SMALLEST + DECADES}"),
)
"""The upper bound of each bucket but the last, in seconds, ascending. A bucket includes its lower bound."""

BUCKETS: Final = len(BOUNDS) + 1

MIDDLES: Final[tuple[float, ...]] = (
    BOUNDS[0] / 2,
    *((low + high) / 2 for low, high in pairwise(BOUNDS)),
    BOUNDS[-1],
)
"""What a bucket stands for: its middle; of the last one its lower bound."""


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket that holds a duration."""
    return bisect_right(BOUNDS, seconds)


def percentiles(counts: Mapping[int, int], fractions: Iterable[float]) -> list[float | None]:
    """Return the percentiles (nearest rank) of a histogram: `counts` by bucket. None for each if it is empty."""
    buckets = sorted(bucket for bucket, count in counts.items() if count > 0)
    sums = list(accumulate(counts[bucket] for bucket in buckets))
    if not sums:
        return [None for _ in fractions]
    ranks = (max(1, _ceiling(fraction * sums[-1])) for fraction in fractions)
    return [MIDDLES[buckets[_first_at_least(sums, rank)]] for rank in ranks]


def cumulative(counts: Mapping[int, int], bounds: Sequence[float]) -> list[int]:
    """Count what is below each of `bounds`; exact where it is one of BOUNDS."""
    return [
        sum(count for bucket, count in counts.items() if bucket < limit)
        for limit in (bisect_right(BOUNDS, bound) for bound in bounds)
    ]


def _ceiling(number: float) -> int:
    whole = int(number)
    return whole if number - whole < 1e-9 else whole + 1


def _first_at_least(sums: Sequence[int], rank: int) -> int:
    return bisect_right(sums, rank - 1)
