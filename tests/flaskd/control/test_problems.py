"""`cancel`: which request is meant, and what is told of one that is not cancelled."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from flaskd.control.handlers import problems
from flaskd.control.handlers.problems import Problems
from flaskd.tasks import CancelOutcome, Ordered, Reply, Task
from flaskd_ctl.errors import ControlError, Failed, InvalidParams, NotFound, TimedOut, WrongState
from flaskd_ctl.protocol import CancelParams, CancelResult, InFlight, RequestsResult


def request(number: int, worker: int, request_id: str) -> InFlight:
    return InFlight(
        id=number,
        method="GET",
        path="/r",
        age=1.0,
        client="",
        thread="",
        request_id=request_id,
        worker=worker,
    )


REQUESTS = [
    request(17, 1, "one"),
    request(17, 2, "two"),
    request(18, 2, "same"),
    request(19, 1, "same"),
    request(20, 1, "twice"),
    request(21, 1, "twice"),
    request(22, 1, "23"),
    request(23, 2, "x"),
]


class Instance:
    """Has REQUESTS in flight, and replies to each task with `outcome`, or never."""

    def __init__(self, outcome: str | None) -> None:
        self.outcome = outcome
        self.tasks: list[tuple[Task, int | None]] = []

    def requests(self) -> RequestsResult:
        return RequestsResult(requests=REQUESTS)

    def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
        self.tasks.append((task, worker))
        reply: Future[Reply] = Future()
        if self.outcome is not None:
            reply.set_result(CancelOutcome(outcome=self.outcome, took=1.0))
        return [Ordered(worker or 0, 99, reply)]


def cancel(instance: Instance, ident: str, worker: int | None = None) -> CancelResult:
    call: Any = SimpleNamespace(params=CancelParams(id=ident, worker=worker))
    return asyncio.run(Problems(instance).cancel(call))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ident", "worker", "number", "of"),
    [("17", 1, 17, 1), ("17", 2, 17, 2), ("18", None, 18, 2), ("one", None, 17, 1), ("same", 2, 18, 2)],
)
def test_a_request_is_named_by_its_number_or_its_request_id(
    ident: str, worker: int | None, number: int, of: int
) -> None:
    """Where several workers have one, with the worker."""
    instance = Instance("cancelled")

    result = cancel(instance, ident, worker)

    assert (result.id, result.worker) == (number, of)
    ((task, sent_to),) = instance.tasks
    assert sent_to == of
    assert getattr(task, "request", None) == number


def test_digits_are_a_number() -> None:
    """A client that calls its own request 23 does not stand in the way of request 23."""
    assert cancel(Instance("cancelled"), "23").id == 23


@pytest.mark.parametrize(
    ("ident", "worker", "error", "sentence", "hint"),
    [
        ("17", None, InvalidParams, "workers 1, 2 each have a request '17'", "add --worker"),
        ("same", None, InvalidParams, "workers 1, 2 each have a request 'same'", "add --worker"),
        ("twice", None, InvalidParams, "2 requests have the id 'twice'", "use the number"),
        ("99", None, NotFound, "no request '99' is in flight", "flaskd_ctl requests"),
        ("18", 1, NotFound, "no request '18' is in flight in worker 1", "flaskd_ctl requests"),
        ("\x1b[2J", None, NotFound, r"no request '\\x1b\[2J' is in flight", "flaskd_ctl requests"),
    ],
)
def test_what_is_unknown_or_ambiguous_is_refused(
    ident: str, worker: int | None, error: type[ControlError], sentence: str, hint: str
) -> None:
    """And no process is asked to do anything."""
    instance = Instance("cancelled")

    with pytest.raises(error, match=sentence) as caught:
        cancel(instance, ident, worker)

    assert hint in caught.value.hint
    assert instance.tasks == []


@pytest.mark.parametrize(
    ("outcome", "error", "sentence"),
    [
        (
            "answered",
            WrongState,
            r"request 18 in worker 2 \(GET /r\) has ended by itself, and was not cancelled",
        ),
        ("unknown", WrongState, "has ended by itself"),
        (
            "in C",
            TimedOut,
            r"continues after 1 s: its thread is in C code, and will be cancelled when it returns",
        ),
        ("handling", TimedOut, "the application is handling the exception, and has not ended yet"),
        ("elsewhere", TimedOut, "it is not in the application's code"),
        ("of another version", TimedOut, "continues after 1 s"),
    ],
)
def test_only_a_request_that_was_cancelled_is_a_success(
    outcome: str, error: type[ControlError], sentence: str
) -> None:
    """What has happened to any other is told."""
    with pytest.raises(error, match=sentence):
        cancel(Instance(outcome), "18")


def test_a_worker_that_does_not_reply_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs, or is stopped: the next step is to replace it."""
    monkeypatch.setattr(problems, "CANCEL_TIME", 0.05)

    with pytest.raises(
        TimedOut,
        match=r"request 18 in worker 2 \(.*\) is not cancelled yet: its worker did not reply within 0.05 s",
    ) as caught:
        cancel(Instance(None), "18")
    assert "restart-worker 2" in caught.value.hint


def test_a_worker_that_ends_first_has_cancelled_nothing() -> None:
    """There is nothing more to wait for: its requests are gone."""

    class Dying(Instance):
        def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
            reply: Future[Reply] = Future()
            reply.cancel()
            return [Ordered(worker or 0, 99, reply)]

    with pytest.raises(Failed, match=r"request 18 in worker 2 .* was not cancelled: its worker ended"):
        cancel(Dying(None), "18")
