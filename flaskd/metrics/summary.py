"""Summarizes numbers: percentiles since the start, and of the last minute, five minutes and hour."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from flaskd.ledger.row import KINDS
from flaskd.metrics.buckets import BUCKETS, MIDDLES, percentiles
from flaskd.metrics.memory import CELLS, OTHER, PERIOD, REJECTED, WAITS, MetricsMemory
from flaskd.metrics.totals import HOUR, Series, Sums, Totals
from flaskd_ctl.errors import NotFound
from flaskd_ctl.protocol import Collections, EndpointStats, Latency, Moment, QueueStats

WINDOWS: Final = {"minute": 6, "five_minutes": 30, "hour": HOUR}
"""Periods of ten seconds."""

SERVER_ERRORS: Final = {KINDS.index("5xx"), KINDS.index("aborted")}
FRACTIONS: Final = (0.5, 0.95, 0.99)

NO_ROUTE: Final = "(no route)"
OTHERS: Final = "(others)"
"""What stands for requests without an endpoint, and for those of endpoints that are not counted by name."""

Counts = Mapping[int, int]
"""Requests by kind and bucket: `kind * BUCKETS + bucket`."""


class Window(NamedTuple):
    """What was counted in some time: requests by endpoint, those that waited, by bucket, and how many were rejected."""

    endpoints: Mapping[int, Counts]
    waits: Mapping[int, int]
    rejected: int

    def total(self) -> Counter[int]:
        """Return the requests of all endpoints."""
        return total(self.endpoints.values())


class Summary:
    """The numbers of an instance, or of one of its workers, at one moment."""

    def __init__(
        self, sums: Sums, periods: Mapping[int, Counts], windows: Mapping[str, Counts], *, elapsed: float
    ) -> None:
        self._sums = sums
        self._periods = periods
        self._elapsed = elapsed  # seconds of the period under way
        counted = {number: each.counts for number, each in sums.series.items()}
        start = Window(counted, sums.waits, sums.header["rejected"])
        self._windows = {"start": start, **{name: _window(counts) for name, counts in windows.items()}}

    @classmethod
    def of(cls, totals: Totals, memories: Mapping[int, MetricsMemory]) -> "Summary":
        """Summarize an instance with the workers that have `memories`, and those that are gone."""
        sums, periods, living = totals.sums(memories), totals.periods, list(memories.values())
        windows = {name: periods.last(count, living) for name, count in WINDOWS.items()}
        return cls(sums, periods.each(living), windows, elapsed=periods.elapsed())

    @classmethod
    def of_worker(cls, memory: MetricsMemory) -> "Summary":
        """Summarize one worker."""
        return cls.of(Totals(), {0: memory})

    def count(self) -> int:
        """Count the endpoints."""
        return len(self._sums.series)

    def total(self) -> EndpointStats:
        """Summarize all endpoints together."""
        series = self._sums.series.values()
        latencies: dict[str, Any] = {name: latency(window.total()) for name, window in self._windows.items()}
        return EndpointStats(
            endpoint=None,
            served=served(self._windows["start"].total()),
            seconds=round(sum(each.nanoseconds for each in series) / 1e9, 6),
            bytes=sum(each.bytes for each in series),
            **latencies,
        )

    def endpoints(self, limit: int) -> list[EndpointStats]:
        """Summarize the endpoints whose requests took most time in all."""
        busiest = sorted(self._sums.series.items(), key=lambda item: -item[1].nanoseconds)
        return [self._endpoint(number, series) for number, series in busiest[:limit]]

    def endpoint(self, name: str) -> EndpointStats:
        """Summarize one endpoint, by its name or as text shows it; raises NotFound if it has had no request."""
        number = self._number(name)
        return self._endpoint(number, self._sums.series[number])

    def history(self, name: str | None = None, *, step: float = 300.0) -> list[Moment]:
        """Summarize each `step` seconds of the last hour, of one endpoint or of all; raises NotFound."""
        only = None if name is None else self._number(name)
        width = max(1, int(step / PERIOD))
        steps: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for period, counts in self._periods.items():
            steps[-(-period // width)].update(counts)
        under_way = time.time() - self._elapsed
        moments = []
        for number, counts in sorted(steps.items()):
            window = _window(counts)
            counted = window.total() if only is None else window.endpoints.get(only, {})
            moments.append(
                Moment(
                    at=round(under_way + ((number - 1) * width + 1) * PERIOD, 3),
                    latency=latency(counted),
                    queue=_waiting(window),
                    seconds=round(width * PERIOD - (0.0 if number else PERIOD - self._elapsed), 3),
                )
            )
        return moments

    def queue(self) -> QueueStats:
        """Summarize the time before the application."""
        header = self._sums.header
        latencies = {name: _waiting(window) for name, window in self._windows.items()}
        return QueueStats(
            waiting=header["waiting"],
            waited=header["waits"],
            seconds=round(header["wait_ns"] / 1e9, 6),
            rejected=header["rejected"],
            **latencies,
        )

    def _number(self, name: str) -> int:
        number = self._sums.names.known(name)
        if number is None:
            number = OTHER if name == OTHERS else self._sums.names.known("") if name == NO_ROUTE else None
        if number is None or number not in self._sums.series:
            raise NotFound(
                f"no request of the endpoint {name!r} has finished yet", hint="see `flaskd_ctl stats`"
            )
        return number

    def _endpoint(self, number: int, series: Series) -> EndpointStats:
        return EndpointStats(
            endpoint=None if number == OTHER else series.name,
            rule=series.rule,
            served=served(series.counts),
            seconds=round(series.nanoseconds / 1e9, 6),
            bytes=series.bytes,
            **{name: latency(window.endpoints.get(number, {})) for name, window in self._windows.items()},
        )


def collections(sums: Sums) -> list[Collections]:
    """Count garbage collections."""
    return [Collections(generation=each, count=sums.header[f"gc_{each}"]) for each in range(3)]


def last_minute(memory: MetricsMemory) -> Latency:
    """Summarize what one worker has finished in the last minute."""
    now = int(time.monotonic() / PERIOD)
    counts: Counter[int] = Counter()
    for _, counted in memory.periods(now - WINDOWS["minute"], now):
        for cell, count in counted.items():
            if cell < WAITS:
                counts[cell % CELLS] += count
    return latency(counts)


def served(counts: Counts) -> dict[str, int]:
    """Count requests by status class."""
    found = dict.fromkeys(KINDS, 0)
    for cell, count in counts.items():
        found[KINDS[cell // BUCKETS]] += count
    return found


def latency(counts: Counts) -> Latency:
    """Summarize requests."""
    buckets: Counter[int] = Counter()
    for cell, count in counts.items():
        buckets[cell % BUCKETS] += count
    p50, p95, p99 = map(_rounded, percentiles(buckets, FRACTIONS))
    errors = sum(count for cell, count in counts.items() if cell // BUCKETS in SERVER_ERRORS)
    return Latency(requests=buckets.total(), errors=errors, p50=p50, p95=p95, p99=p99)


def _waiting(window: Window) -> Latency:
    """Summarize the time in the queue; the requests that are not among the `waits` waited for no time."""
    requests = window.total().total() + window.rejected
    shares = Counter(window.waits) + Counter({0: max(0, requests - sum(window.waits.values()))})
    p50, p95, p99 = (
        None if each is None else 0.0 if each <= MIDDLES[0] else each
        for each in percentiles(shares, FRACTIONS)
    )
    return Latency(requests=requests, errors=window.rejected, p50=p50, p95=p95, p99=p99)


def _window(counts: Counts) -> Window:
    endpoints: defaultdict[int, dict[int, int]] = defaultdict(dict)
    waits: dict[int, int] = {}
    for cell, count in counts.items():
        number, rest = divmod(cell, CELLS)
        if WAITS <= cell < REJECTED:
            waits[cell - WAITS] = count
        elif cell < WAITS and count > 0:
            endpoints[number][rest] = count
    return Window(endpoints, waits, counts.get(REJECTED, 0))


def total(each: Iterable[Counts]) -> Counter[int]:
    """Add requests up."""
    found: Counter[int] = Counter()
    for counts in each:
        found.update(counts)
    return found


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 7)
