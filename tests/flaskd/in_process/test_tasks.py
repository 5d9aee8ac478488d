"""How a process carries out tasks: each on a thread of its own, no more than some at a time."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from flaskd import in_process
from flaskd.tasks import CollectGarbage, GarbageCollected, Reply
from tests.support.daemons import PATIENCE

CORE: Any = None  # the tasks of these tests do not look at it
DONE = GarbageCollected(collected=1, uncollectable=0, tracked=2, took=0.5)


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any, Any], Reply]], None]:
    """Set what the task does."""

    functions: dict[Any, Any] = in_process.FUNCTIONS

    def do(function: Callable[[Any, Any], Reply]) -> None:
        monkeypatch.setitem(functions, CollectGarbage, function)

    return do


def start() -> "Future[Reply]":
    reply: Future[Reply] = Future()
    in_process.start(CORE, CollectGarbage(), reply)
    return reply


def test_a_task_runs_on_a_thread_of_its_own(function: Any) -> None:
    """The thread that receives the supervisor's calls stays free for the order to stop."""
    threads = []

    def do(core: object, task: object) -> Reply:
        threads.append(threading.current_thread())
        return DONE

    function(do)

    assert start().result(PATIENCE) == DONE
    assert threads[0] is not threading.current_thread()


def test_what_a_task_raises_is_its_outcome(function: Any) -> None:
    """And the next one runs."""

    def fail(core: object, task: object) -> Reply:
        raise ValueError("no such thing")

    for _ in range(in_process.MOST_AT_A_TIME + 1):
        function(fail)
        with pytest.raises(ValueError, match="no such thing"):
            start().result(PATIENCE)
    function(lambda core, task: DONE)
    assert start().result(PATIENCE) == DONE


def test_tasks_that_do_not_end_do_not_pile_up(function: Any) -> None:
    """Each keeps a thread: beyond MOST_AT_A_TIME a task is refused at once, and one that ends makes room."""
    go_on = threading.Event()

    def hang(core: object, task: object) -> Reply:
        assert go_on.wait(PATIENCE)
        return DONE

    function(hang)
    hanging = [start() for _ in range(in_process.MOST_AT_A_TIME)]

    with pytest.raises(RuntimeError, match=f"{in_process.MOST_AT_A_TIME} tasks run in this process already"):
        start().result(0)
    go_on.set()
    assert [each.result(PATIENCE) for each in hanging] == [DONE] * in_process.MOST_AT_A_TIME
    assert start().result(PATIENCE) == DONE


def test_a_thread_that_cannot_be_started_is_an_outcome(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process at its limit of threads says so, and keeps no slot."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    function(lambda core, task: DONE)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(in_process.MOST_AT_A_TIME + 1):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                start().result(0)

    assert start().result(PATIENCE) == DONE
