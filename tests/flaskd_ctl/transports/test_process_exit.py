"""Gone means gone: the process has ended, or nothing listens any more."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from flaskd_ctl import AsyncClient, Client
from flaskd_ctl.client.waiting import Wait
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import ConnectionLost
from flaskd_ctl.transports.backend import BLOCKING, run
from flaskd_ctl.transports.process_exit import ProcessExit
from tests.flaskd_ctl.conftest import Ctl
from tests.flaskd_ctl.fake import PATIENCE, Call, Fake, StreamFake, golden

CHILD = str(Path(__file__).parent / "child.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the platform has no pidfd")


class Child:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def hear(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == line

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


StartChild = Callable[..., AbstractContextManager[Child]]


@pytest.fixture
def start_child(place: Place) -> StartChild:
    os.mkdir(place.directory)

    @contextmanager
    def run(*arguments: str) -> Iterator[Child]:
        command = [sys.executable, CHILD, place.sock, *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            child = Child(process)
            try:
                child.hear("listening")
                yield child
            finally:
                if process.stdin and not process.stdin.closed:
                    process.stdin.close()
                process.kill()

    return run


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def ways_to_stop() -> dict[str, Callable[[], object]]:
    async def stop_async() -> object:
        async with AsyncClient("shop") as client:
            return await client.shutdown()

    return {
        "Client.shutdown": lambda: Client("shop").shutdown(),
        "Client.kill": lambda: Client("shop").kill(),
        "AsyncClient.shutdown": lambda: asyncio.run(stop_async()),
    }


@pytest.mark.parametrize("way", ways_to_stop())
def test_a_stop_returns_when_the_process_is_gone_and_not_before(
    start_child: StartChild, pool: ThreadPoolExecutor, way: str
) -> None:
    """The daemon has answered and closed its connection, and yet is there: the client waits."""
    with start_child() as child:
        stopped: Future[object] = pool.submit(ways_to_stop()[way])
        child.hear("kill" if "kill" in way else "shutdown")
        assert not stopped.done()

        child.end()

        stopped.result(PATIENCE)
        with ProcessExit(BLOCKING, "/nowhere", child.process.pid) as after:
            gone = after.pidfd is None or run(after.wait(process_exits=True, deadline=time.monotonic()))
        assert gone


def test_the_command_line_waits_for_the_process_too(
    start_child: StartChild, pool: ThreadPoolExecutor, ctl: Ctl
) -> None:
    with start_child() as child:
        stopped = pool.submit(ctl, "--name", "shop", "shutdown")
        child.hear("shutdown")
        assert not stopped.done()

        child.end()

        assert stopped.result(PATIENCE).code == 0


def test_a_process_that_stays_is_exit_5(start_child: StartChild, ctl: Ctl) -> None:
    with start_child() as child:
        code, out, err = ctl("shutdown", "--timeout", "0.5")

    assert (code, out) == (5, "")
    assert f"pid {child.process.pid} is still there" in err


def test_a_process_that_dies_without_a_word_is_told_as_such(
    start_child: StartChild, pool: ThreadPoolExecutor
) -> None:
    with start_child("mute") as child:
        stopped = pool.submit(lambda: Client("shop").shutdown())
        child.hear("shutdown")
        child.end()

        with pytest.raises(ConnectionLost, match=rf"pid {child.process.pid}\) ended before it said how"):
            stopped.result(PATIENCE)


def test_a_kill_needs_no_word_when_the_process_is_gone(
    start_child: StartChild, pool: ThreadPoolExecutor
) -> None:
    with start_child("mute") as child:
        killed = pool.submit(lambda: Client("shop").kill())
        child.hear("kill")
        child.end()

        assert killed.result(PATIENCE).pid == child.process.pid


def test_waiting_for_stopped_waits_for_the_process(start_child: StartChild, pool: ThreadPoolExecutor) -> None:
    with start_child() as child:
        wait = Wait(BLOCKING, lambda: Instances().target("shop"), "stopped", timeout=PATIENCE)
        waited = pool.submit(run, wait.until_reached())
        child.hear("status")
        assert not waited.done()

        Client("shop").shutdown(wait=False)
        child.end()

        assert waited.result(PATIENCE)["process_exits"]


def test_a_program_that_goes_on_is_gone_when_nothing_listens(fake: Fake) -> None:
    """flaskd.Server inside a program: this very process, which stays."""
    let_go = threading.Event()
    answered = threading.Event()

    def stay_a_while(call: Call) -> None:
        call.reply(golden("shutdown") | {"process_exits": False})
        answered.set()
        assert let_go.wait(PATIENCE)
        call.fake.die()

    fake.on("shutdown", stay_a_while)
    with ThreadPoolExecutor() as pool:
        stopped = pool.submit(lambda: Client("shop").shutdown())
        assert answered.wait(PATIENCE)
        assert not stopped.done()

        let_go.set()

        stopped.result(PATIENCE)
    assert not fake.listens()


def test_a_successor_at_the_same_place_counts_as_gone(place: Place) -> None:
    """A restart between two looks must not look like an instance that stays."""
    with StreamFake(place) as first, ProcessExit(BLOCKING, first.path, None) as watcher:
        first.die()
        with StreamFake(place) as successor:
            assert run(watcher.wait(process_exits=False, deadline=time.monotonic() + PATIENCE))
            assert successor.listens()


def test_a_pid_that_cannot_be_watched_falls_back_to_the_socket(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS, or another pid namespace."""
    monkeypatch.delattr(os, "pidfd_open")

    with ProcessExit(BLOCKING, fake.path, os.getpid()) as watcher:
        assert not watcher.has_descriptor(process_exits=True)
        assert not run(watcher.wait(process_exits=True, deadline=time.monotonic() + 0.1))
        fake.die()
        assert run(watcher.wait(process_exits=True, deadline=time.monotonic() + PATIENCE))


def test_gone_includes_that_the_name_is_free(fake: Fake) -> None:
    """The lock goes a moment after the sockets; who starts a successor at once must find it free."""
    lock = Path(fake.place.lock)
    lock.touch()
    with ThreadPoolExecutor() as pool, ProcessExit(BLOCKING, fake.path, None) as watcher:
        deadline = time.monotonic() + PATIENCE
        gone = pool.submit(run, watcher.wait(process_exits=False, deadline=deadline))
        fake.die()
        lock.unlink()
        assert gone.result(PATIENCE)
        assert not lock.exists()
