"""Waits for what processes reply to a task."""

import asyncio
import time
from typing import Any, Final, TypeVar

import msgspec

from flaskd.ledger.row import printable
from flaskd.operable import Operable
from flaskd.tasks import Choice, Ordered, Outcome, Reply, Task
from flaskd_ctl.errors import Failed, TimedOut, WrongState
from flaskd_ctl.protocol import FromWorker

R = TypeVar("R", bound=Reply)
F = TypeVar("F", bound=FromWorker)

ROOM: Final = 900_000
"""Bytes of a reply for what all processes have told: MAX_MESSAGE less what is around it."""

LONGEST: Final = 400
"""Characters of one of the short texts that a process tells."""


async def carry_out(instance: Operable, task: Task, *, worker: int | None, timeout: float) -> list[Outcome]:
    """Have `task` carried out by `worker`, or by each, and return each one's outcome after `timeout` seconds at most.

    Raises what `Operable.order_task` does.
    """
    return await outcomes(instance.order_task(task, worker), timeout)


async def carry_out_if_any(
    instance: Operable, task: Task, *, worker: int | None = None, timeout: float
) -> list[Outcome]:
    """Do as `carry_out`, but return nothing if each is asked and no worker serves."""
    try:
        return await carry_out(instance, task, worker=worker, timeout=timeout)
    except WrongState:
        if worker is not None:
            raise
        return []


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


def described(outcome: Outcome, shape: type[F]) -> F:
    """Return a process's reply with who it is from; what it failed with if there is no reply."""
    reply: dict[str, Any] = msgspec.structs.asdict(outcome.reply) if outcome.reply is not None else {}
    reply.pop("number", None)
    return shape(worker=outcome.worker, pid=outcome.pid, error=outcome.error, **reply)


def clean(text: str) -> str:
    """Return a short text of a process as it can be shown: a worker says whatever its application lets it say."""
    return printable(text[:LONGEST])


def heard(outcomes: list[Outcome]) -> list[FromWorker]:
    """Return which processes have replied, and what the others failed with."""
    return [FromWorker(worker=each.worker, pid=each.pid, error=each.error) for each in outcomes]


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
