"""`profile`: what is asked of the processes, what of their replies is told, and that nothing goes on for nobody."""

import asyncio
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from flaskd.audit.log import Audit, quiet
from flaskd.control.handlers import diagnosis as module
from flaskd.control.handlers.diagnosis import Diagnosis
from flaskd.tasks import EndProfile, Ordered, ProfileTaken, Reply, TakeProfile, Task
from flaskd_ctl.protocol import (
    MAX_MESSAGE,
    Actor,
    ProfiledFunction,
    ProfiledStack,
    ProfileParams,
    WorkerProfile,
)


def taken(functions: list[ProfiledFunction], stacks: list[ProfiledStack], other: int = 0) -> ProfileTaken:
    return ProfileTaken(
        seconds=10.0, samples=1000, missed=2, longest_gap=0.1, functions=functions, stacks=stacks, other=other
    )


class Peer:
    """A caller, who may go."""

    def __init__(self) -> None:
        self.gone = False

    async def until_gone(self) -> None:
        while not self.gone:
            await asyncio.sleep(0)


class Processes:
    """Processes of which each has one of these replies, or none."""

    def __init__(self, *replies: ProfileTaken | Exception | None) -> None:
        self.replies = replies
        self.tasks: list[tuple[Task, int | None]] = []

    def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
        self.tasks.append((task, worker))
        ordered = []
        for number, told in enumerate(self.replies, 1):
            reply: Future[Reply] = Future()
            if isinstance(told, Exception):
                reply.set_exception(told)
            elif told is not None:
                reply.set_result(told)
            ordered.append(Ordered(number, 100 + number, reply))
        return ordered


def ask(instance: Any, record: Any = None, **params: Any) -> list[WorkerProfile]:
    call: Any = SimpleNamespace(params=ProfileParams(**params), peer=Peer(), record=record)
    return asyncio.run(Diagnosis(instance).profile(call)).workers


def test_each_process_gets_what_was_asked() -> None:
    """And its reply is told with who it is."""
    functions, stacks = [ProfiledFunction("view", "/srv/shop.py", 3)], [ProfiledStack(7, [0])]
    processes = Processes(taken(functions, stacks))

    (one,) = ask(processes, seconds=2.0, rate=50.0, endpoint="cart", worker=1)

    ((task, worker),) = processes.tasks
    assert isinstance(task, TakeProfile)
    assert (task.seconds, task.rate, task.endpoint, task.all_threads, worker) == (2.0, 50.0, "cart", False, 1)
    assert (one.worker, one.pid, one.samples, one.missed) == (1, 101, 1000, 2)
    assert (one.functions, one.stacks, one.other) == (functions, stacks, 0)


def test_a_process_that_cannot_is_told_with_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not reply may hold its GIL: then there are its stacks."""
    monkeypatch.setattr(module, "REPLY_TIME", 0.0)

    silent, refused = ask(Processes(None, RuntimeError("is being profiled already")), seconds=0.1)

    assert silent.error == (
        "did not reply within 0.1 s; something holds the GIL, or it is stopped: try `flaskd_ctl stacks`"
    )
    assert refused.error == "is being profiled already"


def test_many_processes_share_the_room_of_a_reply() -> None:
    """What is left out is counted."""
    functions = [ProfiledFunction("\x1b" + "f" * 500, "x" * 500, n) for n in range(500)]
    stacks = [ProfiledStack(1, list(range(n, n + 40))) for n in range(460)]

    result = ask(Processes(*[taken(functions, stacks, other=2**31 - 1)] * 20))

    encoded = msgspec.json.encode(result)
    assert len(encoded) < MAX_MESSAGE
    assert b"\\u001b" not in encoded
    assert all(each.stacks and each.other == 2**31 for each in result)


@pytest.mark.parametrize(
    ("replies", "logged"),
    [
        ([RuntimeError("it is profiled already")] * 2, ("failed", "it is profiled already")),
        ([RuntimeError("it is profiled already"), taken([], [])], ("done", "")),
    ],
)
def test_the_audit_log_says_that_a_profile_failed_if_each_process_refused(
    replies: list[Any], logged: tuple[str, str], tmp_path: Path
) -> None:
    """A reply that only has errors is no success; one that has some is."""
    audit = Audit(str(tmp_path / "audit"), report=quiet)
    with audit.begin("profile", {}, Actor(via="control", uid=0)) as record:
        ask(Processes(*replies), record=record, seconds=0.1)
    (entry,) = audit.newest(1)
    assert (entry.outcome, entry.error) == logged


@pytest.mark.parametrize("how", ["closes its end", "is cut off"])
def test_a_profile_ends_with_its_caller(how: str) -> None:
    """Whether he goes, or the connection is lost and the handler with it; each process is told."""
    processes = Processes(None)
    peer = Peer()
    call: Any = SimpleNamespace(params=ProfileParams(seconds=600.0, worker=2), peer=peer)

    async def leave() -> None:
        profile = asyncio.ensure_future(Diagnosis(processes).profile(call))  # type: ignore[arg-type]
        while not processes.tasks:
            await asyncio.sleep(0)
        if how == "is cut off":
            profile.cancel()
        peer.gone = True
        with pytest.raises((asyncio.CancelledError, ConnectionResetError)):
            await profile

    asyncio.run(leave())

    (begun, _), (ended, worker) = processes.tasks
    assert isinstance(begun, TakeProfile)
    assert isinstance(ended, EndProfile)
    assert (ended.profile, worker) == (begun.profile, 2)
