"""What tasks do in the process that runs the application (see `flaskd.tasks`): one function for each.

It is imported before the application, whose directory may have files that are named like a module.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from flaskd.in_process.app_config import show_config
from flaskd.in_process.cancelling import cancel_request
from flaskd.in_process.code import describe_code, list_files
from flaskd.in_process.commands import call_command, list_commands
from flaskd.in_process.garbage import collect_garbage
from flaskd.in_process.profile import end_profile, take_profile
from flaskd.in_process.routes import list_routes
from flaskd.in_process.stacks import take_stacks
from flaskd.in_process.tuning import find_logger, list_levels, tune
from flaskd.serving import Core
from flaskd.tasks import (
    CallCommand,
    CancelRequest,
    CollectGarbage,
    DescribeCode,
    EndProfile,
    FindLogger,
    ListCommands,
    ListFiles,
    ListLevels,
    ListRoutes,
    Note,
    Reply,
    ReportingTask,
    ShowConfig,
    TakeProfile,
    TakeStacks,
    Task,
    Tune,
)

FUNCTIONS: Final[dict[type[Task], Callable[[Any, Any], Reply]]] = {
    CollectGarbage: collect_garbage,
    CancelRequest: cancel_request,
    ListCommands: list_commands,
    ListRoutes: list_routes,
    ShowConfig: show_config,
    Tune: tune,
    FindLogger: find_logger,
    ListLevels: list_levels,
    DescribeCode: describe_code,
    ListFiles: list_files,
    TakeStacks: take_stacks,
    TakeProfile: take_profile,
    EndProfile: end_profile,
}
"""What carries out each task; the core is None where the application is not loaded, which only an `early` task sees."""

REPORTING: Final[dict[type[ReportingTask], Callable[[Any, Any, Callable[[Note], None]], Reply]]] = {
    CallCommand: call_command,
}
"""Functions that also take what sends their notes."""

MOST_AT_A_TIME: Final = 8
"""Tasks of one process at a time: each has a thread, and one that never ends keeps it."""

_slots: Final = threading.BoundedSemaphore(MOST_AT_A_TIME)


def start(
    core: Core | None, task: Task, reply: "Future[Reply]", on_note: Callable[[Note], None] | None = None
) -> None:
    """Carry out `task` on a thread of its own, which completes `reply`; `on_note` gets what it reports before.

    `core` may be None for an `early` task.
    """

    def run() -> None:
        try:
            if isinstance(task, ReportingTask):
                result = REPORTING[type(task)](core, task, on_note or _drop)
            else:
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


def _drop(note: Note) -> None:
    """Nobody wants it."""


def _end(complete: Callable[[Any], None], outcome: object) -> None:
    _slots.release()
    complete(outcome)
