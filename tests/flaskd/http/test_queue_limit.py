"""Which requests have waited too long, and whose word counts for it."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from flaskd.http import queue_limit
from flaskd.http.queue_limit import DOUBT_AFTER, ProxyClock, QueueLimit
from flaskd.http.queue_time import queue_time

NOW = 1_767_225_600.0


class Clock:
    """The monotonic clock of the limit, moved by hand; Unix time stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(queue_limit, "monotonic", clock)
    monkeypatch.setattr(queue_limit, "time", lambda: NOW)
    return clock


@pytest.fixture(autouse=True)
def _in_no_queue() -> Iterator[None]:
    yield
    queue_time.seconds, queue_time.expired = 0.0, False


def came(seconds_ago: float) -> dict[str, str]:
    """The environ of a request that a proxy got so long ago."""
    return {"HTTP_X_REQUEST_START": f"t={NOW - seconds_ago:.3f}"}


@pytest.mark.parametrize(("seconds", "late"), [(0.0, False), (1.9, False), (2.0, True), (60.0, True)])
@pytest.mark.parametrize("behind_proxies", [True, False])
def test_the_time_without_a_free_thread_counts_always(
    clock: Clock, seconds: float, late: bool, behind_proxies: bool
) -> None:
    """A header that says less takes nothing from it."""
    limit = QueueLimit(2.0, behind_proxies=behind_proxies)
    queue_time.seconds = seconds
    assert limit.exceeded({}) is late
    assert limit.exceeded(came(0.1)) is late


def test_one_that_the_engine_has_given_up_is_late(clock: Clock) -> None:
    """Also if the limit was raised meanwhile: its thread must not be in the application."""
    queue_time.expired = True
    assert QueueLimit(2.0, behind_proxies=False).exceeded({})


@given(st.text(max_size=30) | st.floats(0, 1e5).map(lambda ago: f"t={NOW - ago}"))
def test_a_strangers_header_moves_nothing(header: str) -> None:
    """Without a trusted proxy it is a client's own."""
    assert not QueueLimit(0.001, behind_proxies=False).exceeded({"HTTP_X_REQUEST_START": header})


def test_a_trusted_proxys_header_counts(clock: Clock) -> None:
    """From the limit on."""
    limit = QueueLimit(2.0, behind_proxies=True)
    assert limit.exceeded(came(2.5))
    assert not limit.exceeded(came(1.5))
    assert not limit.exceeded(came(-5))
    assert not limit.exceeded({})


def test_a_proxy_whose_clock_is_behind_does_not_close_the_service(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """If every request is late by the header for some seconds, it is not believed, and the log says so once."""
    limit = QueueLimit(2.0, behind_proxies=True)
    assert limit.exceeded(came(30))
    clock.now += DOUBT_AFTER
    assert limit.exceeded(came(30))
    assert not caplog.records

    clock.now += 0.1
    assert not limit.exceeded(came(30))
    clock.now += 1000
    assert not limit.exceeded(came(30))

    (record,) = caplog.records
    assert "compare the clocks" in record.getMessage()
    queue_time.seconds = 3.0
    assert limit.exceeded(came(30))


def test_in_an_overload_the_header_is_believed_as_long_as_it_lasts(clock: Clock) -> None:
    """Each request that it lets pass shows that the clocks agree."""
    limit = QueueLimit(2.0, behind_proxies=True)
    for _ in range(100):
        clock.now += DOUBT_AFTER - 1
        assert limit.exceeded(came(30))
        assert not limit.exceeded(came(0.5))


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans())))
def test_belief_ends_only_after_a_time_in_which_none_passed(steps: list[tuple[float, bool]]) -> None:
    """And comes back with the first one that does."""
    proxy, now = ProxyClock(), 0.0
    first_late: float | None = None
    for seconds, late in steps:
        now += seconds
        if not late:
            proxy.in_time()
            first_late = None
            continue
        first_late = now if first_late is None else first_late
        assert proxy.believed(now) is (now - first_late <= DOUBT_AFTER)


@pytest.mark.parametrize(("seconds", "retry_after"), [(0.2, "1"), (1.0, "1"), (1.5, "2"), (30.0, "30")])
def test_the_answer_says_when_to_come_again(seconds: float, retry_after: str) -> None:
    """In whole seconds (RFC 9110, section 10.2.3)."""
    said: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        said.update(headers, status=status)

    body = b"".join(QueueLimit(seconds, behind_proxies=False).answer({}, start_response))
    assert said["status"] == "503 Service Unavailable"
    assert said["Retry-After"] == retry_after
    assert said["Content-Length"] == str(len(body))
