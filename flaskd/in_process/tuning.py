"""Settings and levels of loggers that an operator has set."""

import threading
from typing import Final

import msgspec

from flaskd.serving import Core
from flaskd.tasks import FindLogger, LevelsListed, ListLevels, LoggerFound, Tune, Tuned
from flaskd.tuning.levels import LEVELS, exists, near, own_levels

_one_at_a_time: Final = threading.Lock()  # each task has a thread: a later one may come here first


def tune(core: Core, task: Tune) -> Tuned:
    """Use what is set now, unless something later is in use."""
    with _one_at_a_time:
        if task.serial > core.tuned:
            core.tuned = task.serial
            settings = msgspec.structs.replace(core.base, **task.settings)
            if settings != core.settings:
                core.use_settings(settings)
            use_levels(task, worker=core.worker)
    return Tuned()


def use_levels(task: Tune, *, worker: int) -> None:
    """Give loggers their levels; those of one worker come before those of all."""
    ours = [each for each in task.levels if each.worker in {0, worker}]
    LEVELS.use({each.logger: each.level for each in sorted(ours, key=lambda each: each.worker)})


def find_logger(core: Core, task: FindLogger) -> LoggerFound:
    """Look for a logger."""
    found = exists(task.logger)
    return LoggerFound(exists=found, near=[] if found else near(task.logger))


def list_levels(core: Core, task: ListLevels) -> LevelsListed:
    """List the loggers that have a level of their own."""
    levels, more = own_levels()
    return LevelsListed(levels=levels, more=more)
