"""A pool of threads whose size changes while it works."""

import threading
from collections.abc import Iterator

import pytest

from flaskd.engines.shared.pool import Pool
from tests.flaskd.conftest import WAIT


class Work:
    """Items that wait to be let go, each one by itself; it counts those that are at work."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.now = self.most = 0

    def __call__(self, item: object) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.began.release()
        assert self.let_go.acquire(timeout=WAIT)
        with self.lock:
            self.now -= 1

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.began.acquire(timeout=WAIT)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def pool(work: Work) -> Iterator[Pool[object]]:
    pool: Pool[object] = Pool(2, work, name="test", waiting=lambda change: None)
    yield pool
    work.let_go.release(100)
    pool.end()


def test_more_threads_take_what_waits(pool: Pool[object], work: Work) -> None:
    """At once, without another item."""
    for _ in range(5):
        pool.put(object())
    work.wait_for(2)
    assert not work.began.acquire(timeout=0.05)

    pool.resize(4)

    work.wait_for(2)
    assert work.most == 4


def test_fewer_threads_finish_what_they_do_and_begin_no_more_than_that(
    pool: Pool[object], work: Work
) -> None:
    """Of 4 at work 3 end; what comes later finds one."""
    pool.resize(4)
    for _ in range(4):
        pool.put(object())
    work.wait_for(4)

    pool.resize(1)
    for _ in range(3):
        pool.put(object())
    work.let_go.release(4)
    work.wait_for(1)
    work.most = work.now

    for _ in range(2):
        work.let_go.release()
        work.wait_for(1)
    assert work.most == 1


def test_threads_that_are_to_end_are_no_work_that_waits(pool: Pool[object], work: Work) -> None:
    """An engine accepts nothing while work waits, and nobody would tell it that a thread has ended."""
    for _ in range(2):
        pool.put(object())
    work.wait_for(2)
    pool.resize(1)
    assert pool.waiting == 0
    pool.put(object())
    assert pool.waiting == 1


def test_threads_that_are_idle_end_too(work: Work) -> None:
    """And those that are left work."""
    pool: Pool[object] = Pool(3, work, name="idle", waiting=lambda change: None)
    for _ in range(3):
        pool.put(object())
    work.wait_for(3)
    threads = [each for each in threading.enumerate() if each.name.startswith("idle-")]
    work.let_go.release(3)

    pool.resize(1)

    gone = 0
    while gone < 2:
        gone = sum(not each.is_alive() for each in threads)
        for each in threads:
            each.join(0.01)
    pool.put(object())
    work.wait_for(1)
    work.let_go.release()
    pool.end()
    for each in threads:
        each.join(WAIT)
        assert not each.is_alive()


def test_a_pool_whose_idle_threads_have_ended_starts_others(work: Work) -> None:
    """It does not count on those that are gone."""
    pool: Pool[object] = Pool(3, work, name="again", waiting=lambda change: None)
    for _ in range(3):
        pool.put(object())
    work.wait_for(3)
    work.let_go.release(3)

    pool.resize(1)
    pool.resize(3)
    for _ in range(3):
        pool.put(object())

    work.wait_for(3)
    work.let_go.release(3)
    pool.end()


def test_a_pool_shrunk_and_grown_again_has_its_size(pool: Pool[object], work: Work) -> None:
    """Also while the surplus threads have not yet ended."""
    pool.resize(4)
    for _ in range(4):
        pool.put(object())
    work.wait_for(4)

    pool.resize(1)
    pool.resize(4)
    for _ in range(8):
        pool.put(object())
    work.let_go.release(4)
    work.wait_for(4)

    assert work.most == 4
    assert not work.began.acquire(timeout=0.05)
