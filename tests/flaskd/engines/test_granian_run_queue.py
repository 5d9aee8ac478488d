"""The run queue: so many at a time, in the order of their coming, and nobody's thread waits."""

import threading
from collections.abc import Callable

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
