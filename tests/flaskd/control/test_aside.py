"""What may block has a thread of its own and a time; the loop goes on."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flaskd.control.aside import Aside
from tests.flaskd.conftest import WAIT


def run(*works: Callable[[], Any], seconds: float = WAIT) -> list[Any]:
    async def each() -> list[Any]:
        aside: Aside[Any] = Aside()
        found = []
        for work in works:
            try:
                found.append(await aside.run(work, seconds=seconds))
            except (TimeoutError, ValueError) as error:
                found.append(type(error))
        return found

    return asyncio.run(each())


def test_what_it_returns_or_raises_is_the_outcome() -> None:
    """One after the other."""

    def fail() -> None:
        raise ValueError

    assert run(lambda: 1, fail, lambda: 2) == [1, ValueError, 2]


def test_work_that_hangs_is_not_waited_for_and_does_not_pile_up() -> None:
    """Until it ends, further work is refused at once; it keeps neither the loop nor the process."""
    go_on = threading.Event()
    began = threading.Semaphore(0)

    def hang() -> None:
        began.release()
        go_on.wait(WAIT)

    assert run(hang, hang, seconds=0.05) == [TimeoutError, TimeoutError]
    assert began.acquire(timeout=WAIT)
    assert not began.acquire(blocking=False)
    go_on.set()


@pytest.mark.parametrize("late", [lambda: 1, lambda: [][0]])
def test_an_outcome_that_comes_too_late_is_dropped(late: Callable[[], Any]) -> None:
    """Silently: nobody waits for it, and the loop may be closed."""
    go_on = threading.Event()
    ended: list[threading.Thread] = []

    def work() -> Any:
        ended.append(threading.current_thread())
        go_on.wait(WAIT)
        return late()

    assert run(work, seconds=0.05) == [TimeoutError]
    go_on.set()
    ended[0].join(WAIT)
    assert not ended[0].is_alive()
