"""Errors and slow requests of a real daemon, kept whatever becomes of its workers; and requests that are cancelled."""

import contextlib
import http.client
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaskd import Server
from flaskd_ctl import Client
from flaskd_ctl.errors import NotFound, TimedOut, WrongState
from tests.support import faulty_views
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.operating import Watch, client, ctl

pytestmark = pytest.mark.live

ENGINES = ["granian", "waitress", "werkzeug"]
APP = "tests.support.faulty_views:app"


def get(daemon: Daemon, path: str, request_id: str = "") -> tuple[int, bytes]:
    headers = {"X-Request-ID": request_id} if request_id else {}
    with contextlib.closing(http.client.HTTPConnection(*daemon.address, timeout=PATIENCE)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


@pytest.mark.parametrize("engine", ENGINES)
def test_errors_are_kept_over_reload_and_crash(start_daemon: StartDaemon, engine: str) -> None:
    """The sum is what clients have seen; secrets are masked."""
    daemon = start_daemon(APP, "--workers", "2", "--engine", engine)
    with client(daemon) as shop, Watch(daemon) as watch:
        for number in range(6):
            assert get(daemon, "/raise?password=hunter2", f"id-{number}")[0] == 500
        assert get(daemon, "/unavailable", "last")[0] == 503
        shop.wait("idle", PATIENCE)  # a request is recorded when its last byte is sent
        before = sorted(error.count for error in shop.errors())
        shop.reload()
        assert get(daemon, "/raise")[0] == 500
        shop.wait("idle", PATIENCE)
        os.kill(shop.workers()[-1].pid, signal.SIGKILL)
        watch.until_incident()

        raised, answered = sorted(shop.errors(), key=lambda error: -error.count)

        assert before == [1, 6]
        assert (raised.count, raised.exception) == (7, "tests.support.faulty_views.OutOfStock")
        assert (raised.message, raised.endpoint) == ("no tea, token=***", "fail")
        assert raised.file == faulty_views.__file__
        assert (answered.exception, answered.status, answered.endpoint) == ("", 503, "unavailable")
        assert answered.request_id == "last"
        (whole,) = shop.errors(raised.id)
        assert 'raise OutOfStock(f"no tea, token={token}")' in whole.traceback
        with pytest.raises(NotFound, match="there is no error 'nope'"):
            shop.errors("nope")
    listed, one = ctl(daemon.name, "errors"), ctl(daemon.name, "errors", raised.id)
    assert (listed.returncode, one.returncode) == (0, 0)
    assert "tests.support.faulty_views.OutOfStock: no tea, token=***" in listed.stdout
    assert "Traceback (most recent call last):" in one.stdout
    assert "hunter2" not in listed.stdout + one.stdout


def test_slow_requests_are_kept_over_recycling(start_daemon: StartDaemon) -> None:
    """The slowest first, of all workers."""
    daemon = start_daemon(APP)
    with client(daemon) as shop:
        for _ in range(3):
            get(daemon, "/quick?secret=1")
        shop.restart_worker(1)
        for _ in range(4):
            get(daemon, "/quick?secret=1")
        get(daemon, "/work", "slowest")
        shop.wait("idle", PATIENCE)
        slow = shop.slow(3)

        assert slow[0].request_id == "slowest"
        assert (slow[0].path, slow[0].endpoint, slow[0].status) == ("/work", "work", 200)
        assert slow[0].seconds >= slow[1].seconds >= slow[2].seconds
        assert len(shop.slow()) == 8
        assert {request.path for request in shop.slow()} == {"/work", "/quick"}
        assert {request.worker for request in shop.slow()} == {1, 2}
    shown = ctl(daemon.name, "slow", "--limit", "1")
    assert len(shown.stdout.splitlines()) == 2
    assert ctl(daemon.name, "slow", "--limit", "101").returncode == 2


def in_flight(shop: Client, path: str) -> int:
    """Return the number of the request of this path, once it is in flight."""
    for _ in range(int(PATIENCE * 100)):
        for request in shop.requests():
            if request.path == path:
                return request.id
        threading.Event().wait(0.01)
    raise AssertionError(f"{path} is not in flight")


def in_view(shop: Client, path: str) -> int:
    """Return the number of the request of this path, once its thread is in the view of that name (the first imports)."""
    for _ in range(int(PATIENCE * 100)):
        found = shop.request_stacks(path=path)
        frames = [stack.frames[0] for worker in found.stacks or [] for stack in worker.stacks]
        if [frame.function for frame in frames] == [path[1:]]:
            return found.requests[0].id
        threading.Event().wait(0.01)
    raise AssertionError(f"no request is in the view of {path}")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_request_that_hangs_in_python_is_cancelled(start_daemon: StartDaemon, engine: str) -> None:
    """Its client gets a 503, the audit log has who did it, and `errors` has where it was."""
    daemon = start_daemon(APP, "--engine", engine)
    with client(daemon) as shop, ThreadPoolExecutor(1) as thread:
        asked = thread.submit(get, daemon, "/spin", "spinning")
        in_view(shop, "/spin")

        result = shop.cancel("spinning")

        assert asked.result(PATIENCE) == (503, b"The request was cancelled.\n")
        assert (result.path, result.request_id) == ("/spin", "spinning")
        entry = shop.history()[-1]
        assert (entry.command, entry.outcome, entry.by.uid) == ("cancel", "done", os.getuid())
        assert entry.params == {"id": "spinning"}
        (error,) = shop.errors()
        assert (error.exception, error.function, error.status) == ("flaskd.RequestCancelled", "spin", 503)
        with pytest.raises(NotFound, match="no request 'spinning' is in flight"):
            shop.cancel("spinning")
        assert get(daemon, "/quick")[0] == 200


@pytest.mark.parametrize("engine", ENGINES)
def test_a_streamed_response_is_broken_off(start_daemon: StartDaemon, engine: str) -> None:
    """It had begun: the client must not take it for complete."""
    daemon = start_daemon(APP, "--engine", engine)
    with (
        client(daemon) as shop,
        contextlib.closing(http.client.HTTPConnection(*daemon.address, timeout=PATIENCE)) as connection,
    ):
        connection.request("GET", "/endless")
        response = connection.getresponse()
        assert response.read(5) == b"more\n"

        assert shop.cancel(in_flight(shop, "/endless")).path == "/endless"

        with pytest.raises((http.client.HTTPException, ConnectionError)):
            response.read()


def test_a_thread_in_c_code_is_told_and_cancelled_when_it_returns(start_daemon: StartDaemon) -> None:
    """Python cannot interrupt it; the command says so and fails."""
    daemon = start_daemon(APP)
    with client(daemon) as shop, ThreadPoolExecutor(1) as thread:
        asked = thread.submit(get, daemon, "/sleep")
        number = in_view(shop, "/sleep")

        refused = ctl(daemon.name, "cancel", str(number))

        assert refused.returncode == 5
        assert "its thread is in C code, and will be cancelled when it returns to Python" in refused.stderr
        assert asked.result(PATIENCE) == (503, b"The request was cancelled.\n")


@pytest.mark.parametrize("stop", [signal.SIGSTOP])
def test_a_worker_that_does_not_run_cannot_cancel(start_daemon: StartDaemon, stop: signal.Signals) -> None:
    """The supervisor says so, and everything that does not need the worker is there."""
    daemon = start_daemon(APP)
    with client(daemon) as shop, ThreadPoolExecutor(1) as thread:
        assert get(daemon, "/raise")[0] == 500
        shop.wait("idle", PATIENCE)
        thread.submit(get, daemon, "/spin").add_done_callback(lambda done: done.exception())
        number = in_view(shop, "/spin")
        (worker,) = shop.workers()
        os.kill(worker.pid, stop)
        try:
            with pytest.raises(
                TimedOut, match=r"in worker 1 .* is not cancelled yet: its worker did not reply within 5 s"
            ):
                shop.cancel(number)
            assert [error.function for error in shop.errors()] == ["fail"]
            assert [request.path for request in shop.slow()] == ["/raise"]
        finally:
            os.kill(worker.pid, signal.SIGKILL)


@pytest.mark.usefixtures("runtime_dir")
def test_a_server_in_a_program_has_them_too() -> None:
    """In its own process, without workers."""
    with (
        Server(faulty_views.app, bind="127.0.0.1:0", name="inside") as server,
        Client("inside") as inside,
        ThreadPoolExecutor(1) as thread,
    ):
        address = server.listeners[0].removeprefix("http://").rstrip("/")

        def ask(path: str) -> int:
            with contextlib.closing(http.client.HTTPConnection(address, timeout=PATIENCE)) as connection:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                return response.status

        assert ask("/raise") == 500
        inside.wait("idle", PATIENCE)
        (error,) = inside.errors()
        assert (error.count, error.worker, error.function) == (1, 0, "fail")
        assert inside.errors(error.id)[0].traceback
        assert [request.path for request in inside.slow()] == ["/raise"]
        asked = thread.submit(ask, "/spin")
        assert inside.cancel(in_view(inside, "/spin")).worker == 0
        assert asked.result(PATIENCE) == 503


@pytest.mark.usefixtures("runtime_dir")
def test_without_the_ledger_nothing_is_known() -> None:
    """Which is said, with what there is instead."""
    with (
        Server(faulty_views.app, bind="127.0.0.1:0", name="blind", ledger=False),
        Client("blind") as blind,
    ):
        calls: list[Callable[[], object]] = [blind.errors, blind.slow, lambda: blind.cancel(1)]
        for call in calls:
            with pytest.raises(WrongState, match="ledger of requests is off"):
                call()
