"""The numbers of an instance: nothing is lost when a worker goes, and the last hour is known at any time."""

import itertools
import time
from collections.abc import Iterator

import pytest

from flaskd.ledger.row import KINDS
from flaskd.metrics import recorder as recorder_module
from flaskd.metrics.memory import NAMED, OTHER, PERIOD, MetricsMemory
from flaskd.metrics.recorder import Recorder
from flaskd.metrics.summary import Summary
from flaskd.metrics.totals import HOUR, LATE, Periods, Totals
from flaskd_ctl.errors import NotFound

OK = KINDS.index("2xx")
ERROR = KINDS.index("5xx")


class Hour:
    """Two workers, an instance that adds them up, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 5000 * PERIOD
        self.totals = Totals()
        self.totals.periods = Periods(self.totals.names, lambda: self.now)
        self.memories = {number: MetricsMemory.create() for number in (1, 2)}
        self.recorders = {number: Recorder(memory) for number, memory in self.memories.items()}

    def request(self, worker: int, endpoint: str = "cart", seconds: float = 0.01, kind: int = OK) -> None:
        self.recorders[worker].record(endpoint, f"/{endpoint}", kind, seconds, 10, 0.0)

    def leave(self, worker: int) -> None:
        memory = self.memories.pop(worker)
        self.totals.add_last(worker, memory)
        memory.close()

    def summary(self) -> Summary:
        return Summary.of(self.totals, self.memories)


@pytest.fixture
def hour(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hour]:
    hour = Hour()
    monkeypatch.setattr(recorder_module, "monotonic", lambda: hour.now)
    yield hour
    for memory in hour.memories.values():
        memory.close()


def test_what_is_older_than_an_hour_is_forgotten_whoever_asks(hour: Hour) -> None:
    """Also where only `/metrics` is read, which shows no last hour."""
    for _ in range(HOUR + 50):
        hour.request(1)
        hour.now += PERIOD
        hour.totals.sums(hour.memories)
    assert len(hour.totals.periods._complete) <= HOUR


def test_workers_are_added_up_by_the_name_of_the_endpoint(hour: Hour) -> None:
    """An endpoint has another number in each worker."""
    for endpoint in ("cart", "buy"):
        hour.request(1, endpoint)
    for endpoint in ("buy", "cart", "cart"):
        hour.request(2, endpoint)

    summary = hour.summary()

    assert summary.total().served["2xx"] == 5
    assert summary.endpoint("cart").served["2xx"] == 3
    assert summary.endpoint("cart").minute.requests == 3
    assert summary.endpoint("cart").bytes == 30


def test_what_a_worker_counted_is_there_after_its_end(hour: Hour) -> None:
    """Since the start, and in each window; no request counts twice or not at all, whenever one asks."""
    for period in range(40):
        hour.request(1)
        hour.request(2, kind=ERROR)
        if period == 20:
            hour.leave(1)
            hour.memories[1] = MetricsMemory.create()
            hour.recorders[1] = Recorder(hour.memories[1])
        total = hour.summary().total()
        assert total.start.requests == total.hour.requests == 2 * (period + 1)
        assert total.start.errors == period + 1
        hour.now += PERIOD

    hour.leave(1)
    hour.leave(2)
    total = hour.summary().total()
    assert (total.start.requests, total.hour.requests) == (80, 80)
    assert total.five_minutes.requests == 2 * 30
    assert total.minute.requests == 2 * 6


def test_an_hour_later_the_windows_are_empty(hour: Hour) -> None:
    """And nothing is kept of it but the sums."""
    hour.request(1)
    assert hour.summary().total().hour.requests == 1
    hour.now += (HOUR + LATE) * PERIOD

    total = hour.summary().total()

    assert (total.start.requests, total.hour.requests, total.hour.p95) == (1, 0, None)


def test_the_history_says_since_when_an_endpoint_is_slow(hour: Hour) -> None:
    """In steps of five minutes, of one endpoint."""
    for period in range(90):
        hour.request(1, "cart", seconds=2.0 if period >= 60 else 0.01)
        hour.request(2, "buy", seconds=5.0)
        hour.now += PERIOD
    hour.now -= PERIOD

    history = hour.summary().history("cart")

    p95 = [moment.latency.p95 for moment in history]
    assert [moment.latency.requests for moment in history] == [30, 30, 30]
    assert p95[:2] == [pytest.approx(0.01, rel=0.0501)] * 2
    assert p95[2] == pytest.approx(2.0, rel=0.0501)
    assert [round(later.at - before.at) for before, later in itertools.pairwise(history)] == [
        300,
        300,
    ]


def test_the_history_in_steps_of_a_minute_begins_where_periods_do(hour: Hour) -> None:
    """The same request is in the step of the same time, whenever one asks; the last step is as long as has passed of it."""
    for period in range(13):
        hour.request(1, "cart")
        if period < 6:
            hour.recorders[2].record("cart", "/cart", OK, 0.01, 10, 2.0)  # it waited for 2 s
        hour.now += PERIOD
    hour.now += 4 - PERIOD

    moments = hour.summary().history(step=60)

    assert [moment.latency.requests for moment in moments] == [2, 11, 6]
    assert [moment.seconds for moment in moments] == [60.0, 60.0, 54.0]
    assert [round(later.at - before.at, 1) for before, later in itertools.pairwise(moments)] == [60, 60]
    assert round(time.time() - moments[-1].at) == 54
    queues = [moment.queue for moment in moments]
    assert [queue and queue.p99 for queue in queues] == [pytest.approx(2.0, rel=0.0501)] * 2 + [0.0]


def test_a_step_without_requests_is_left_out(hour: Hour) -> None:
    hour.request(1)
    hour.now += 4 * PERIOD
    hour.request(1)

    moments = hour.summary().history(step=10)

    assert [moment.latency.requests for moment in moments] == [1, 1]
    assert round(moments[1].at - moments[0].at, 1) == 40


def test_percentiles_of_the_queue_are_those_of_all_requests(hour: Hour) -> None:
    """Those that found a free thread waited for no time."""
    for _ in range(98):
        hour.request(1)
    for _ in range(2):
        hour.recorders[1].record("cart", "/cart", OK, 0.01, 1, 4.0)

    queue = hour.summary().queue()

    assert (queue.waited, queue.seconds) == (2, 8.0)
    assert (queue.minute.requests, queue.minute.p50, queue.minute.p95) == (100, 0.0, 0.0)
    assert queue.minute.p99 == pytest.approx(4.0, rel=0.0501)


def test_rejected_requests_are_numbers_of_the_queue_alone(hour: Hour) -> None:
    """With the time that they waited; the latencies of the application are not theirs, whether a worker is there or gone."""
    for _ in range(90):
        hour.request(1)
    for worker in (1, 2):
        for _ in range(5):
            hour.recorders[worker].reject(2.0)
    hour.leave(2)

    summary = hour.summary()
    queue, total = summary.queue(), summary.total()

    assert (queue.rejected, queue.waited, queue.seconds) == (10, 10, 20.0)
    assert (queue.minute.requests, queue.minute.errors, queue.minute.p50) == (100, 10, 0.0)
    assert queue.minute.p95 == pytest.approx(2.0, rel=0.0501)
    assert (total.minute.requests, total.minute.errors, total.served["5xx"]) == (90, 0, 0)
    assert hour.totals.rejected(hour.memories.values()) == 10
    hour.now += 7 * PERIOD
    later = hour.summary().queue()
    assert (later.minute.errors, later.five_minutes.errors, later.start.errors) == (0, 10, 10)


def test_all_workers_together_name_no_more_endpoints_than_one(hour: Hour) -> None:
    """Names that come and go with releases do not grow the supervisor."""
    for number in range(NAMED):
        hour.request(1, f"old-{number}")
        hour.request(2, f"new-{number}")

    summary = hour.summary()

    assert summary.count() == NAMED + 1
    assert summary.total().start.requests == 2 * NAMED
    others = [each for each in summary.endpoints(OTHER + 1) if each.endpoint is None]
    assert [each.start.requests for each in others] == [NAMED]


def test_an_endpoint_is_found_by_the_name_that_text_shows(hour: Hour) -> None:
    """Requests without a route, and those of endpoints beyond the named ones, have none of their own."""
    hour.request(1, "")
    for number in range(NAMED):
        hour.request(1, f"name-{number}")

    summary = hour.summary()

    for shown, name in (("(no route)", ""), ("(others)", None), ("name-3", "name-3")):
        assert (summary.endpoint(shown).endpoint, summary.endpoint(shown).start.requests) == (name, 1)
        assert summary.history(shown)


def test_an_endpoint_without_requests_is_not_found(hour: Hour) -> None:
    """Rather than shown with zeros: it may be misspelt."""
    with pytest.raises(NotFound, match="no request of the endpoint 'crat' has finished yet"):
        hour.summary().endpoint("crat")
    with pytest.raises(NotFound):
        hour.summary().history("crat")
    for shown in ("(no route)", "(others)"):
        with pytest.raises(NotFound):
            hour.summary().endpoint(shown)
