"""Waits for what processes reply to a task."""

import asyncio

from flaskd.ledger.row import printable
from flaskd.operable import Operable
from flaskd.tasks import Ordered, Outcome, Reply, Task


async def carry_out(instance: Operable, task: Task, *, worker: int | None, timeout: float) -> list[Outcome]:
    """Have `task` carried out by `worker`, or by each, and return each one's outcome after `timeout` seconds at most.

    Raises what `Operable.order_task` does.
    """
    ordered = instance.order_task(task, worker)
    replies = [asyncio.wrap_future(each.reply) for each in ordered]
    await asyncio.wait(replies, timeout=timeout)
    return [_outcome(each, reply, timeout) for each, reply in zip(ordered, replies, strict=True)]


def _outcome(ordered: Ordered, reply: "asyncio.Future[Reply]", timeout: float) -> Outcome:
    def failed(why: str) -> Outcome:
        return Outcome(ordered.worker, ordered.pid, None, printable(why))

    if not reply.done():
        reply.cancel()
        return failed(f"did not reply within {timeout:g} s")
    if reply.cancelled():
        return failed("ended before it replied")
    if error := reply.exception():
        return failed(str(error) or type(error).__name__)
    return Outcome(ordered.worker, ordered.pid, reply.result())
