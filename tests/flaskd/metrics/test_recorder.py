"""What a worker counts of its requests, as another process reads it."""

import gc
import os
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from flaskd.ledger.row import KINDS
from flaskd.metrics import recorder as recorder_module
from flaskd.metrics.buckets import BUCKETS, bucket_of
from flaskd.metrics.memory import (
    CELLS,
    ENTRIES,
    MOST_CELLS,
    NAMED,
    OTHER,
    PERIOD,
    PERIODS,
    SIZE,
    MetricsMemory,
)
from flaskd.metrics.recorder import CROWDED, Recorder

OK = KINDS.index("2xx")
ERROR = KINDS.index("5xx")


class Clock:
    """The monotonic clock of the recorder, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000 * PERIOD

    def __call__(self) -> float:
        return self.now

    @property
    def period(self) -> int:
        return int(self.now / PERIOD)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(recorder_module, "monotonic", clock)
    return clock


@pytest.fixture
def memory() -> Iterator[MetricsMemory]:
    memory = MetricsMemory.create()
    yield memory
    memory.close()


def test_a_request_is_counted_by_endpoint_kind_and_duration(memory: MetricsMemory) -> None:
    """With its time in the application and the size of its body."""
    recorder = Recorder(memory)
    recorder.record("cart", "/cart/<id>", OK, 0.25, 100, 0.0)
    recorder.record("cart", "/cart/<id>", ERROR, 0.5, 20, 0.0)
    recorder.record("", "", OK, 0.1, 3, 0.0)

    cart, unrouted = memory.endpoints()

    assert (cart.name, cart.rule, cart.nanoseconds, cart.bytes) == ("cart", "/cart/<id>", 750_000_000, 120)
    assert cart.counts == {OK * BUCKETS + bucket_of(0.25): 1, ERROR * BUCKETS + bucket_of(0.5): 1}
    assert (unrouted.name, sum(unrouted.counts.values())) == ("", 1)


def test_threads_lose_no_count(memory: MetricsMemory) -> None:
    """Also in the same cell."""
    recorder = Recorder(memory)

    def count() -> None:
        for _ in range(2_000):
            recorder.record("cart", "/cart", OK, 0.25, 1, 0.002)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (cart,) = memory.endpoints()
    assert (sum(cart.counts.values()), cart.bytes) == (16_000, 16_000)
    assert memory.header()["waits"] == sum(memory.waits().values()) == 16_000


def test_endpoints_beyond_the_bound_are_counted_together(memory: MetricsMemory) -> None:
    """The memory does not grow, and no request is lost."""
    recorder = Recorder(memory)
    for number in range(NAMED + 10):
        recorder.record(f"endpoint-{number}", "/", OK, 0.01, 1, 0.0)
    recorder.record("endpoint-0", "/", OK, 0.01, 1, 0.0)

    found = {endpoint.number: sum(endpoint.counts.values()) for endpoint in memory.endpoints()}

    assert (len(found), found[0], found[OTHER]) == (NAMED + 1, 2, 10)


def test_each_period_has_its_own_counts(memory: MetricsMemory, clock: Clock) -> None:
    """For an hour; then its place is taken by another."""
    recorder = Recorder(memory)
    first = clock.period
    for number in range(PERIODS + 1):
        recorder.record("cart", "/cart", OK, 0.01, 1, 0.0)
        if number == 1:
            recorder.record("cart", "/cart", OK, 0.01, 1, 0.0)
        clock.now += PERIOD

    found = dict(memory.periods(first, first + PERIODS))

    assert first not in found
    assert list(found) == list(range(first + 1, first + PERIODS + 1))
    assert [sum(counts.values()) for counts in found.values()] == [2] + [1] * (PERIODS - 1)


def test_a_period_without_requests_has_no_counts(memory: MetricsMemory, clock: Clock) -> None:
    """Nothing writes in it: no timer runs."""
    recorder = Recorder(memory)
    recorder.record("cart", "/cart", OK, 0.01, 1, 0.0)
    clock.now += 3 * PERIOD
    recorder.record("cart", "/cart", OK, 0.01, 1, 0.0)

    assert [period for period, _ in memory.periods(0, clock.period)] == [clock.period - 3, clock.period]


def test_a_crowded_period_loses_names_and_no_request(memory: MetricsMemory, clock: Clock) -> None:
    """Beyond its places, cells are counted without their endpoint, then in the last place."""
    recorder, counted = Recorder(memory), 0
    for number in range(NAMED):
        for duration in (0.001, 0.01, 0.1):
            for kind in range(len(KINDS)):
                recorder.record(f"endpoint-{number}", "/", kind, duration, 1, 0.0)
                counted += 1

    ((_, counts),) = memory.periods(clock.period, clock.period)

    assert sum(counts.values()) == counted
    assert CROWDED < len(counts) <= ENTRIES
    by_endpoint = Counter(dict.fromkeys(range(NAMED + 1), 0))
    for cell, count in counts.items():
        by_endpoint[cell // CELLS] += count
    assert by_endpoint[OTHER] == counted - CROWDED


def test_an_untouched_memory_takes_no_room(memory: MetricsMemory) -> None:
    """It has megabytes; only written pages count, and reading it writes none (proc(5), st_blocks)."""
    Recorder(memory).record("cart", "/cart", OK, 0.01, 1, 0.0)
    list(memory.endpoints())
    list(memory.periods(0, 1 << 40))
    memory.waits()

    assert os.fstat(memory.descriptor).st_blocks * 512 < SIZE / 50


def test_garbage_collections_are_counted(memory: MetricsMemory, clock: Clock) -> None:
    """By generation, once in a period; no function of ours runs in a collection, where it could swallow a cancellation."""
    before, recorder = list(gc.callbacks), Recorder(memory)
    for _ in range(2):
        recorder.record("cart", "/cart", OK, 0.01, 1, 0.0)
        clock.now += PERIOD
        counted = memory.header()["gc_2"]
        gc.collect()

    assert counted == gc.get_stats()[2]["collections"] - 1
    assert gc.callbacks == before


def test_the_longest_queue_since_the_last_look_is_kept(memory: MetricsMemory, clock: Clock) -> None:
    """The worker looks while requests wait, and once in a period."""
    lengths = [3]
    recorder = Recorder(memory)
    recorder.watch_queues([lambda: lengths[0]])
    recorder.record("cart", "/cart", OK, 0.01, 1, 0.0)
    for lengths[0] in (7, 2):
        clock.now += 1
        recorder.record("cart", "/cart", OK, 0.01, 1, 0.5)

    assert [memory.take_queues()[0] for _ in range(2)] == [7, 0]


def test_a_private_memory_forgets_the_longest_queue_too(clock: Clock) -> None:
    """A Server's is read like a worker's."""
    memory = MetricsMemory.private()
    recorder = Recorder(memory)
    recorder.watch_queues([lambda: 5])
    recorder.record("cart", "/cart", OK, 0.01, 1, 0.0)

    assert [memory.take_queues()[0] for _ in range(2)] == [5, 0]


def test_a_worker_that_writes_everywhere_is_read_up_to_a_bound(memory: MetricsMemory) -> None:
    """It would occupy the supervisor with a million cells."""
    os.pwrite(memory.descriptor, b"\1" * (SIZE - 24), 24)

    cells = sum(len(endpoint.counts) for endpoint in memory.endpoints())

    assert MOST_CELLS - CELLS < cells <= MOST_CELLS


@pytest.mark.parametrize("data", [b"", b"x" * SIZE, b"\xff" * SIZE])
def test_anything_else_is_refused_or_read_within_bounds(data: bytes) -> None:
    """A worker runs the application, which may write anything."""
    memory = MetricsMemory.create()
    try:
        if not data:
            with pytest.raises(ValueError, match="is no metrics table of this version"):
                MetricsMemory.attach(os.open(os.devnull, os.O_RDONLY))
            return
        os.pwrite(memory.descriptor, data, 0)
        with pytest.raises(ValueError, match="is no metrics table of this version"):
            MetricsMemory.attach(memory.descriptor)
        assert len(list(memory.endpoints())) <= NAMED + 1
        assert list(memory.periods(0, 1 << 62)) == []
        assert all(0 <= each < 1 << 53 for each in memory.header().values())
    finally:
        memory.close()
