"""Commands that show and change settings, and levels of loggers, while the instance runs."""

from collections import defaultdict
from typing import Any, Final

import msgspec

from flaskd.control.aside import Aside
from flaskd.control.handlers.tasks import carry_out_if_any, heard
from flaskd.control.registry import Call
from flaskd.errors import FlaskdError
from flaskd.ledger.row import printable
from flaskd.operable import Operable
from flaskd.tasks import FindLogger, LevelsListed, ListLevels, LoggerFound, Outcome, Task
from flaskd_ctl.errors import Failed, NotFound
from flaskd_ctl.protocol import (
    ConfigResult,
    FromWorker,
    LoggerLevel,
    LogLevelParams,
    LogLevelResult,
    LogLevelsResult,
    SetParams,
    SetResult,
    UnsetParams,
)

TELL_TIME: Final = 5.0
"""Seconds in which a process has to say that it uses what was set."""

READ_TIME: Final = 2.0
"""Seconds that the files of settings may take."""

MOST_LEVELS: Final = 500


class Tuning:
    """Handles the commands that tune an instance."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance
        self._reading: Aside[Any] = Aside()

    async def config(self, call: Call[Any]) -> ConfigResult:
        """Describe each setting, and what the files say now."""
        tuning = self._instance.tuning
        try:
            return tuning.config(await self._reading.run(tuning.read_files, seconds=READ_TIME))
        except TimeoutError:
            error = f"the settings could not be read within {READ_TIME:g} s"
        except (FlaskdError, OSError) as failure:
            error = printable(str(failure))
        return tuning.config(None, error=error)

    async def set(self, call: Call[SetParams]) -> SetResult:
        """Set a setting, and tell each process that needs it."""
        asked = call.params
        result = self._instance.tuning.set(
            asked.setting, asked.value, seconds=asked.for_, by=call.peer.caller
        )
        return await self._tell(call, result)

    async def unset(self, call: Call[UnsetParams]) -> SetResult:
        """Let a setting be as it was read, and tell each process that needs it."""
        result = self._instance.tuning.unset(call.params.setting)
        return await self._tell(call, result) if result.changed else result

    async def log_level(self, call: Call[LogLevelParams]) -> LogLevelResult:
        """Give a logger a level, in each process or in one."""
        asked, tuning = call.params, self._instance.tuning
        level = tuning.level(asked.level)
        if not tuning.knows(asked.logger, asked.worker):
            await self._find(asked.logger, asked.worker)
        elif asked.worker is not None:
            self._instance.order_task(ListLevels(), asked.worker)  # raises if there is no such worker
        result = tuning.set_level(
            asked.logger, level, worker=asked.worker, seconds=asked.for_, by=call.peer.caller
        )
        if call.record is not None and result.was:
            call.record.note(was=result.was)
        return msgspec.structs.replace(result, workers=await self._told(asked.worker))

    async def log_levels(self, call: Call[Any]) -> LogLevelsResult:
        """List the loggers that have a level of their own."""
        outcomes = await self._ask(ListLevels(), None)
        found: dict[tuple[str, str, str, float | None], list[int]] = defaultdict(list)
        more = 0
        for outcome in outcomes:
            if isinstance(outcome.reply, LevelsListed):
                more += max(0, outcome.reply.more)
                for name, level in outcome.reply.levels.items():
                    set_, until = self._instance.tuning.level_set(name, outcome.worker) or ("", None)
                    source = "set" if level == set_ else "application"
                    key = (
                        printable(name) or "root",
                        printable(level),
                        source,
                        until if set_ == level else None,
                    )
                    found[key].append(outcome.worker)
        levels = [
            LoggerLevel(name, level, source, workers, until)
            for (name, level, source, until), workers in found.items()
        ]
        failed = [each for each in heard(outcomes) if each.error]
        return LogLevelsResult(levels[:MOST_LEVELS], more + max(0, len(levels) - MOST_LEVELS), failed)

    async def _tell(self, call: Call[Any], result: SetResult) -> SetResult:
        if call.record is not None:
            call.record.note(was=result.was)
        if not self._instance.tuning.tells_workers(result.setting):
            return result
        return msgspec.structs.replace(result, workers=await self._told(None))

    async def _told(self, worker: int | None) -> list[FromWorker]:
        """Tell the processes what is set now; return what became of that in each."""
        task = self._instance.tuning.tune()
        return [] if task is None else heard(await self._ask(task, worker))

    async def _find(self, logger: str, worker: int | None) -> None:
        """Raise NotFound if no process has this logger."""
        outcomes = await self._ask(FindLogger(logger=logger), worker)
        replies = [each.reply for each in outcomes if isinstance(each.reply, LoggerFound)]
        if any(reply.exists for reply in replies):
            return
        if not replies:
            raise Failed(
                f"no worker could say whether there is a logger {logger!r}; nothing was changed",
                hint="see `flaskd_ctl workers`",
            )
        near = list(dict.fromkeys(printable(name) for reply in replies for name in reply.near))[:3]
        where = "in any worker" if worker is None else f"in worker {worker}"
        raise NotFound(
            f"there is no logger {logger!r} {where}; nothing was changed",
            hint=f"similar: {', '.join(near)}"
            if near
            else "a logger above it (`root` is above all) passes its level on to those that come later",
        )

    async def _ask(self, task: Task, worker: int | None) -> list[Outcome]:
        """Have the processes carry out a task; none if no worker serves, and all are asked."""
        return await carry_out_if_any(self._instance, task, worker=worker, timeout=TELL_TIME)
