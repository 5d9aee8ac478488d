"""What becomes of a task in each process: its reply, or a sentence that says why there is none."""

import asyncio
from concurrent.futures import Future
from typing import Any

from flaskd.control.handlers.tasks import carry_out
from flaskd.tasks import CollectGarbage, GarbageCollected, Ordered, Outcome, Reply, Task

DONE = GarbageCollected(collected=1, uncollectable=0, tracked=2, took=0.5)


class Processes:
    """Processes that reply as they are told."""

    def __init__(self, *replies: "Future[Reply]") -> None:
        self.replies = replies

    def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
        return [Ordered(number, 100 + number, reply) for number, reply in enumerate(self.replies, 1)]


def outcomes(*replies: "Future[Reply]", timeout: float = 30.0) -> list[Outcome]:
    instance: Any = Processes(*replies)
    return asyncio.run(carry_out(instance, CollectGarbage(), worker=None, timeout=timeout))


def replied() -> "Future[Reply]":
    reply: Future[Reply] = Future()
    reply.set_result(DONE)
    return reply


def test_a_process_that_replies_has_its_reply() -> None:
    """With the worker that it is."""
    assert outcomes(replied(), replied()) == [Outcome(1, 101, DONE), Outcome(2, 102, DONE)]


def test_a_process_that_does_not_reply_in_time_keeps_nobody_waiting() -> None:
    """The replies of the others are there; its own, which comes later, is dropped."""
    silent: Future[Reply] = Future()

    first, second = outcomes(silent, replied(), timeout=0.01)

    assert first.error == "did not reply within 0.01 s"
    assert (second.reply, second.error) == (DONE, "")
    assert silent.cancelled()


def test_a_process_that_ends_has_not_replied() -> None:
    """A crash during the task is told as that."""
    ended: Future[Reply] = Future()
    ended.cancel()

    assert outcomes(ended)[0].error == "ended before it replied"


def test_what_a_process_raises_is_told_without_control_characters() -> None:
    """The application may have chosen the text."""
    failed: Future[Reply] = Future()
    failed.set_exception(ValueError("bad \x1b[2J text"))

    assert outcomes(failed)[0] == Outcome(1, 101, None, "bad %1B[2J text")
