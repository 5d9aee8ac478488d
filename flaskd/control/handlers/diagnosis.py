"""Commands that look into the processes that run the application."""

import asyncio
import contextlib
import secrets
from typing import Any, Final

from flaskd.control.handlers.tasks import ROOM, carry_out, clean, described
from flaskd.control.registry import Call
from flaskd.operable import Operable
from flaskd.process.profiles import fit
from flaskd.tasks import CollectGarbage, EndProfile, Outcome, ProfileTaken, TakeProfile
from flaskd_ctl.errors import ControlError
from flaskd_ctl.protocol import (
    Garbage,
    GcResult,
    ProfiledFunction,
    ProfileParams,
    ProfileResult,
    WorkerParams,
    WorkerProfile,
)

REPLY_TIME: Final = 5.0
"""Seconds after the end of a profile in which a process replies."""

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
        _note_failure(call, outcomes)
        return GcResult(workers=[described(each, Garbage) for each in outcomes])

    async def profile(self, call: Call[ProfileParams]) -> ProfileResult:
        """Look at the threads of each process, or of one, for a while; that ends if the caller goes."""
        params = call.params
        name = secrets.token_hex(8)
        task = TakeProfile(
            profile=name,
            seconds=params.seconds,
            rate=params.rate,
            endpoint=params.endpoint,
            all_threads=params.all_threads,
        )
        timeout = params.seconds + REPLY_TIME
        done = asyncio.ensure_future(carry_out(self._instance, task, worker=params.worker, timeout=timeout))
        gone = asyncio.ensure_future(call.peer.until_gone())
        try:
            await asyncio.wait([done, gone], return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise ConnectionResetError("the caller is gone, so the profile has ended")
        finally:
            gone.cancel()
            if not done.done():
                done.cancel()
                with contextlib.suppress(ControlError):
                    self._instance.order_task(EndProfile(profile=name), params.worker)
        outcomes = done.result()
        _note_failure(call, outcomes)
        return ProfileResult(workers=[_profile(each, ROOM // len(outcomes)) for each in outcomes])


def _note_failure(call: Call[Any], outcomes: list[Outcome]) -> None:
    """Have the audit log say that it failed, if no process has done it."""
    if call.record is not None and all(each.error for each in outcomes):
        call.record.failed(", ".join(dict.fromkeys(each.error for each in outcomes)))


def _profile(outcome: Outcome, room: int) -> WorkerProfile:
    """Return what a process has told; a worker says whatever its application lets it say."""
    taken = outcome.reply
    if not isinstance(taken, ProfileTaken):
        silent = outcome.error.startswith("did not reply")
        hint = "; something holds the GIL, or it is stopped: try `flaskd_ctl stacks`" if silent else ""
        return WorkerProfile(worker=outcome.worker, pid=outcome.pid, error=f"{outcome.error}{hint}")
    functions = [
        ProfiledFunction(clean(each.function), clean(each.file), each.line) for each in taken.functions
    ]
    kept, stacks, other = fit(functions, taken.stacks, room)
    return WorkerProfile(
        worker=outcome.worker,
        pid=outcome.pid,
        seconds=taken.seconds,
        samples=taken.samples,
        missed=taken.missed,
        longest_gap=taken.longest_gap,
        functions=kept,
        stacks=stacks,
        other=min(taken.other + other, 1 << 31),
    )
