"""Waits for what processes reply to a task."""

import asyncio
import time
from typing import TypeVar

from flaskd.ledger.row import printable
from flaskd.operable import Operable
from flaskd.tasks import Choice, Ordered, Outcome, Reply, Task
from flaskd_ctl.errors import Failed, TimedOut

R = TypeVar("R", bound=Reply)


async def carry_out(instance: Operable, task: Task, *, worker: int | None, timeout: float) -> list[Outcome]:
    """Have `task` carried out by `worker`, or by each, and return each one's outcome after `timeout` seconds at most.

    Raises what `Operable.order_task` does.
    """
    return await outcomes(instance.order_task(task, worker), timeout)


async def outcomes(ordered: list[Ordered], timeout: float) -> list[Outcome]:
    """Return each process's outcome, after `timeout` seconds at most."""
    replies = [asyncio.wrap_future(each.reply) for each in ordered]
    await asyncio.wait(replies, timeout=timeout)
    return [_outcome(each, reply, timeout) for each, reply in zip(ordered, replies, strict=True)]


async def first_reply(
    instance: Operable, task: Task, *, worker: int | None, shape: type[R], timeout: float
) -> R:
    """Have each worker that serves carry out `task`, or only `worker`, and return the reply that comes first.

    Raises Failed, TimedOut if there is none, and what `Operable.order_task` raises.
    """
    ordered = instance.order_task(task, Choice.SERVING if worker is None else worker)
    pending = {asyncio.wrap_future(each.reply): each for each in ordered}
    end = time.monotonic() + timeout
    why = ""
    while pending:
        done, _ = await asyncio.wait(
            pending, timeout=max(0.0, end - time.monotonic()), return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            break
        for reply in done:
            outcome = _outcome(pending.pop(reply), reply, timeout)
            if isinstance(outcome.reply, shape):
                for left in pending:
                    left.cancel()
                return outcome.reply
            why = outcome.error
    for left in pending:
        left.cancel()
    if pending:
        who = f"worker {worker}" if worker is not None else "no worker"
        verb = "did not reply" if worker is not None else "replied"
        raise TimedOut(f"{who} {verb} within {timeout:g} s", hint="see `flaskd_ctl workers`")
    raise Failed(why)


def _outcome(ordered: Ordered, reply: "asyncio.Future[Reply]", timeout: float) -> Outcome:
    def failed(why: str) -> Outcome:
        return Outcome(ordered.worker, ordered.pid, None, printable(why))

    if not reply.done():
        reply.cancel()
        return failed(f"did not reply within {timeout:g} s")._replace(late=True)
    if reply.cancelled():
        return failed("ended before it replied")
    if error := reply.exception():
        return failed(str(error) or type(error).__name__)
    return Outcome(ordered.worker, ordered.pid, reply.result())
