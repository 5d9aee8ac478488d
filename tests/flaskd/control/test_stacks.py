"""`stacks` and `requests`: what is asked of the processes, what is left out, and what becomes of those that do not reply."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from flaskd.control.handlers import stacks as module
from flaskd.control.handlers.stacks import Stacks
from flaskd.tasks import Ordered, Reply, StacksTaken, Task
from flaskd_ctl.errors import Failed, NotFound
from flaskd_ctl.protocol import (
    MAX_MESSAGE,
    Frame,
    InFlight,
    RequestsParams,
    RequestsResult,
    Stack,
    ThreadInfo,
    WorkerParams,
    WorkerStacks,
)

FRAMES = [Frame("view", "/srv/shop/shop.py", 12, "time.sleep(5)")]


def request(
    number: int, worker: int = 1, *, path: str = "/", age: float = 1.0, endpoint: str = "front"
) -> InFlight:
    return InFlight(number, "GET", path, age, "", "", endpoint=endpoint, worker=worker)


def stack(*requests: InFlight, frames: list[Frame] = FRAMES) -> Stack:
    return Stack(
        kind="request", threads=[ThreadInfo(one.id, f"t{one.id}", one) for one in requests], frames=frames
    )


class Processes:
    """Workers 1 and 2: what each replies (None: nothing), and what it writes in its signal handler."""

    def __init__(self, requests: list[InFlight], *replies: Stack | None) -> None:
        self.listed = requests
        self.replies = replies
        self.tasks = 0
        self.dumps: dict[int, Stack] = {}
        self.fleet = SimpleNamespace(
            workers=lambda: SimpleNamespace(workers=[SimpleNamespace(id=n + 1) for n in range(len(replies))])
        )

    def requests(self) -> RequestsResult:
        return RequestsResult(requests=self.listed)

    def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
        self.tasks += 1
        ordered = []
        for number, told in enumerate(self.replies, 1):
            reply: Future[Reply] = Future()
            if told is not None:
                reply.set_result(StacksTaken(stacks=[told]))
            ordered.append(Ordered(number, 100 + number, reply))
        return ordered

    def order_stack_dump(self, worker: int) -> "Future[StacksTaken]":
        dump: Future[StacksTaken] = Future()
        if worker in self.dumps:
            dump.set_result(StacksTaken(stacks=[self.dumps[worker]]))
        else:
            dump.set_exception(Failed("is stopped"))
        return dump


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_TIME", 0.01)


def ask_stacks(instance: Any, worker: int | None = None) -> list[WorkerStacks]:
    call: Any = SimpleNamespace(params=WorkerParams(worker=worker))
    return asyncio.run(Stacks(instance).stacks(call)).workers


def ask(instance: Any, **params: Any) -> RequestsResult:
    call: Any = SimpleNamespace(params=RequestsParams(**params))
    return asyncio.run(Stacks(instance).requests(call))


def test_a_process_that_replies_is_not_signalled() -> None:
    """Its own words know more."""
    told = stack(request(7))

    (one,) = ask_stacks(Processes([], told))

    assert one == WorkerStacks(worker=1, pid=101, stacks=[told])


def test_a_process_that_does_not_reply_writes_its_stacks_in_a_signal_handler() -> None:
    """And the reader is told; one that cannot is an error, and the others are there."""
    processes = Processes([], None, None, stack(request(7)))
    processes.dumps[1] = stack(request(9))

    hung, stopped, well = ask_stacks(processes)

    assert hung.note == "the worker did not reply within 0.01 s; this is from its signal handler"
    assert hung.stacks == [stack(request(9))]
    assert stopped.error == "did not reply within 0.01 s; it is stopped"
    assert (well.note, well.error) == ("", "")


def test_who_asks_meanwhile_gets_the_same_answer() -> None:
    """A crowd of viewers costs a worker no more than one."""
    processes = Processes([], stack(request(7)), None)
    call: Any = SimpleNamespace(params=WorkerParams())

    async def crowd() -> list[Any]:
        handler = Stacks(processes)  # type: ignore[arg-type]
        return await asyncio.gather(*(handler.stacks(call) for _ in range(50)))

    results = asyncio.run(crowd())

    assert processes.tasks == 1
    assert results == [results[0]] * 50


def test_a_process_says_nothing_that_a_terminal_would_act_on() -> None:
    """It is only believed of itself, whatever it says."""
    bad = "\x1b[2J"
    liar = msgspec.structs.replace(request(7, worker=99), path=f"/{bad}", thread=bad)
    told = Stack(kind="request", threads=[ThreadInfo(1, bad, liar)], frames=[Frame(bad, bad, 1, bad)])

    (one,) = ask_stacks(Processes([], told))

    assert "\x1b" not in msgspec.json.encode(one).decode()
    assert "u001b" not in msgspec.json.encode(one).decode()
    assert one.stacks[0].threads[0].request is not None
    assert one.stacks[0].threads[0].request.worker == 1


def test_many_processes_share_the_room_of_a_reply() -> None:
    """What is left out is counted, for each."""
    big = [Frame("f" * 300, "x" * 300, n, "s" * 300) for n in range(90)]
    told = stack(*[request(n) for n in range(30)], frames=big)

    result = ask_stacks(Processes([], *[told] * 30))

    assert len(msgspec.json.encode(result)) < MAX_MESSAGE
    assert all(each.stacks for each in result)
    assert all(each.left_out + len(each.stacks[0].threads) == 30 for each in result)


@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ({}, [1, 2, 3, 4]),
        ({"older": 5.0}, [1, 2]),
        ({"path": "/shop/"}, [2, 3]),
        ({"endpoint": "cart"}, [3]),
        ({"worker": 2}, [4]),
        ({"worker": 1, "older": 2.0, "path": "/shop"}, [2]),
        ({"endpoint": "nothing"}, []),
    ],
)
def test_requests_are_chosen_by_all_that_is_given(params: dict[str, Any], numbers: list[int]) -> None:
    """In the daemon, so that the answer is short."""
    listed = [
        request(1, age=60.0),
        request(2, age=5.0, path="/shop/a"),
        request(3, path="/shop/b", endpoint="cart"),
        request(4, 2, path="/shopping"),
    ]

    found = ask(Processes(listed, None, None), **params)

    assert [one.id for one in found.requests] == numbers
    assert (found.left_out, found.stacks) == (0, None)


def test_chosen_requests_have_their_stacks() -> None:
    """The other threads at the same place, and the other workers, are left out; the same number is another request there."""
    one, two, other = request(1, age=9.0), request(2), request(1, 2)
    processes = Processes([one, two, other], stack(one, two), stack(other))

    found = ask(processes, stacks=True, older=5.0)

    assert found.requests == [one]
    assert found.stacks == [WorkerStacks(worker=1, pid=101, stacks=[stack(one)])]


def test_no_process_is_asked_about_no_request() -> None:
    """There is nothing to show."""
    processes = Processes([request(1)], stack(request(1)))

    assert ask(processes, stacks=True, endpoint="nothing") == RequestsResult(requests=[])
    assert processes.tasks == 0


def test_an_unknown_worker_is_refused() -> None:
    """An empty list would say that it has no request."""
    with pytest.raises(NotFound, match="there is no worker 9"):
        ask(Processes([], None), worker=9)


def test_requests_that_do_not_fit_are_counted() -> None:
    """The oldest are listed; with stacks, too, it is one message."""
    listed = [request(n, path="/" + "x" * 511) for n in range(3000)]
    big = [Frame("f" * 300, "x" * 300, n, "s" * 300) for n in range(90)]
    processes = Processes(listed, *[stack(one, frames=big) for one in listed[:5]])

    found = ask(processes, stacks=True)

    assert found.requests == listed[: len(found.requests)]
    assert found.left_out == 3000 - len(found.requests)
    assert found.requests
    assert len(msgspec.json.encode(found)) < MAX_MESSAGE
