"""The edges of an instance's life: orders that come too late, starts that fail, and what must not end it early."""

import asyncio
import contextlib
import gc
import io
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import flask
import pytest
import zmq

from flaskd import Server
from flaskd.audit.log import Audit
from flaskd.console.say import say
from flaskd.control import claim
from flaskd.control.access.policy import Rules
from flaskd.control.handlers import streams
from flaskd.control.registry import Registry
from flaskd.control.server import ControlServer
from flaskd.control.transports.local import LocalServer
from flaskd.embedded import running
from flaskd.errors import BindError, ClaimError, ConfigError, IllegalMove
from flaskd.instance import Instance
from flaskd.listening import listeners
from flaskd.settings.sources import resolve
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.protocol import Actor, ShutdownParams, StateEvent
from tests.flaskd.conftest import WAIT, App, Http, Wire
from tests.support.needs import requires

Serve = Callable[..., Server]
Connect = Callable[[Server], Wire]


def test_an_order_that_comes_after_the_end_is_answered(app: App) -> None:
    """Whoever waits for its future would wait for ever."""
    with Server(app, bind="127.0.0.1:0") as server:
        pass
    assert isinstance(server.drain().exception(WAIT), IllegalMove)
    late = server._checked().order_shutdown(Actor(via="code"), ShutdownParams(lame_duck=0)).result(WAIT)
    assert late.joined
    assert late.clean


def test_a_shutdown_that_comes_in_the_last_moment_gets_its_reply(serve: Serve, connect: Connect) -> None:
    """It came while the control socket was open; the result is known, and the stop does not wait for it."""
    server = serve()
    wire = connect(server)

    def ask(event: Any) -> None:
        if isinstance(event, StateEvent) and event.state == "stopped":
            wire.send("shutdown")

    server.bus.subscribe(ask)
    server.shutdown().result(WAIT)
    assert wire.receive()["result"]["joined"]


def test_a_kill_ends_a_shutdown_that_is_under_way(app: App, serve: Serve) -> None:
    """Its listeners are closed already; what it waited for is cut and named."""
    server = serve()
    with Http.get(server.listeners[0], "/held").socket:
        assert app.came.acquire(timeout=WAIT)
        leaving = threading.Event()

        def see(event: Any) -> None:
            if getattr(event, "phase", "") == "leaving":
                leaving.set()

        server.bus.subscribe(see)
        stopped = server.shutdown(grace=WAIT)
        assert leaving.wait(WAIT)
        server._checked().order_kill(Actor(via="code"))
        result = stopped.result(WAIT)
    assert server.killed
    assert [request.path for request in result.cut] == ["/held"]


def test_who_waits_is_told_of_a_failure_when_all_is_closed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another instance may take the name at once."""

    def fail(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Instance, "ended", fail)
    server = Server(app, bind="127.0.0.1:0")
    there: list[bool] = []

    def stop(event: Any) -> None:
        if getattr(event, "state", "") == "running":
            directory = os.path.dirname(server.endpoints[0].removeprefix("ipc://"))
            server.shutdown().add_done_callback(lambda stopped: there.append(os.path.exists(directory)))

    server.bus.subscribe(stop)
    with pytest.raises(RuntimeError, match="a bug"):
        server.serve()
    assert there == [False]


@pytest.mark.parametrize("seconds", [math.inf, math.nan, -1.0, "soon"])
def test_seconds_that_are_none_are_refused_where_they_are_given(seconds: Any, app: App, serve: Serve) -> None:
    """In the owner's thread they would end the instance, and lose what is in flight."""
    server = serve()
    held = Http.get(server.listeners[0], "/held")
    assert app.came.acquire(timeout=WAIT)
    with pytest.raises(ConfigError, match="grace"):
        server.shutdown(grace=seconds)
    with pytest.raises(ConfigError, match="lame_duck"):
        server.shutdown(lame_duck=seconds)
    with pytest.raises(ConfigError, match="wait_unrouted"):
        server.shutdown(wait_unrouted=seconds)
    assert server.status().state == "running"
    app.let_go.set()
    assert held.answer().endswith(b"let go")


def test_a_start_that_failed_may_be_tried_again(app: App) -> None:
    """Nothing of the first one is left, so nothing is in the way."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        server = Server(app, bind=["127.0.0.1:0", address])
        with pytest.raises(BindError):
            server.start()
    with server:
        assert len(server.listeners) == 2
        assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")


def test_who_stops_a_start_that_fails_is_told(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order came between the first request served and the failure."""
    server = Server(app, bind="127.0.0.1:0")
    asked: list[Future[Any]] = []

    def start(control: ControlServer) -> None:
        asked.append(server.shutdown())
        raise RuntimeError("no control socket")

    monkeypatch.setattr(running, "control_thread", start)
    with pytest.raises(RuntimeError, match="no control socket"):
        server.start()
    assert isinstance(asked[0].exception(WAIT), RuntimeError)


def test_a_start_that_fails_answers_what_has_reached_it(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when there is no place for instance.json: requests are served by then."""
    held: list[Http] = []

    def publish(instance: Instance) -> None:
        held.append(Http(instance.urls[0], b"GET /held HTTP/1.0\r\n\r\n"))
        assert app.came.acquire(timeout=WAIT)
        threading.Timer(0.2, app.let_go.set).start()
        raise ClaimError("cannot write instance.json")

    monkeypatch.setattr(Instance, "publish", publish)
    with pytest.raises(ClaimError, match="cannot write"):
        Server(app, bind="127.0.0.1:0").start()
    assert held[0].answer().endswith(b"let go")


def test_a_connection_that_comes_as_the_control_server_closes_does_not_leak(tmp_path: Path) -> None:
    """asyncio had accepted it and not yet made it a connection; the warning about a leak would fail this test."""

    async def come_and_close(listening: socket.socket, peer: socket.socket) -> None:
        registry = Registry(Rules(os.geteuid()), {}, Audit(""))
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(f"{listening.getsockname()}2")
            server = LocalServer(registry, lines=listening, zmtp=other)
            await see_it_close(server, listening, peer)

    async def see_it_close(server: LocalServer, listening: socket.socket, peer: socket.socket) -> None:
        peer.connect(listening.getsockname())
        for _ in range(2):  # in the turn in which it is accepted
            await asyncio.sleep(0)
        await server.stop_accepting()
        await server.close()

    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as peer:
        listening.bind(str(tmp_path / "sock"))
        listening.listen()
        listening.setblocking(False)
        peer.settimeout(WAIT)
        asyncio.run(come_and_close(listening, peer))
        assert peer.recv(1) == b""
    gc.collect()


@pytest.mark.parametrize("call", [b'"method":"events"', b'"method":"logs","params":{"follow":true}'])
def test_zeromq_subscribers_that_left_keep_nobody_out(serve: Serve, call: bytes) -> None:
    """Nothing happens on an idle instance, so nothing was sent to them that would have told of their end."""
    server = serve()
    with zmq.Context() as context:
        for _ in range(streams.STREAMS.total + 3):
            with context.socket(zmq.DEALER) as dealer:
                dealer.linger = 0
                dealer.connect(server.endpoints[0])
                dealer.send(b'{"jsonrpc":"2.0","id":1,' + call + b"}")
                assert dealer.poll(int(WAIT * 1000))
                assert b'"result"' in dealer.recv()


def test_no_receiver_is_left_at_flasks_signals(app: App) -> None:
    """It would keep the application and the ledger in memory."""
    before = len(flask.got_request_exception.receivers)
    for _ in range(2):
        with Server(app, bind="127.0.0.1:0"):
            pass
    assert len(flask.got_request_exception.receivers) == before


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`flaskd run … 2>&1 | head -1`: the line about a stop is written to a pipe that nobody reads."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    stream = os.fdopen(write_end, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    say("stopping")
    with contextlib.suppress(BrokenPipeError):
        stream.close()
    monkeypatch.setattr(sys, "stderr", io.StringIO())


def test_a_place_that_its_last_holder_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends takes the directory along, also between our finding it and our locking it."""
    place = Place(str(tmp_path / "shop"))
    make = claim._make_private
    removals = [1, 1]

    def make_and_lose(directory: str, *, shared: bool) -> None:
        make(directory, shared=shared)
        if removals:
            removals.pop()
            os.rmdir(directory)

    monkeypatch.setattr(claim, "_make_private", make_and_lose)
    with claim.Claim.hold(place, Rules(os.geteuid())):
        assert Path(place.lock).exists()
    assert not removals


@requires("root")
def test_a_runtime_directory_that_somebody_makes_just_before_us_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In /tmp anybody may, between our look and our making it; whoever owns it could put another in our place."""
    runtime = tmp_path / "flaskd"

    isdir_now = os.path.isdir

    def isdir(path: str) -> bool:
        if runtime.exists():
            return isdir_now(path)
        runtime.mkdir()
        os.chown(runtime, 12345, 12345)
        return False

    monkeypatch.setattr(os.path, "isdir", isdir)
    with pytest.raises(ClaimError, match="uid 12345"):
        claim._make_private(str(runtime / "shop"), shared=False)
    assert not list(runtime.iterdir())


def test_a_socket_of_another_type_in_the_place_is_left_alone(tmp_path: Path) -> None:
    """It is no instance's, and connecting to it fails in a way of its own."""
    place = Place(str(tmp_path / "shop"))
    Path(place.directory).mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as foreign:
        foreign.bind(place.sock)
        with pytest.raises(ClaimError, match="a socket that cannot be ours is there"):
            claim.Claim.hold(place, Rules(os.geteuid())).__enter__()
    assert Path(place.sock).exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_view_that_exits_takes_no_later_request_with_it(app: App, serve: Serve) -> None:
    """It is answered 500, and its thread takes the next connection."""
    app.add_url_rule("/exit", "exit", lambda: sys.exit(3))
    server = serve(threads=1)
    for _ in range(3):
        assert b" 500 " in Http.get(server.listeners[0], "/exit").answer()[:20]
        assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")
    assert server.shutdown(grace=WAIT).result(WAIT).clean


def test_where_the_system_gives_no_more_threads_the_ones_there_are_serve(
    app: App, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The accept loop goes on, and so does the stop."""
    start = threading.Thread.start
    server = serve(threads=4)
    assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("flaskd-http"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    held = Http.get(server.listeners[0], "/held")
    assert app.came.acquire(timeout=WAIT)
    waiting = [Http.get(server.listeners[0], "/") for _ in range(3)]
    stopped = server.shutdown(grace=WAIT)
    app.let_go.set()
    assert held.answer().endswith(b"let go")
    assert all(client.answer().endswith(b"hello") for client in waiting)
    assert stopped.result(WAIT).clean


def test_an_error_in_one_server_is_not_the_others(app: App, serve: Serve) -> None:
    """Both serve the same application, and number their requests alike."""
    first, second = serve(name="first"), serve(name="second")
    held = Http.get(first.listeners[0], "/held")
    assert app.came.acquire(timeout=WAIT)
    assert b" 500 " in Http.get(second.listeners[0], "/bad").answer()
    app.let_go.set()
    assert held.answer().endswith(b"let go")
    assert first.status().last_error is None
    assert second.status().last_error is not None


def test_without_proc_a_stop_goes_on(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or without a descriptor to look into it with: half-open handshakes are not seen then."""

    def refuse(*arguments: Any, **others: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(listeners, "open", refuse, raising=False)
    assert serve().shutdown().result(WAIT).clean


def test_a_settings_file_in_another_encoding_is_said(tmp_path: Path) -> None:
    """A sentence, not a traceback."""
    (tmp_path / "flaskd.toml").write_bytes('name = "Grün"'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot read flaskd.toml"):
        resolve({}, environ={}, directory=str(tmp_path))


def test_a_user_without_a_home_gets_no_directory_called_tilde(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that runs under a uid nobody knows: the note of the stop has no place, the stop goes on."""
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr("flaskd_ctl.contract.endpoint.SYSTEM_STATE", "/proc/none")
    monkeypatch.chdir(tmp_path)
    with Server(app, bind="127.0.0.1:0"):
        pass
    assert not list(tmp_path.iterdir())


FORKS_BESIDE_THREADS = "ignore:This process:DeprecationWarning"
"""The warning that from Python 3.15 on, as an error, prevents the fork."""

LEAVING = """
import os, sys, flask, flaskd
app = flask.Flask("shop")
server = flaskd.Server(app, bind="127.0.0.1:0", runtime_dir=sys.argv[1])
def fork():
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
@app.get("/")
def index():
    fork()
    return "answered"
"""

LEAVE = {
    "a with block": "with server:\n    fork()",
    "a started server": "server.start()\nfork()\nserver.shutdown().result()",
    "a request": """
import urllib.request
with server:
    with urllib.request.urlopen(server.listeners[0]) as response:
        assert response.read() == b"answered"
""",
}


@pytest.mark.parametrize("where", LEAVE)
def test_a_forked_child_that_exits_ends_and_disturbs_nothing(where: str, runtime_dir: str) -> None:
    """It has no server to wait for, and no connection to close."""
    code = LEAVING + LEAVE[where]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-W", FORKS_BESIDE_THREADS, "-c", code, runtime_dir],
        timeout=WAIT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
