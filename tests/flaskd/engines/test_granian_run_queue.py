"""The run queue: so many at a time, in the order of their coming, and nobody's thread waits."""

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from flaskd.engines.granian_engine.run_queue import RunQueue
from tests.flaskd.conftest import WAIT


def holding(entered: threading.Semaphore, release: threading.Event) -> Callable[[object], None]:
    def job(_: object) -> None:
        entered.release()
        assert release.wait(WAIT)

    return job


def test_no_more_than_there_are_places_and_the_rest_in_order() -> None:
    """Who finds no place returns at once; a thread that is at work does its job when it is done."""
    queue, entered, release = RunQueue(2, lambda change: None), threading.Semaphore(0), threading.Event()
    threads = [threading.Thread(target=queue.run, args=(holding(entered, release), None)) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert entered.acquire(timeout=WAIT)
    done: list[tuple[int, threading.Thread]] = []
    for number in range(5):
        queue.run(lambda number: done.append((number, threading.current_thread())), number)
    assert done == []
    release.set()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(number for number, _ in done) == [0, 1, 2, 3, 4]
    assert {thread for _, thread in done} <= set(threads)


def test_a_place_is_free_again_when_a_job_is_done() -> None:
    """One after the other, on the caller's thread, in order."""
    queue = RunQueue(1, lambda change: None)
    done: list[int] = []
    for number in range(3):
        queue.run(done.append, number)
    assert done == [0, 1, 2]


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_job_that_is_left_when_nobody_is_at_work_any_more_is_done() -> None:
    """It found no place, and the thread at work was done before it could see the job: then its own thread does it."""
    entered, release = threading.Semaphore(0), threading.Event()
    done: list[int] = []

    def waiting(change: int) -> None:
        if change > 0:
            release.set()
            worker.join(WAIT)

    queue = RunQueue(1, waiting)
    worker = threading.Thread(target=queue.run, args=(holding(entered, release), None))
    worker.start()
    assert entered.acquire(timeout=WAIT)
    for number in range(2):
        queue.run(done.append, number)
    assert not worker.is_alive()
    assert done == [0, 1]


@pytest.mark.usefixtures("hasty")
def test_no_job_is_left_behind_nor_done_beside_another() -> None:
    """When all who brought jobs have returned, all are done; with one place there are never two at a time."""
    at_work = threading.Lock()
    done: list[int] = []
    waiting: list[int] = []
    queue = RunQueue(1, waiting.append)

    def job(number: int) -> None:
        assert at_work.acquire(blocking=False)
        done.append(number)
        at_work.release()

    def bring() -> None:
        for number in range(500):
            queue.run(job, number)

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(done) == sorted([*range(500)] * 4)
    assert sum(waiting) == 0
