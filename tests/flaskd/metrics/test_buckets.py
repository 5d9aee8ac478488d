"""The histogram's buckets: what it says of a duration is at most 5 % off, and exact at the bounds that people use."""

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from flaskd.metrics.buckets import BOUNDS, BUCKETS, MIDDLES, bucket_of, cumulative, percentiles

DURATIONS = st.floats(min_value=BOUNDS[0], max_value=BOUNDS[-1], exclude_max=True)


@given(DURATIONS)
def test_a_bucket_stands_for_what_it_holds_within_five_percent(seconds: float) -> None:
    """From 10 µs to 1,000 s."""
    assert MIDDLES[bucket_of(seconds)] == pytest.approx(seconds, rel=0.05 + 1e-9)


@given(st.lists(DURATIONS, min_size=1), st.floats(min_value=0.001, max_value=1.0))
def test_a_percentile_is_the_nearest_rank_within_five_percent(
    durations: list[float], fraction: float
) -> None:
    """Of any durations, whatever their number."""
    counts = Counter(map(bucket_of, durations))
    exact = next(
        duration
        for rank, duration in enumerate(sorted(durations), 1)
        if rank >= fraction * len(durations) - 1e-9
    )

    (found,) = percentiles(counts, [fraction])

    assert found == pytest.approx(exact, rel=0.05 + 1e-9)


def test_no_requests_have_no_percentiles() -> None:
    """0 s would say that they were quick."""
    assert percentiles({}, [0.5, 0.99]) == [None, None]


def test_what_is_out_of_range_is_in_the_first_or_last_bucket() -> None:
    """A request of nothing, and one of hours."""
    assert (bucket_of(0.0), bucket_of(86_400.0)) == (0, BUCKETS - 1)
    assert MIDDLES[-1] == BOUNDS[-1] == 1000.0


@given(st.lists(DURATIONS))
def test_counts_below_the_bounds_of_dashboards_are_exact(durations: list[float]) -> None:
    """A bound of a Prometheus histogram is a bound here."""
    bounds = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

    found = cumulative(Counter(map(bucket_of, durations)), bounds)

    assert found == [sum(duration < bound for duration in durations) for bound in bounds]
