"""The numbers for Prometheus and others that read OpenMetrics (https://prometheus.io/docs/specs/om/open_metrics_spec/).

`prometheus_client` writes the text; it is an extra, and imported when first asked for. Values come from shared memory at the
time of the scrape, so no counter goes back when a worker is replaced.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from flaskd.metrics.buckets import BUCKETS, cumulative
from flaskd.metrics.memory import OTHER
from flaskd.metrics.report import Served
from flaskd.metrics.summary import NO_ROUTE, OTHERS, served
from flaskd.metrics.totals import Series, Sums
from flaskd_ctl.errors import WrongState

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the exposed histograms, in seconds; each is a bound of ours, so the counts are exact."""

ENDPOINTS: Final = 100
"""Endpoints with a label of their own: the first ones that had a request. The others are counted together."""

PLAIN: Final = "text/plain"
OPENMETRICS: Final = "application/openmetrics-text;version=1.0.0"
"""Formats, as a reader accepts them."""


class State(NamedTuple):
    """What is exposed of the instance's state; `workers` counts them by theirs.

    `bounds` are the least and the largest number of workers, None where one process serves; `scalings` counts the changes of
    the number by itself, by cause.
    """

    name: str
    state: str
    states: Sequence[str]
    ready: bool
    saturated: bool
    wanted: int
    workers: Mapping[str, int]
    versions: Mapping[str, str]
    bounds: tuple[int, int] | None = None
    scalings: Mapping[str, int] = {}


class Exposed(NamedTuple):
    """Everything that is exposed, as it was at one moment."""

    sums: Sums
    served: Served
    state: State
    queues: Sequence[tuple[str, int]]
    """Each listener's URL and the length of its accept queue."""


class Page(NamedTuple):
    """A written page, and its media type."""

    media_type: str
    content: bytes


def write(exposed: Exposed, accept: str) -> Page:
    """Write the page in the format that the reader accepts (the value of its Accept header).

    It takes some milliseconds, more for many endpoints. Raises WrongState if `prometheus_client` is not installed.
    """
    try:
        from prometheus_client import core
        from prometheus_client.exposition import choose_encoder
    except ImportError:
        raise WrongState(
            "prometheus_client is not installed where flaskd is", hint="pip install 'flaskd[metrics]'"
        ) from None
    encode, media_type = choose_encoder(accept)
    return Page(media_type, encode(_Collector(core, exposed)))


class _Collector:
    """What `prometheus_client` collects from."""

    def __init__(self, core: Any, exposed: Exposed) -> None:
        self._core = core
        self._exposed = exposed

    def collect(self) -> Iterator[Any]:
        """Return each family of metrics."""
        yield from self._requests()
        yield from self._queue()
        yield from self._processes()
        yield from self._instance()

    def _requests(self) -> Iterator[Any]:
        requests = self._core.CounterMetricFamily(
            "flaskd_requests", "Finished requests.", labels=["endpoint", "status"]
        )
        bytes_sent = self._core.CounterMetricFamily(
            "flaskd_response_body_bytes", "Bytes of response bodies.", labels=["endpoint"], unit="bytes"
        )
        duration = self._core.HistogramMetricFamily(
            "flaskd_request_duration_seconds",
            "Time from the call of the application to the end of the response body.",
            labels=["endpoint"],
            unit="seconds",
        )
        for endpoint, series in _named(self._exposed.sums).items():
            for kind, count in served(series.counts).items():
                requests.add_metric([endpoint, kind], count)
            bytes_sent.add_metric([endpoint], series.bytes)
            buckets: Counter[int] = Counter()
            for cell, count in series.counts.items():
                buckets[cell % BUCKETS] += count
            duration.add_metric([endpoint], _cumulative(buckets), series.nanoseconds / 1e9)
        yield from (requests, bytes_sent, duration)
        in_flight = sum(each.in_flight for each in self._exposed.served.processes.values())
        yield self._gauge("flaskd_requests_in_flight", "Requests in the application.", in_flight)
        yield self._gauge(
            "flaskd_threads",
            "Requests that all workers together can have in the application.",
            self._exposed.served.threads,
        )

    def _queue(self) -> Iterator[Any]:
        sums = self._exposed.sums
        yield self._gauge(
            "flaskd_requests_waiting", "Requests that wait for a free thread.", sums.header["waiting"]
        )
        requests = sum(series.counts.total() for series in sums.series.values())
        waits = Counter(sums.waits)
        waits[0] += max(0, requests + sums.header["rejected"] - sums.waits.total())
        family = self._core.HistogramMetricFamily(
            "flaskd_queue_duration_seconds",
            "Time that requests waited before the application.",
            unit="seconds",
        )
        family.add_metric([], _cumulative(waits), sums.header["wait_ns"] / 1e9)
        yield family
        yield self._counter(
            "flaskd_requests_rejected",
            "Requests answered 503 because they had waited too long.",
            sums.header["rejected"],
        )
        queues = self._core.GaugeMetricFamily(
            "flaskd_accept_queue_connections",
            "Connections that no worker has accepted yet.",
            labels=["listener"],
        )
        for url, length in self._exposed.queues:
            queues.add_metric([url], length)
        yield queues

    def _processes(self) -> Iterator[Any]:
        served_by, header = self._exposed.served, self._exposed.sums.header
        processes = served_by.processes.values()
        cpu = served_by.cpu_gone + sum(each.cpu or 0.0 for each in processes)
        yield self._counter("flaskd_cpu_seconds", "CPU time of all workers.", cpu, unit="seconds")
        memory = self._core.GaugeMetricFamily(
            "flaskd_memory_bytes",
            "Memory of all workers, and of the template.",
            labels=["kind"],
            unit="bytes",
        )
        for kind in ("rss", "pss"):
            everybody = (*processes, *served_by.templates)
            memory.add_metric([kind], sum(getattr(each, kind) or 0 for each in everybody))
        yield memory
        largest = max((each.rss or 0 for each in processes), default=0)
        yield self._gauge(
            "flaskd_largest_worker_memory_bytes", "RSS of the largest worker.", largest, unit="bytes"
        )
        counts = self._core.CounterMetricFamily(
            "flaskd_gc_collections", "Garbage collections.", labels=["generation"]
        )
        for generation in range(3):
            counts.add_metric([str(generation)], header[f"gc_{generation}"])
        yield counts

    def _instance(self) -> Iterator[Any]:
        state, served_by = self._exposed.state, self._exposed.served
        yield self._gauge(
            "flaskd_start_time_seconds", "Unix time of the start.", served_by.since, unit="seconds"
        )
        yield self._gauge(
            "flaskd_ready", "1 if the instance is in rotation and a worker serves.", int(state.ready)
        )
        yield self._gauge(
            "flaskd_saturated",
            "1 while many requests are rejected because they waited too long.",
            int(state.saturated),
        )
        yield self._core.StateSetMetricFamily(
            "flaskd_state",
            "State of the instance.",
            {each: each == state.state for each in state.states},
        )
        yield self._gauge("flaskd_workers_wanted", "Wanted workers.", state.wanted)
        if state.bounds is not None:
            minimum, maximum = state.bounds
            yield self._gauge("flaskd_workers_minimum", "Least number of workers.", minimum)
            yield self._gauge("flaskd_workers_maximum", "Largest number of workers.", maximum)
            changes = self._core.CounterMetricFamily(
                "flaskd_scalings", "Changes of the number of wanted workers by itself.", labels=["reason"]
            )
            for reason, count in state.scalings.items():
                changes.add_metric([reason], count)
            yield changes
        workers = self._core.GaugeMetricFamily("flaskd_workers", "Workers by state.", labels=["state"])
        for each, count in state.workers.items():
            workers.add_metric([each], count)
        yield workers
        for name, what, counts in (
            ("flaskd_worker_starts", "Workers started", served_by.starts),
            ("flaskd_worker_ends", "Workers ended", served_by.ends),
        ):
            family = self._core.CounterMetricFamily(name, f"{what}, by reason.", labels=["reason"])
            for reason, count in counts.items():
                family.add_metric([reason], count)
            yield family
        yield self._core.InfoMetricFamily(
            "flaskd", "Name of the instance, and versions.", {"name": state.name, **state.versions}
        )

    def _gauge(self, name: str, text: str, value: float, *, unit: str = "") -> Any:
        return self._core.GaugeMetricFamily(name, text, value=value, unit=unit)

    def _counter(self, name: str, text: str, value: float, *, unit: str = "") -> Any:
        return self._core.CounterMetricFamily(name, text, value=value, unit=unit)


def _named(sums: Sums) -> dict[str, Series]:
    """Return the endpoints by their labels; the order in which they came does not change, so no series goes back."""
    found: dict[str, Series] = {}
    for number, series in sorted(sums.series.items()):
        if number >= ENDPOINTS or number == OTHER:
            others = found.setdefault(OTHERS, Series("", ""))
            others.counts.update(series.counts)
            others.nanoseconds += series.nanoseconds
            others.bytes += series.bytes
        else:
            found[series.name or NO_ROUTE] = series
    return found


def _cumulative(buckets: Counter[int]) -> list[tuple[str, float]]:
    counts = zip(map(str, BOUNDS), cumulative(buckets, BOUNDS), strict=True)
    return [*counts, ("+Inf", buckets.total())]
