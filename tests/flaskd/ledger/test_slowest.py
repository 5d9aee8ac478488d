"""The slowest requests of the last hour: a few of each ten minutes, kept whatever becomes of the process."""

import contextlib
import mmap
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from flaskd.ledger import middleware
from flaskd.ledger.middleware import Ledger
from flaskd.ledger.slowest import _ENTRY_SIZE, KEPT, SLICE, SLICES, SPAN, Slowest, SlowTable
from flaskd_ctl.protocol import InFlight, SlowResult

NOW = 10 * SLICE


@pytest.fixture
def table() -> Iterator[SlowTable]:
    with contextlib.closing(SlowTable.create()) as made:
        yield made


def record(table: SlowTable, seconds: float, now: float = NOW, number: int = 1) -> None:
    """Let a request end, as the ledger does."""
    if seconds > table.least or now >= table.until:
        request = InFlight(number, "GET", "/r", 0.0, "", "", "report", "/r", f"id-{number}")
        table.record(request, 200, seconds=seconds, now=now)


def times(*tables: SlowTable, now: float = NOW, limit: int = 100, gone: Slowest | None = None) -> list[float]:
    found = (gone or Slowest()).listed(dict(enumerate(tables, 1)), limit, now)
    return [request.seconds for request in found]


def test_the_slowest_come_first(table: SlowTable) -> None:
    """With what is known of them."""
    for number, seconds in enumerate((0.5, 3.0, 1.0), 1):
        record(table, seconds, number=number)

    (first, *_) = Slowest().listed({4: table}, 2, NOW)

    assert times(table) == [3.0, 1.0, 0.5]
    assert times(table, limit=2) == [3.0, 1.0]
    assert (first.id, first.method, first.path, first.endpoint) == (2, "GET", "/r", "report")
    assert (first.status, first.request_id, first.worker) == (200, "id-2", 4)


@given(
    st.lists(st.tuples(st.floats(0.001, 100), st.floats(0, SLICE / 10)), max_size=300), st.integers(1, 100)
)
@settings(deadline=None, max_examples=50)
def test_they_are_the_slowest_of_all(requests: list[tuple[float, float]], limit: int) -> None:
    """Whatever the order: none that is slower than one that is shown is missing, up to KEPT in ten minutes."""
    table, now, ended = SlowTable.private(), NOW, []
    for seconds, pause in requests:
        now += pause
        record(table, round(seconds, 3), now)
        ended.append((now, round(seconds, 3)))
    expected: list[float] = []
    for number in {int(at // SLICE) for at, _ in ended}:
        own = sorted(
            (seconds for at, seconds in ended if at // SLICE == number and at >= now - SPAN), reverse=True
        )
        if int((now - SPAN) // SLICE) != number:  # of the slice that the hour begins in, some are too old
            expected += own[:KEPT]

    shown = times(table, now=now, limit=100)

    assert shown == sorted(shown, reverse=True)
    for seconds in sorted(expected, reverse=True)[:limit]:
        assert seconds in shown or len(shown) == 100


def test_after_an_hour_they_are_gone(table: SlowTable) -> None:
    """And quicker ones, which had no place beside them, are not missing later: each ten minutes have places of their own."""
    gone = Slowest()
    for _ in range(KEPT):
        record(table, 60.0, NOW)
    record(table, 1.0, NOW + SPAN / 2)
    gone.add(table, 1, NOW)

    assert len(times(table, now=NOW + SPAN)) == KEPT + 1
    assert times(table, now=NOW + SPAN + 1) == [1.0]
    assert times(now=NOW + SPAN, gone=gone) == [60.0] * KEPT
    assert times(now=NOW + SPAN + 1, gone=gone) == []


def test_a_request_that_is_not_slow_costs_a_comparison(table: SlowTable) -> None:
    """No lock is taken and nothing is written for one that is quicker than those that are kept."""
    for number in range(KEPT):
        record(table, 1.0 + number)

    assert table.least == 1.0
    assert NOW < table.until <= NOW + SLICE
    record(table, 1.5)
    assert table.least == 1.5
    assert len(times(table)) == KEPT


def test_those_of_workers_that_are_gone_stay(table: SlowTable) -> None:
    """KEPT of each ten minutes, of all workers."""
    gone = Slowest()
    for worker in range(1, 4):
        with contextlib.closing(SlowTable.create()) as one:
            for number in range(KEPT):
                record(one, round(worker + number / 100, 3))
            gone.add(one, worker, NOW)
    record(table, 2.0)

    assert len(times(gone=gone)) == KEPT
    assert times(table, gone=gone, limit=KEPT + 1) == [
        *[round(3 + number / 100, 3) for number in reversed(range(KEPT))],
        2.0,
    ]


@given(st.binary(min_size=1, max_size=64), st.integers(0, SlowTable.entry), st.integers(1, 9000))
@settings(max_examples=100, deadline=None)
def test_whatever_a_worker_writes_can_be_read(pattern: bytes, start: int, length: int) -> None:
    """It runs the application, and may have been taken over: any bytes give a bounded answer that JSON can carry."""
    with contextlib.closing(SlowTable.create()) as table:
        for number in range(5):
            record(table, 1.0 + number)
        with mmap.mmap(table.descriptor, SlowTable.entry) as memory:
            end = min(start + length, len(memory))
            memory[start:end] = (pattern * (length // len(pattern) + 1))[: end - start]
        gone = Slowest()
        gone.add(table, 1, NOW)
        result = SlowResult(gone.listed({1: table}, 100, NOW))
        assert msgspec.json.decode(msgspec.json.encode(result), type=SlowResult) == result
        assert len(result.requests) <= 100
        for request in result.requests:
            assert request.path.isprintable()
            assert request.seconds >= 0


def test_one_that_its_worker_left_half_written_is_passed_over(table: SlowTable) -> None:
    """The others are shown."""
    record(table, 1.0)
    record(table, 2.0)
    first = (1 + int(NOW // SLICE) % SLICES * KEPT) * _ENTRY_SIZE
    table._memory.words[first // 8] |= 1

    assert times(table) == [2.0]


def test_the_ledger_records_what_took_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the call of the application to the close of its body, with the status that answered it."""
    clock = [NOW]
    monkeypatch.setattr(middleware, "monotonic", lambda: clock[0])
    monkeypatch.setattr("flaskd.ledger.row.monotonic", lambda: clock[0])

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("404 Not Found", [])
        clock[0] += 2
        return [b"x"]

    ledger = Ledger(app, lambda: None)
    body: Any = ledger({"REQUEST_METHOD": "PUT", "PATH_INFO": "/r"}, lambda *_: lambda _: None)
    list(body)
    clock[0] += 1
    body.close()

    (request,) = Slowest().listed({0: ledger.slow}, 10, clock[0])
    assert (request.seconds, request.status, request.method, request.path) == (3.0, 404, "PUT", "/r")
