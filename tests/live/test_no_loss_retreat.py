"""The law, case by case, when a worker steps back for another: what it waits for, and what its clients see.

Nothing here depends on luck: requests wait at a gate, and a reload says when no old worker accepts anything any more.
"""

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.caller import Caller, call
from tests.support.changing import changes
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.exchange import Plan
from tests.support.gate import Gate
from tests.support.load import Load
from tests.support.operating import Watch, all_gone, client
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

APP = f"{Path(__file__).parents[1] / 'support' / 'gated.py'}:app"


@pytest.fixture
def gate(runtime_dir: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Serve the gate at which the application's requests wait."""
    with Gate(os.path.join(os.path.dirname(runtime_dir), "gate")) as gate:
        monkeypatch.setenv("GATE", gate.path)
        yield gate


@pytest.fixture(params=["werkzeug", "granian"])
def daemon(request: pytest.FixtureRequest, start_daemon: StartDaemon, gate: Gate) -> Daemon:
    """Serve the gated application, by each engine in turn, with a worker that lingers for as long as it takes."""
    return start_daemon(APP, "--threads", "8", "--worker-linger", "20", "--engine", request.param)


def reload(daemon: Daemon) -> None:
    """Replace the workers; returns when no old one accepts anything."""
    with client(daemon) as shop:
        assert shop.reload(timeout=PATIENCE).replaced


def pids(daemon: Daemon) -> list[int]:
    """List the workers' processes, oldest first."""
    with client(daemon) as shop:
        return [worker.pid for worker in shop.workers()]


def test_what_is_in_flight_finishes_in_the_old_worker(daemon: Daemon, gate: Gate) -> None:
    """The reload does not wait for it, and neither does the next client."""
    (old,) = pids(daemon)
    with (
        all_gone(old),
        Caller(daemon.url) as request,
        Caller(daemon.url) as stream,
        Caller(daemon.url) as upload,
    ):
        request.get("/held")
        held = gate.wait_for("held")
        stream.get("/stream").read(until=len("first part\n"))
        streamed = gate.wait_for("stream")
        upload.post("/upload", b"a" * 1000, length=3000)
        gate.wait_for("upload").let_go()
        reload(daemon)
        assert call(daemon.url, "/") == "front\n"
        upload.send(b"b" * 1000).send(b"c" * 1000)
        held.let_go()
        streamed.let_go()

        assert request.text() == "let go\n"
        assert stream.text() == "first part\nlast part\n"
        assert upload.text() == "3000 bytes\n"


def test_a_connection_may_send_its_request_after_its_worker_was_told_to_leave(daemon: Daemon) -> None:
    """Between a connect and its request there is always some time; also in the middle of a request's head."""
    (old,) = pids(daemon)
    with all_gone(old), Caller(daemon.url) as silent, Caller(daemon.url) as half:
        half.send(b"GET / HTTP/1.1\r\nHo")
        assert call(daemon.url, "/") == "front\n"  # accepted in turn: by now the other two are
        reload(daemon)
        silent.get("/")
        half.send(b"st: here\r\n\r\n")

        assert [silent.text(), half.text()] == ["front\n"] * 2


def test_who_waits_in_the_queue_is_served_by_the_new_worker(start_daemon: StartDaemon, gate: Gate) -> None:
    """All threads of the old one are taken; the queue is no worker's own."""
    daemon = start_daemon(APP, "--threads", "2", "--engine", "werkzeug")  # granian has accepted it beforehand
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(Caller(daemon.url)).get("/held") for _ in range(2)]
        holding = [gate.wait_for("held") for _ in taken]
        waiting = [stack.enter_context(Caller(daemon.url)) for _ in range(20)]
        stack.enter_context(all_gone(holding[0].pid))
        reload(daemon)
        for caller in waiting:
            caller.get("/held")
        new = gate.wait_for("held")
        assert new.pid != holding[0].pid
        new.let_go()
        for _ in waiting[1:]:
            gate.wait_for("held").let_go()
        assert [caller.text() for caller in waiting] == ["let go\n"] * 20
        for held in holding:
            held.let_go()
        assert [caller.text() for caller in taken] == ["let go\n"] * 2


def test_slow_reader_gets_all_of_a_large_response(daemon: Daemon) -> None:
    """The application had finished it long before; the old worker stays until the kernel has it."""
    (old,) = pids(daemon)
    with all_gone(old), Caller(daemon.url, receive_buffer=8192) as caller:
        caller.get("/bytes/30000000").read(until=1)
        reload(daemon)
        assert call(daemon.url, "/") == "front\n"
        assert caller.read().body == b"x" * 30_000_000


def test_a_shutdown_waits_for_a_worker_that_was_leaving_already(daemon: Daemon, gate: Gate) -> None:
    """What it still has is no less in flight than what the others have."""
    with Caller(daemon.url) as first:
        first.get("/held")
        held = gate.wait_for("held")
        reload(daemon)
        with Caller(daemon.url) as second:
            second.get("/held")
            held_by_new = gate.wait_for("held")
            assert held_by_new.pid != held.pid
            with Shutdown(daemon) as shutdown:
                shutdown.wait_phase("leaving")
                held.let_go()
                held_by_new.let_go()
                assert [first.text(), second.text()] == ["let go\n"] * 2
                assert shutdown.result()["clean"]
    assert daemon.wait() == 0


SLOW_TO_SAY = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})
from gated import app, hold
from flaskd.serving import Core
serve = Core.serve
def serve_and_wait(core, on_change):
    serve(core, on_change)
    if os.path.exists("wait"):
        hold("accepting")
Core.serve = serve_and_wait
"""


@pytest.mark.parametrize("engine", ["werkzeug", "granian"])
@pytest.mark.parametrize("end", ["shutdown", "scale"])
def test_a_worker_that_has_begun_to_accept_is_never_just_killed(
    start_daemon: StartDaemon, gate: Gate, tmp_path: Path, engine: str, end: str
) -> None:
    """Between its first accept and its word that it serves there is always some time; what it accepted then is answered."""
    (tmp_path / "slow.py").write_text(SLOW_TO_SAY)
    daemon = start_daemon("slow:app", "--threads", "8", "--engine", engine)
    (tmp_path / "wait").touch()
    with contextlib.ExitStack() as stack, Watch(daemon) as watch:
        os.kill(daemon.pid, signal.SIGTTIN)
        new = gate.wait_for("accepting")
        while True:  # the old one accepts, too
            caller = stack.enter_context(Caller(daemon.url)).get("/held")
            held = gate.wait_for("held")
            if held.pid == new.pid:
                break
            held.let_go()
            assert caller.text() == "let go\n"
        if end == "shutdown":
            shutdown = stack.enter_context(Shutdown(daemon))
            shutdown.wait_begun()
        else:
            os.kill(daemon.pid, signal.SIGTTOU)
            watch.until_worker("leaving", worker=2)
        new.let_go()
        held.let_go()

        assert caller.text() == "let go\n"
        if end == "shutdown":
            assert shutdown.result()["clean"]


@pytest.fixture
def keeping(start_daemon: StartDaemon, tmp_path: Path) -> Callable[..., Daemon]:
    """Start granian, which keeps connections, with an application that answers with its process id."""
    (tmp_path / "who.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [str(os.getpid()).encode()]\n"
    )
    return functools.partial(start_daemon, "who.py:app", "--engine", "granian")


def test_a_kept_connection_is_answered_and_asked_to_leave(keeping: Callable[..., Daemon]) -> None:
    """By the worker that it has; its client finds the new one with its next connection."""
    daemon = keeping("--worker-linger", "20")
    (old,) = pids(daemon)
    with Caller(daemon.url) as kept, all_gone(old):
        for _ in range(2):
            assert kept.get("/").text() == f"{old}"
            assert kept.response.reusable
        reload(daemon)
        assert kept.get("/").text() == f"{old}"
        assert kept.response.headers["connection"] == "close"
        assert kept.closed_by_peer()
        assert call(daemon.url, "/") != f"{old}"


def test_an_idle_kept_connection_holds_its_worker_no_longer_than_the_linger(
    keeping: Callable[..., Daemon],
) -> None:
    """Then it is closed; whoever would use it just then meets HTTP's own race (RFC 9112, section 9.3.1)."""
    daemon = keeping("--worker-linger", "0.3")
    (old,) = pids(daemon)
    with Caller(daemon.url) as kept, all_gone(old):
        assert kept.get("/").text() == f"{old}"
        reload(daemon)
        assert kept.closed_by_peer()


def test_a_linger_shorter_than_the_pauses_of_clients_costs_races_and_nothing_else(
    start_daemon: StartDaemon,
) -> None:
    """A client can send them again; what it sends on a fresh connection is answered all the same."""
    daemon = start_daemon("httpbin:app", "--engine", "granian", "--worker-linger", "0.2")
    with Load(daemon.url, Plan(mode="open", rate=4, send_delay=0.1, think=2.0)) as load:
        load.wait_answered(8)
        changes(daemon, "reload", 6, workers=1)
        report = load.end()
    assert (report.lost, report.refused) == ([], 0)
    assert report.idle_closed + len(report.races) > 0
