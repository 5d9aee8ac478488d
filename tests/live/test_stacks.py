"""What each thread of a real daemon's workers does, and what is known of a worker that cannot say it."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from flaskd import Server
from flaskd_ctl import Client
from flaskd_ctl.errors import NotFound, WrongState
from flaskd_ctl.protocol import Stack, WorkerStacks
from tests.support import gated
from tests.support.caller import Caller
from tests.support.daemons import Daemon, StartDaemon
from tests.support.gate import Gate
from tests.support.operating import Watch, client, ctl, until_stopped

pytestmark = pytest.mark.live

ROOT: Final = Path(__file__).parents[2]
ENGINES: Final = ["waitress", "granian", "werkzeug"]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, runtime_dir: str) -> Iterator[Gate]:
    """Where requests of the application wait until the test lets them go."""
    monkeypatch.setenv("GATE", f"{runtime_dir}/gate")
    with Gate(f"{runtime_dir}/gate") as gate:
        yield gate


def start(start_daemon: StartDaemon, *args: str, when_imported: str = "") -> Daemon:
    environ = {"WHEN_IMPORTED": when_imported}
    return start_daemon("tests.support.faulty:app", *args, cwd=ROOT, environ=environ)


def of_request(worker: WorkerStacks) -> Stack:
    """Return the only stack of requests, which comes first."""
    (stack,) = [each for each in worker.stacks if each.kind == "request"]
    assert worker.stacks[0] is stack
    return stack


def application(stack: Stack) -> list[str]:
    """The functions of the application in a stack, without the server's."""
    return [frame.function for frame in stack.frames[: len(stack.frames) - stack.server_frames]]


@pytest.mark.parametrize("engine", ENGINES)
def test_requests_at_the_same_place_are_one_stack(start_daemon: StartDaemon, gate: Gate, engine: str) -> None:
    """With who they are; the server's own threads come last and none of them is taken for the application's."""
    daemon = start(start_daemon, "--engine", engine)
    with Caller(daemon.url) as first, Caller(daemon.url) as second, client(daemon) as shop:
        first.get("/held/a")
        gate.wait_for("a")
        second.get("/held/b")
        gate.wait_for("b")

        (worker,) = shop.stacks()
        listed = {request.request_id for request in shop.requests()}

    assert (worker.note, worker.error, worker.left_out) == ("", "", 0)
    stack = of_request(worker)
    assert [one.request.path for one in stack.threads if one.request] == ["/held/a", "/held/b"]
    assert {one.request.request_id for one in stack.threads if one.request} == listed
    assert {one.request.endpoint for one in stack.threads if one.request} == {"held"}
    assert application(stack)[:2] == ["hold", "held"]
    assert application(stack)[-1] == "Flask.__call__"
    assert stack.frames[0].source == "gate.recv(1)"
    assert {each.kind for each in worker.stacks[1:]} == {"server"}
    names = {one.name for each in worker.stacks for one in each.threads}
    assert "flaskd-channel" in names
    assert "flaskd-task" not in names


def test_the_command_shows_the_application_first(start_daemon: StartDaemon, gate: Gate) -> None:
    """In text that a person reads from the top."""
    daemon = start(start_daemon)
    with Caller(daemon.url) as caller:
        caller.get("/held/a")
        gate.wait_for("a")
        told = ctl("shop", "stacks")
        one = ctl(
            "shop", "requests", "--stacks", "--path", "/held", "--endpoint", "held", "--older", "0.001s"
        )
        none = ctl("shop", "requests", "--stacks", "--endpoint", "front")
        bad = ctl("shop", "requests", "--older", "soon")
        unknown = ctl("shop", "requests", "--worker", "9")

    lines = told.stdout.splitlines()
    assert lines[0].startswith("worker 1 (pid ")
    assert lines[2].startswith("  GET /held/a: ")
    assert lines[3].startswith("    hold at ")
    assert lines[4] == "      gate.recv(1)"
    assert lines.index("  flaskd's own:") > 10
    assert "hold at " in one.stdout
    assert "flaskd's own" not in one.stdout
    assert none.stdout == "no such request in flight\n"
    assert (bad.returncode, unknown.returncode) == (2, 1)
    assert "'soon' is not a duration" in bad.stderr
    assert "there is no worker 9. See `flaskd_ctl workers`" in unknown.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_whose_gil_is_held_writes_its_stacks_in_a_signal_handler(
    start_daemon: StartDaemon, gate: Gate, engine: str
) -> None:
    """Again and again; each thread has its request, and the reader is told why there is no more."""
    daemon = start(start_daemon, "--engine", engine)
    with Caller(daemon.url) as stuck, Caller(daemon.url) as other, client(daemon) as shop:
        other.get("/held/a")
        gate.wait_for("a")
        stuck.get("/gil/60")
        gate.wait_for("gil").let_go()

        for _ in range(2):
            (worker,) = shop.stacks()

            assert worker.note == "the worker did not reply within 1 s; this is from its signal handler"
            stacks = {
                one.request.path: application(each)
                for each in worker.stacks
                for one in each.threads
                if one.request
            }
            assert stacks["/gil/60"][0] == "keep_gil"
            assert stacks["/held/a"][:2] == ["hold", "held"]
            assert stacks["/held/a"][-1] == "__call__"
        found = shop.request_stacks(path="/gil")
        shop.kill()

    assert [request.path for request in found.requests] == ["/gil/60"]
    assert [application(of_request(each))[0] for each in found.stacks or []] == ["keep_gil"]


def test_a_stopped_worker_can_say_nothing(start_daemon: StartDaemon) -> None:
    """It is told as that, and the others are there."""
    daemon = start(start_daemon, "--workers", "2")
    with client(daemon) as shop:
        stopped, other = (worker.pid for worker in shop.workers())
        os.kill(stopped, signal.SIGSTOP)
        try:
            until_stopped(stopped)
            told = ctl("shop", "stacks", "--json")
        finally:
            os.kill(stopped, signal.SIGCONT)
        first, second = json.loads(told.stdout)["workers"]

        assert told.returncode == 7
        assert (first["pid"], second["pid"]) == (stopped, other)
        assert first["error"] == (
            "did not reply within 1 s; it is stopped (as by SIGSTOP), so it cannot write its stacks"
        )
        assert second["stacks"]
        (again,) = shop.stacks(worker=1)
        assert (again.error, again.note) == ("", "")
        with pytest.raises(NotFound, match="there is no worker 9"):
            shop.stacks(worker=9)


def test_a_worker_that_does_not_get_through_its_imports_shows_where(
    start_daemon: StartDaemon, gate: Gate, tmp_path: Path
) -> None:
    """Before it serves; that is when it is needed most."""
    flag = tmp_path / "second start"
    daemon = start(start_daemon, when_imported=f"import os\nif os.path.exists({str(flag)!r}): hold('import')")
    flag.touch()
    with client(daemon) as shop, Watch(daemon, "scale", by=1) as scaling:
        held = gate.wait_for("import")

        (worker,) = shop.stacks(worker=2)

        assert (worker.note, worker.error) == ("", "")
        assert [each.frames[0].source for each in worker.stacks if each.kind == "application"] == [
            "gate.recv(1)"
        ]
        held.let_go()
        assert scaling.reply()["workers"] == 2


def test_a_server_in_a_program_shows_its_own_threads(runtime_dir: str, gate: Gate) -> None:
    """The program's are the application's."""
    with Server(gated.app, bind="127.0.0.1:0", name="inside") as server, Client("inside") as inside:
        with Caller(server.listeners[0]) as caller:
            caller.get("/held")
            held = gate.wait_for("held")
            (only,) = inside.stacks()
            found = inside.request_stacks(endpoint="held")
            held.let_go()

        assert (only.worker, only.pid, only.error) == (0, os.getpid(), "")
        assert application(of_request(only))[:2] == ["hold", "held"]
        assert "MainThread" in {
            one.name for each in only.stacks if each.kind == "application" for one in each.threads
        }
        assert [request.path for request in found.requests] == ["/held"]
        assert [application(of_request(each))[:2] for each in found.stacks or []] == [["hold", "held"]]
        for ask in (inside.stacks, inside.gc):
            with pytest.raises(WrongState, match="inside serves in one process, which has no workers"):
                ask(1)
