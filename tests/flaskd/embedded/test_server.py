"""`Server`: what a program sees of it."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flaskd
from flaskd import Server
from flaskd.errors import BindError, ConfigError, IllegalMove, NameTaken
from flaskd.process import signals
from tests.flaskd.conftest import WAIT, App, Http, Wire

Serve = Callable[..., Server]
Connect = Callable[[Server], Wire]


def test_it_serves_when_start_returns_and_not_after_exit(app: App) -> None:
    """Ready is announced, not guessed; after the with block the port is closed and the place empty."""
    with Server(app, bind="127.0.0.1:0", name="shop") as server:
        assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")
        directory = Path(server.endpoints[0].removeprefix("ipc://")).parent
        assert {"lock", "zmq", "sock", "instance.json"} == {path.name for path in directory.iterdir()}
    assert not directory.exists()
    with pytest.raises(ConnectionRefusedError):
        Http.get(server.listeners[0], "/")


def test_no_thread_is_left_behind(app: App) -> None:
    """Everything that was started ends."""
    before = set(threading.enumerate())
    for _ in range(3):
        with Server(app, bind="127.0.0.1:0") as server:
            Http.get(server.listeners[0], "/").answer()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)
    assert before == set(threading.enumerate())


def test_several_addresses_are_served(app: App, serve: Serve, tmp_path: Path) -> None:
    """IPv4, IPv6 and a Unix socket at once, with the real ports told."""
    path = f"{tmp_path}/h"
    server = serve(bind=["127.0.0.1:0", "[::1]:0", f"unix:{path}"])

    assert ":0" not in "".join(server.listeners[:2])
    for url in server.listeners[:2]:
        assert Http.get(url, "/").answer().endswith(b"hello")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WAIT)
        sock.connect(path)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_shutdown_from_a_request_handler_answers_its_own_request(app: App, serve: Serve) -> None:
    """`app.extensions["flaskd"]` is how an application finds its server."""
    app.add_url_rule("/stop", "stop", lambda: str(app.extensions["flaskd"].shutdown() is not None))
    server = serve()

    answer = Http.get(server.listeners[0], "/stop").answer()

    assert answer.endswith(b"True")
    assert server.shutdown().result(WAIT).clean


def test_shutdown_waits_for_what_is_in_flight(app: App, serve: Serve) -> None:
    """A request that was begun is answered in full; the port is closed meanwhile."""
    server = serve()
    held = Http.get(server.listeners[0], "/held")
    app.came.acquire(timeout=WAIT)
    stopping = threading.Event()
    server.bus.subscribe(lambda event: stopping.set() if getattr(event, "phase", "") == "leaving" else None)

    stopped = server.shutdown()

    assert stopping.wait(WAIT)
    assert not stopped.done()
    with pytest.raises(ConnectionRefusedError):
        Http.get(server.listeners[0], "/")
    app.let_go.set()
    assert held.answer().endswith(b"let go")
    result = stopped.result(WAIT)
    assert (result.clean, result.answered, result.cut) == (True, 1, [])


def test_a_request_that_outlives_the_deadline_is_cut_and_named(app: App, serve: Serve) -> None:
    """The operator set the deadline; the reply says what it cost."""
    server = serve()
    held = Http.get(server.listeners[0], "/held?secret=1")
    app.came.acquire(timeout=WAIT)

    result = server.shutdown(grace=0.1).result(WAIT)

    assert (result.clean, result.connections_cut) == (False, 1)
    assert [(r.method, r.path, r.endpoint, r.rule) for r in result.cut] == [("GET", "/held", "held", "/held")]
    with contextlib.suppress(ConnectionResetError):  # a reset says the same
        assert held.answer() == b""


def test_a_second_shutdown_brings_the_deadline_nearer(app: App, serve: Serve) -> None:
    """It joins the first, whose caller gets the same news."""
    server = serve()
    held = Http.get(server.listeners[0], "/held")
    app.came.acquire(timeout=WAIT)
    first = server.shutdown(grace=1000)

    second = server.shutdown(grace=0)

    assert not second.result(WAIT).clean
    assert first.result(WAIT) == second.result(WAIT)
    held.socket.close()


def test_asking_a_stopped_server_to_stop_is_harmless(app: App) -> None:
    """The future that was is returned."""
    server = Server(app, bind="127.0.0.1:0")
    server.start()
    first = server.shutdown().result(WAIT)
    assert first == server.shutdown().result(WAIT)


def test_a_server_serves_once(app: App, serve: Serve) -> None:
    """Starting again raises, and changes nothing."""
    server = serve()
    with pytest.raises(IllegalMove, match="cannot start an instance that is running"):
        server.start()
    assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")


def test_operating_a_server_that_was_not_started_is_said(app: App) -> None:
    """Not now is not the same as wrong."""
    with pytest.raises(IllegalMove, match="not started"):
        Server(app).shutdown()


def test_a_name_that_is_taken_undoes_nothing_of_the_first(app: App, serve: Serve) -> None:
    """The second one is told who lives there."""
    server = serve(name="shop")
    with pytest.raises(NameTaken, match="is already running in") as caught:
        Server(App(), bind="127.0.0.1:0", name="shop").start()
    assert caught.value.pid == server.status().pid
    assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")


def test_a_busy_port_is_said_with_its_holder_and_everything_undone(
    app: App, serve: Serve, runtime_dir: str
) -> None:
    """The claim of a server that could not bind is given back."""
    server = serve(name="first")
    address = server.listeners[0].removeprefix("http://")
    with pytest.raises(
        BindError, match=rf"cannot listen on {address}: the address is in use by .* \(pid \d+\)"
    ):
        Server(App(), bind=address, name="second").start()
    assert [path.name for path in Path(runtime_dir).iterdir()] == ["first"]


@pytest.mark.parametrize(
    "settings", [{"threads": 0}, {"bind": []}, {"grace": -1}, {"speed": 1}, {"grace": "x"}]
)
def test_a_bad_setting_is_said_at_once(app: App, settings: dict[str, Any]) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigError):
        Server(app, **settings)


def test_drain_takes_out_of_rotation_and_serves_on(app: App, serve: Serve) -> None:
    """Readiness is off; `resume` puts it back; both say whether they changed anything."""
    server = serve()
    assert ((drained := server.drain().result(WAIT)).changed, drained.ready) == (True, False)
    assert server.drain().result(WAIT).changed is False
    answer = Http.get(server.listeners[0], "/").answer()
    assert answer.endswith(b"hello")
    assert answer.lower().count(b"connection: close") == 1
    assert server.resume().result(WAIT).ready


def test_an_application_without_control_or_ledger_is_served_and_stopped(app: App, serve: Serve) -> None:
    """Both can be switched off; what is in flight is still waited for."""
    server = serve(control=False, ledger=False)
    held = Http.get(server.listeners[0], "/held")
    app.came.acquire(timeout=WAIT)
    stopped = server.shutdown()
    app.let_go.set()
    assert held.answer().endswith(b"let go")
    assert stopped.result(WAIT).clean
    assert server.endpoints == []


def test_requests_without_the_ledger_is_the_wrong_state(app: App, serve: Serve, connect: Connect) -> None:
    """An empty list would be a lie."""
    reply = connect(serve(ledger=False)).ask("requests")
    assert reply["error"]["data"]["name"] == "wrong_state"
    assert "ledger" in reply["error"]["message"]


def test_no_public_route_can_stop_the_server_by_default(app: App, serve: Serve) -> None:
    """The classic hook is absent unless the operator asks for it."""
    import flask

    seen: list[object] = []

    def look() -> str:
        seen.append(flask.request.environ.get("werkzeug.server.shutdown"))
        return "seen"

    app.add_url_rule("/env", "env", look)
    Http.get(serve().listeners[0], "/env").answer()
    assert seen == [None]


def test_the_classic_hook_stops_it_after_answering_when_asked_for(app: App, serve: Serve) -> None:
    """The snippet of old works unchanged with `werkzeug_shutdown_hook`."""
    from flask import request

    @app.post("/shutdown")
    def shutdown() -> str:
        func = request.environ.get("werkzeug.server.shutdown")
        if func is None:
            raise RuntimeError("Not running with the Werkzeug Server")
        func()
        return "Server shutting down..."

    server = serve(werkzeug_shutdown_hook=True)

    answer = Http(
        server.listeners[0], b"POST /shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    ).answer()

    assert answer.endswith(b"Server shutting down...")
    assert server.shutdown().result(WAIT).clean
    assert (server.status().requested_by or pytest.fail("nobody")).via == "http"


def test_off_the_main_thread_no_signal_handler_is_installed(app: App) -> None:
    """`serve()` on a thread leaves the program's signals alone."""
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    server = Server(app, bind="127.0.0.1:0")
    running = threading.Event()
    server.bus.subscribe(lambda event: running.set())
    thread = threading.Thread(target=server.serve)
    thread.start()
    assert running.wait(WAIT)
    assert before == {number: signal.getsignal(number) for number in signals.STOPPING}
    server.shutdown()
    thread.join(WAIT)
    assert not thread.is_alive()


@pytest.mark.parametrize("number", signals.STOPPING)
def test_a_signal_is_a_graceful_shutdown_and_a_second_one_cuts(app: App, number: signal.Signals) -> None:
    """The handlers only wake the owner, and the old ones are back afterwards."""
    before = signal.getsignal(number)
    server = Server(app, bind="127.0.0.1:0", grace=1000)
    leaving = threading.Event()

    def act(event: Any) -> None:
        if getattr(event, "phase", "") == "leaving":
            leaving.set()
        if getattr(event, "state", "") == "running":
            threading.Thread(target=ask).start()

    def ask() -> None:
        held = Http.get(server.listeners[0], "/held")
        app.came.acquire(timeout=WAIT)
        os.kill(os.getpid(), number)
        assert leaving.wait(WAIT)
        with pytest.raises(ConnectionRefusedError):
            Http.get(server.listeners[0], "/")
        assert server.status().in_flight == 1
        os.kill(os.getpid(), number)
        held.socket.close()

    server.bus.subscribe(act)
    result = server.serve()

    assert (result.clean, result.cut[0].path) == (False, "/held")
    assert number.name == (server.status().requested_by or pytest.fail("nobody")).detail
    assert before == signal.getsignal(number)
    app.let_go.set()


def test_an_ignored_interrupt_stays_ignored(app: App) -> None:
    """A script's background daemon does not end with the Ctrl-C that is meant for the script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.stop_on_signals(lambda name, again: pytest.fail(name)):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_run_is_a_drop_in_for_app_run(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    """`flaskd.run(app, host, port)` prints where it serves and blocks until stopped."""
    done: list[bool] = []
    thread = threading.Thread(
        target=lambda: done.append(flaskd.run(app, "127.0.0.1", 0, debug=False, threaded=True).clean)
    )
    thread.start()
    deadline = time.monotonic() + WAIT
    while "flaskd" not in app.extensions and time.monotonic() < deadline:
        thread.join(0.05)
    app.extensions["flaskd"].shutdown()
    thread.join(WAIT)
    assert done == [True]
    printed = capfd.readouterr().err
    assert "http://127.0.0.1:" in printed
    assert "stopped" in printed.splitlines()[-1]


def test_run_takes_bind_in_place_of_host_and_port(app: App, tmp_path: Path) -> None:
    """A Unix socket has neither; both are a contradiction."""
    with pytest.raises(ConfigError, match="both bind and a host or port"):
        flaskd.run(app, port=0, bind="127.0.0.1:0")
    path = tmp_path / "http"
    thread = threading.Thread(target=lambda: flaskd.run(app, bind=[f"unix:{path}"]))
    thread.start()
    deadline = time.monotonic() + WAIT
    while not ("flaskd" in app.extensions and path.exists()) and time.monotonic() < deadline:
        thread.join(0.05)
    app.extensions["flaskd"].shutdown()
    thread.join(WAIT)
    assert not thread.is_alive()


def test_run_refuses_the_reloader_with_a_sentence(app: App) -> None:
    """What cannot be had is said, not ignored."""
    with pytest.raises(ConfigError, match="no use_reloader"):
        flaskd.run(app, port=0, use_reloader=True)
