"""The stacks that a worker writes in a signal handler, and tasks that workers share."""

import asyncio
import faulthandler
import os
import signal
import threading
from pathlib import Path

import pytest

from flaskd.supervisor import stack_dumps
from flaskd.supervisor.member import Member
from flaskd.supervisor.overdue import STACKS_TIME
from flaskd.supervisor.stack_dumps import StackDumps, parse
from flaskd.supervisor.tasks import TaskOrders
from flaskd.tasks import Call, CollectGarbage, Reply, StacksTaken, TakeStacks
from flaskd_ctl.errors import Failed, NotFound
from flaskd_ctl.protocol import InFlight
from tests.flaskd.supervisor.conftest import ScriptedWorker, World

REQUEST = InFlight(7, "GET", "/held", 1.0, "127.0.0.1", "flaskd-http-1")
OLD = """\
Thread 0x00007f9e357bc6c0 (most recent call first):
  File "/srv/shop/shop.py", line 24 in poller
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x00007f9e360bd6c0 (most recent call first):
  File "/srv/shop/with "quotes", line 3 in x.py", line 14 in <lambda>
"""
NEW = """\
Thread 0x00007f9e357bc6c0 [flaskd-http-1] (most recent call first):
  File "/srv/shop/shop.py", line 24 in poller
  ...

Thread 0x00007f9e357bc6c1 [idle [1]] (most recent call first):
  <no Python frame>
...
"""


def test_what_python_writes_is_read(tmp_path: Path) -> None:
    """By the Python that runs the tests: this thread is there, with this function."""
    with (tmp_path / "dump").open("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        found = parse(file.read(), {threading.get_ident(): REQUEST})

    (own,) = [each for each in found if each.thread.request]
    assert own.frames[0].function == "test_what_python_writes_is_read"
    assert own.frames[0].file == __file__
    assert own.frames[0].line > 1
    assert own.missing == 0 or len(own.frames) == 100


def test_threads_have_their_requests_by_their_identifiers() -> None:
    """Their names are in it since Python 3.14."""
    first, second = parse(OLD, {0x7F9E360BD6C0: REQUEST})

    assert (first.thread.id, first.thread.name, first.thread.request) == (0x7F9E357BC6C0, "", None)
    assert [(call.function, call.line) for call in first.frames] == [("poller", 24), ("run", 982)]
    assert (second.thread.name, second.thread.request) == ("flaskd-http-1", REQUEST)
    assert (second.frames[0].file, second.frames[0].line) == ('/srv/shop/with "quotes", line 3 in x.py', 14)


def test_a_stack_that_was_cut_says_so() -> None:
    """And a thread without Python code is shown all the same."""
    first, second = parse(NEW, {})

    assert (first.thread.name, len(first.frames), first.missing) == ("flaskd-http-1", 1, 1)
    assert (second.thread.name, second.frames, second.missing) == ("idle [1]", (), 0)


def test_anything_else_is_passed_over() -> None:
    """A worker writes whatever its application lets it write."""
    assert parse('  File "x", line 1 in y\n\0\0\nThread 0x (most recent call first):\nrubbish\n', {}) == []


@pytest.fixture(autouse=True)
def _answers_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted workers have no channel that counts."""
    monkeypatch.setattr(Member, "unanswered", 0)


@pytest.fixture
def worker(world: World, tmp_path: Path) -> ScriptedWorker:
    """A worker that serves, with a file for its stacks."""
    world.up(1)
    worker = world.workers[1]
    descriptor = os.open(tmp_path / "stacks", os.O_RDWR | os.O_CREAT)
    os.dup2(descriptor, worker._held.stacks)
    os.close(descriptor)
    return worker


def test_a_worker_is_asked_by_a_signal(world: World, worker: ScriptedWorker) -> None:
    """What it had written before is gone; who asks meanwhile gets the same."""
    dumps = StackDumps(world.fleet)
    os.write(worker._held.stacks, b"old\n" * 1000)

    first, second = dumps.order(1), dumps.order(1)
    os.write(worker._held.stacks, OLD.encode())
    world.play(STACKS_TIME)

    assert first is second
    assert worker.scripted.signals == [signal.SIGURG]
    assert [each.threads[0].id for each in first.result(0).stacks] == [0x7F9E357BC6C0, 0x7F9E360BD6C0]
    assert os.fstat(worker._held.stacks).st_size == len(OLD)


def test_a_worker_that_writes_nothing_is_told_as_that(world: World, worker: ScriptedWorker) -> None:
    """Whether it ends, or just does not write."""
    dumps = StackDumps(world.fleet)
    silent = dumps.order(1)
    world.play(STACKS_TIME)
    ended = dumps.order(1)
    worker.dies("killed by SIGKILL")
    world.play(STACKS_TIME)

    with pytest.raises(Failed, match=r"wrote no stacks within 0\.5 s"):
        silent.result(0)
    with pytest.raises(Failed, match="ended before it wrote its stacks"):
        ended.result(0)
    with pytest.raises(NotFound, match="there is no worker 1 any more"):
        dumps.order(1)


def test_a_stopped_worker_is_not_waited_for(
    world: World, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no signal before it goes on."""
    monkeypatch.setattr(stack_dumps, "is_stopped", lambda pid: pid == worker.pid)

    with pytest.raises(Failed, match="is stopped"):
        StackDumps(world.fleet).order(1).result(0)
    assert worker.scripted.signals == []


def test_a_worker_that_hangs_is_not_sent_one_task_after_the_other(
    world: World, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a viewer asks: the reply, when it comes, is everybody's."""
    orders = TaskOrders(world.fleet)
    sent: list[asyncio.Future[Reply]] = []

    def call(task: Call) -> "asyncio.Future[Reply]":
        sent.append(world.loop.create_future())
        return sent[-1]

    monkeypatch.setattr(worker, "call", call)

    replies = [orders.order(TakeStacks(), None)[0].reply for _ in range(100)]
    replies[0].cancel()
    taken = StacksTaken(stacks=[])
    sent[0].set_result(taken)
    world.play(0.1)
    orders.order(TakeStacks(), 1)
    orders.order(CollectGarbage(), 1)
    orders.order(CollectGarbage(), 1)

    assert [each.result(0) for each in replies[1:]] == [taken] * 99
    assert len(sent) == 4


def test_a_worker_that_still_loads_may_be_asked_for_its_stacks(world: World) -> None:
    """It may hang there; for other tasks it is too early."""
    world.script = lambda worker: None
    world.begin(1)
    orders = TaskOrders(world.fleet)

    assert [each.worker for each in orders.order(TakeStacks(), None)] == [1]
    with pytest.raises(Exception, match="no worker serves now"):
        orders.order(CollectGarbage(), None)
