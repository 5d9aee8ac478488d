"""Requests that find no thread in time are handed over all the same, marked, once, and only then."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from flaskd.engines.granian_engine.run_queue import RunQueue
from flaskd.engines.shared.expiry import Expiry, Waiter
from flaskd.engines.shared.pool import Pool
from flaskd.http.queue_time import queue_time
from tests.flaskd.conftest import WAIT

SOON = 0.1


class Done:
    """What was handed over: the job, whether it had expired, and its time in the queue."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[tuple[Any, bool, float]] = queue.SimpleQueue()

    def __call__(self, job: Any) -> None:
        self.queue.put((job, queue_time.expired, queue_time.seconds))

    def next(self) -> tuple[Any, bool, float]:
        return self.queue.get(timeout=WAIT)


class Waiting:
    """Counts those that wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = 0

    def __call__(self, change: int) -> None:
        with self._lock:
            self.now += change


@pytest.fixture
def done() -> Done:
    return Done()


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Lets all threads go that are stuck, at the latest at the end."""
    event = threading.Event()
    yield event
    event.set()


Put = Callable[[Any], None]


class Work:
    """What a thread does with a job: "stuck" holds it until `held` is set, others are handed over."""

    def __init__(self, done: Done, held: threading.Event) -> None:
        self._done = done
        self._held = held
        self._began = threading.Event()

    def __call__(self, job: Any) -> None:
        if job == "stuck":
            self._began.set()
            assert self._held.wait(WAIT)
        else:
            self._done(job)

    def wait_until_stuck(self) -> None:
        """Return when a thread is held."""
        assert self._began.wait(WAIT)


@pytest.fixture
def work(done: Done, held: threading.Event) -> Work:
    return Work(done, held)


@contextlib.contextmanager
def stuck_pool(
    work: Work, waiting: Waiting, held: threading.Event, *, max_wait: float
) -> Iterator[Pool[Any]]:
    """Give a pool whose one thread is stuck until `held` is set, at the latest at the end."""
    pool: Pool[Any] = Pool(1, work, name="test", waiting=waiting, max_wait=max_wait)
    pool.put("stuck")
    work.wait_until_stuck()
    yield pool
    held.set()
    pool.end()


@pytest.fixture(params=["pool", "run queue"])
def stuck(
    request: pytest.FixtureRequest, work: Work, waiting: Waiting, held: threading.Event
) -> Iterator[tuple[Put, Any]]:
    """A pool and a run queue whose one thread is stuck until `held` is set: how to give it a job, and itself."""
    if request.param == "pool":
        with stuck_pool(work, waiting, held, max_wait=SOON) as pool:
            yield pool.put, pool
    else:
        run_queue = RunQueue(1, waiting, max_wait=SOON)
        thread = threading.Thread(target=run_queue.run, args=(work, "stuck"))
        thread.start()
        work.wait_until_stuck()
        yield lambda job: run_queue.run(work, job), run_queue
        held.set()
        thread.join(WAIT)


def test_while_all_threads_are_stuck_each_is_handed_over_in_its_order(
    stuck: tuple[Put, Any], done: Done, waiting: Waiting
) -> None:
    """Marked as expired, not before its time, and nothing waits any more."""
    put, _ = stuck
    for number in range(50):
        put(number)
    for number in range(50):
        job, expired, seconds = done.next()
        assert (job, expired) == (number, True)
        assert seconds >= SOON
    assert waiting.now == 0


def test_one_that_finds_a_thread_is_handed_over_by_that_alone(
    stuck: tuple[Put, Any], done: Done, waiting: Waiting, held: threading.Event
) -> None:
    """Not marked, and once."""
    put, queued = stuck
    queued.change_max_wait(WAIT)
    for number in range(20):
        put(number)
    held.set()
    assert [done.next()[:2] for _ in range(20)] == [(number, False) for number in range(20)]
    assert waiting.now == 0


def test_those_that_have_expired_come_to_no_thread_later(
    stuck: tuple[Put, Any], done: Done, held: threading.Event
) -> None:
    """And the threads go on with what comes then."""
    put, queued = stuck
    for number in range(20):
        put(number)
    for _ in range(20):
        assert done.next()[1]
    queued.change_max_wait(0)
    put("later")
    held.set()
    job, expired, _ = done.next()
    assert (job, expired) == ("later", False)
    with pytest.raises(queue.Empty):
        done.queue.get(timeout=0.05)


def test_a_pool_with_stuck_threads_keeps_nothing_of_them(
    work: Work, done: Done, waiting: Waiting, held: threading.Event
) -> None:
    """As few wait as before: who asks that before it accepts more goes on."""
    with stuck_pool(work, waiting, held, max_wait=SOON) as pool:
        for number in range(10):
            pool.put(number)
        assert pool.waiting == 10
        for _ in range(10):
            done.next()
        assert pool.waiting == 0
        assert pool._queue.qsize() == 0
        held.set()
        pool.put("after")
        assert done.next()[:2] == ("after", False)


def test_what_has_waited_before_is_late_earlier(
    work: Work, done: Done, waiting: Waiting, held: threading.Event
) -> None:
    """The kernel's queue counts, in front of those that came to ours first."""
    with stuck_pool(work, waiting, held, max_wait=WAIT) as pool:
        pool.put("new")
        pool.put("old", waited=2 * WAIT)
        job, expired, seconds = done.next()
        assert (job, expired) == ("old", True)
        assert seconds >= 2 * WAIT
        held.set()
        assert done.next()[:2] == ("new", False)


def test_without_a_limit_there_is_no_thread(done: Done, waiting: Waiting) -> None:
    """Nor is anything kept."""
    expiry = Expiry(0.0, done, waiting)
    expiry.add(Waiter("job", monotonic()))
    assert expiry._line == []
    assert not expiry._started
