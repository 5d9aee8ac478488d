"""Commands that look into the processes that run the application."""

from typing import Any, Final, TypeVar

import msgspec

from flaskd.control.handlers.tasks import carry_out
from flaskd.control.registry import Call
from flaskd.operable import Operable
from flaskd.tasks import CollectGarbage, Outcome
from flaskd_ctl.protocol import FromWorker, Garbage, GcResult, WorkerParams

R = TypeVar("R", bound=FromWorker)

GC_TIME: Final = 60.0
"""Seconds that a garbage collection may take."""


class Diagnosis:
    """Handles the commands that look into the processes that run the application."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance

    async def gc(self, call: Call[WorkerParams]) -> GcResult:
        """Run the garbage collector in each process, or in one."""
        outcomes = await carry_out(
            self._instance, CollectGarbage(), worker=call.params.worker, timeout=GC_TIME
        )
        return GcResult(workers=[described(each, Garbage) for each in outcomes])


def described(outcome: Outcome, shape: type[R]) -> R:
    """Return a process's reply with who it is from; what it failed with if there is no reply."""
    reply: dict[str, Any] = msgspec.structs.asdict(outcome.reply) if outcome.reply is not None else {}
    reply.pop("number", None)
    return shape(worker=outcome.worker, pid=outcome.pid, error=outcome.error, **reply)
