"""What tasks do in the process that runs the application (see `flaskd.tasks`): one function for each.

It is imported before the application, whose directory may have files that are named like a module.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from flaskd.in_process.garbage import collect_garbage
from flaskd.serving import Core
from flaskd.tasks import CollectGarbage, Reply, Task

FUNCTIONS: Final[dict[type[Task], Callable[[Core, Any], Reply]]] = {
    CollectGarbage: collect_garbage,
}

MOST_AT_A_TIME: Final = 8
"""Tasks of one process at a time: each has a thread, and one that never ends keeps it."""

_slots: Final = threading.BoundedSemaphore(MOST_AT_A_TIME)


def start(core: Core, task: Task, reply: "Future[Reply]") -> None:
    """Carry out `task` on a thread of its own, which completes `reply`."""

    def run() -> None:
        try:
            result = FUNCTIONS[type(task)](core, task)
        except Exception as error:  # noqa: BLE001 - a thread's outer edge: who asked is told
            _end(reply.set_exception, error)
        else:
            _end(reply.set_result, result)

    if not _slots.acquire(blocking=False):
        reply.set_exception(RuntimeError(f"{MOST_AT_A_TIME} tasks run in this process already"))
        return
    try:
        threading.Thread(target=run, name="flaskd-task", daemon=True).start()
    except RuntimeError as error:  # no further thread can be started
        _end(reply.set_exception, error)


def _end(complete: Callable[[Any], None], outcome: object) -> None:
    _slots.release()
    complete(outcome)
