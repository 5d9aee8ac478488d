"""The granian engine in front of a real server: its private names, bounds, silence, keep-alive, the end."""

import concurrent.futures
import contextlib
import http.client
import importlib.metadata
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
import trustme

from flaskd import Server
from flaskd.engines.choice import SUPPORTED
from flaskd.engines.granian_engine import engine as granian_engine, native_threads, private
from flaskd.engines.granian_engine.engine import GranianEngine
from flaskd.engines.protocol import Options
from flaskd.errors import ConfigError
from tests.flaskd.conftest import WAIT, App, Http, begin_shutdown

Serve = Callable[..., Server]


@pytest.fixture
def granian(serve: Serve) -> Serve:
    """Start servers as `serve` does, with the granian engine."""
    return lambda application=None, **settings: serve(application, **{"engine": "granian", **settings})


@pytest.fixture
def client() -> Iterator[Callable[[Server], http.client.HTTPConnection]]:
    """Open HTTP clients that keep their connection, and are closed at the end."""
    with contextlib.ExitStack() as stack:

        def connect(server: Server) -> http.client.HTTPConnection:
            host, _, port = server.listeners[0].removeprefix("http://").rpartition(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=WAIT)
            stack.callback(connection.close)
            return connection

        yield connect


def get(server: Server, path: str, *, listener: int = 0) -> Http:
    """Ask on a connection that is not kept, so that the end of the answer is the end of the stream."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    return Http(server.listeners[listener], request.encode())


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[bytes, str | None]:
    """GET on a kept connection; returns the body and the header Connection."""
    connection.request("GET", path)
    response = connection.getresponse()
    return response.read(), response.getheader("connection")


def threads_now() -> int:
    """Count this process's threads, Python's or not."""
    return len(os.listdir("/proc/self/task"))


# --- what is granian's own affair


def test_what_granian_keeps_to_itself_is_as_written_here() -> None:
    """An upgrade that changes a name or a parameter fails here, not in front of users."""
    version = private.probe()
    assert version == importlib.metadata.version("granian")
    assert version.startswith(f"{SUPPORTED}.")


def test_without_granian_it_says_how_to_install_it(
    granian: Serve, monkeypatch: pytest.MonkeyPatch, runtime_dir: str
) -> None:
    """And nothing is left of the attempt."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "granian":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(private, "probed", private.probe)  # what was found before is kept
    with pytest.raises(ConfigError, match="not installed") as caught:
        granian()
    assert caught.value.hint == "pip install 'flaskd[granian]'"
    assert not os.path.exists(os.path.join(runtime_dir, "shop", "instance.json"))


@pytest.mark.parametrize("version", ["2.7.9", "2.9.0", "3.0.0", "2.80.0"])
def test_another_version_is_refused_by_both_numbers(version: str) -> None:
    """Which was seen, which is supported, and what to do."""
    with pytest.raises(ConfigError, match=f"granian {version} is installed, and 2.8 is") as caught:
        private.probe(version)
    assert "--engine werkzeug" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("granian._granian:SocketHolder", "fd", r"SocketHolder takes \(fd uds backlog\), not \(fd\)"),
        ("granian._granian:Absent", "", "no granian._granian:Absent"),
        ("granian.absent:name", "", "no granian.absent:name"),
    ],
)
def test_changed_names_are_refused_one_by_one(
    name: str, parameters: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within the supported release."""
    monkeypatch.setitem(private.PRIVATE, name, parameters)
    with pytest.raises(ConfigError, match=said):
        private.probe()


# --- serving


def test_a_status_that_is_none_is_an_error_and_not_the_end(app: App, granian: Serve) -> None:
    """granian by itself would abort the process."""
    app.add_url_rule("/odd", "odd", lambda: ("odd", 1000))
    server = granian()
    assert b" 500 " in get(server, "/odd").answer()
    assert get(server, "/").answer().endswith(b"hello")


def test_status_names_engine_and_version(granian: Serve, client: Any) -> None:
    """And counts the connections, idle ones too."""
    server = granian()
    ask(client(server), "/")
    status = server.status()
    assert (status.engine, status.versions["granian"]) == ("granian", importlib.metadata.version("granian"))
    assert (status.connections, status.in_flight) == (1, 0)


def test_a_connection_is_kept_for_further_requests(granian: Serve, client: Any) -> None:
    """That is what it is faster for."""
    kept = client(granian())
    assert ask(kept, "/") == (b"hello", None)
    port = kept.sock.getsockname()
    assert ask(kept, "/") == (b"hello", None)
    assert kept.sock.getsockname() == port


def test_several_listeners_share_the_threads(app: App, granian: Serve) -> None:
    """Each has a worker of its own; the bound is for both."""
    server = granian(threads=2, bind=("127.0.0.1:0", "127.0.0.1:0"))
    clients = [get(server, "/held", listener=number % 2) for number in range(6)]
    assert app.came.acquire(timeout=WAIT)
    assert app.came.acquire(timeout=WAIT)
    assert not app.came.acquire(timeout=0.2)
    app.let_go.set()
    assert all(client.answer().endswith(b"let go") for client in clients)
    assert server.shutdown().result(WAIT).clean


def test_many_connections_at_once_use_no_more_threads_than_allowed(granian: Serve) -> None:
    """Beyond those that call the application: one that is always free (`turns`), a runtime thread, the one that waits for the
    end, owner, control, and two of libzmq's.
    """
    before = threads_now()
    server = granian(threads=3)
    clients = [get(server, "/") for _ in range(50)]
    assert all(client.answer().endswith(b"hello") for client in clients)
    assert threads_now() - before <= 3 + 7


def test_the_listener_keeps_its_backlog(granian: Serve) -> None:
    """granian calls listen(2) again; tcpi_sacked of a listener is its backlog (net/ipv4/tcp.c)."""
    server = granian(backlog=77)
    info = server._checked().instance.listeners[0].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    assert int.from_bytes(info[28:32], "little") == 77


# --- leaving


@pytest.mark.parametrize("ledger", [True, False])
def test_a_drained_instance_asks_its_clients_to_leave(ledger: bool, granian: Serve, client: Any) -> None:
    """`Connection: close` with each response, until it is resumed; a ledger is not needed for that."""
    server = granian(ledger=ledger)
    kept = client(server)
    ask(kept, "/")
    server.drain().result(WAIT)
    assert ask(kept, "/") == (b"hello", "close")
    server.resume().result(WAIT)
    assert ask(kept, "/") == (b"hello", None)


def test_kept_connections_that_are_in_use_leave_by_themselves(app: App, granian: Serve, client: Any) -> None:
    """During a stop the response says so; then there is nothing to linger for."""
    server = granian(linger=WAIT)
    kept = client(server)
    ask(kept, "/")
    kept.request("GET", "/held")
    assert app.came.acquire(timeout=WAIT)
    stopped = begin_shutdown(server, grace=WAIT * 2)
    app.let_go.set()
    response = kept.getresponse()
    assert (response.read(), response.getheader("connection")) == (b"let go", "close")
    result = stopped.result(WAIT)
    assert result.clean
    assert result.took < WAIT / 2


def test_an_idle_connection_gets_the_linger_and_no_more(granian: Serve, client: Any) -> None:
    """A client that thinks that long is served; one that thinks longer finds its connection closed."""
    server = granian(linger=0.3)
    kept = client(server)
    ask(kept, "/")
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert 0.3 <= result.took < WAIT / 2
    assert kept.sock.recv(1) == b""


def test_an_idle_server_stops_at_once(granian: Serve) -> None:
    """With nothing open there is nothing to wait for."""
    result = granian(linger=WAIT).shutdown(grace=WAIT).result(WAIT)
    assert result.took < 1.0


def test_half_a_head_beside_a_request_does_not_cost_the_request(app: App, granian: Serve) -> None:
    """Whom to hang up on is decided only where nothing is in the application; without a ledger, too."""
    server = granian(linger=0, ledger=False)
    half = Http(server.listeners[0], b"GET /he")
    held = get(server, "/held")
    assert app.came.acquire(timeout=WAIT)
    stopped = server.shutdown(grace=WAIT)
    with pytest.raises(concurrent.futures.TimeoutError):
        stopped.result(0.5)
    app.let_go.set()
    assert held.answer().endswith(b"let go")
    assert stopped.result(WAIT).clean
    assert half.answer() == b""


def test_a_streaming_response_is_sent_to_its_last_byte(app: App, granian: Serve) -> None:
    """Though nothing is sent for longer than the linger."""
    gate = threading.Event()

    def parts() -> Iterator[bytes]:
        yield b"first"
        assert gate.wait(WAIT)
        yield b"last"

    app.add_url_rule("/parts", "parts", lambda: flask.Response(parts()))
    server = granian(linger=0.1)
    reader = get(server, "/parts")
    assert b"first" in _until(reader.socket, b"first")
    stopped = server.shutdown(grace=WAIT)
    with pytest.raises(concurrent.futures.TimeoutError):
        stopped.result(0.5)
    gate.set()
    assert b"last" in reader.answer()
    assert stopped.result(WAIT).clean


def _until(sock: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        data = sock.recv(65536)
        assert data, received
        received += data
    return received


def test_the_deadline_cuts_and_names(app: App, granian: Serve, client: Any) -> None:
    """The request in the application is named and its connection counted; an idle one was owed nothing."""
    server = granian()
    ask(client(server), "/")
    held = get(server, "/held")
    assert app.came.acquire(timeout=WAIT)
    result = server.shutdown(grace=0.1).result(WAIT)
    assert [cut.path for cut in result.cut] == ["/held"]
    assert (result.clean, result.connections_cut) == (False, 1)
    assert held.answer() == b""


def test_where_every_thread_is_taken_each_connection_may_hold_a_request(app: App, granian: Serve) -> None:
    """Two in the application, three that wait for a thread in granian: five are cut."""
    server = granian(threads=2)
    held = [get(server, "/held") for _ in range(5)]
    assert app.came.acquire(timeout=WAIT)
    assert app.came.acquire(timeout=WAIT)
    result = server.shutdown(grace=0.2).result(WAIT)
    assert (len(result.cut), result.connections_cut) == (2, 5)
    assert [client.answer() for client in held] == [b""] * 5


def test_thirty_starts_and_stops_leave_nothing_behind(granian: Serve) -> None:
    """Neither descriptors nor threads; tokio's pair of sockets for signals, one a process, came with the first."""

    def once() -> None:
        server = granian()
        assert get(server, "/").answer().endswith(b"hello")
        assert server.shutdown(grace=WAIT).result(WAIT).clean

    once()
    _settled(threads_now)
    before = (len(os.listdir("/proc/self/fd")), threads_now())
    for _ in range(30):
        once()
    _settled(threads_now)
    assert (len(os.listdir("/proc/self/fd")), threads_now()) == before


def _settled(count: Callable[[], int]) -> None:
    """Return when `count` has not changed for a while: threads that have said that they are done still have to end."""
    last, since = count(), time.monotonic()
    pause = threading.Event()
    while time.monotonic() - since < 0.5:
        pause.wait(0.05)
        if count() != last:
            last, since = count(), time.monotonic()


# --- the engine by itself


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def make() -> GranianEngine:
    return GranianEngine(Options(threads=2, head_timeout=WAIT, backlog=16))


def stop(engine: GranianEngine, ended: threading.Event) -> None:
    engine.stop()
    assert ended.wait(WAIT)
    assert engine.activity().connections == 0


def test_an_engine_that_is_stopped_at_once_ends(listener: socket.socket) -> None:
    """granian would abort the process if its listener were gone before it has looked at it: fifty times, it is not."""
    for _ in range(50):
        ended = threading.Event()
        engine = make()
        engine.serve(hello, [listener], on_change=ended.set)
        stop(engine, ended)


def test_when_it_is_done_none_of_its_threads_is_left(listener: socket.socket) -> None:
    """One that came back to Python while the interpreter ends would take the process down in a panic (seen: 1 of 80)."""
    before, ended = native_threads.alive(), threading.Event()
    engine = make()
    engine.serve(hello, [listener], on_change=ended.set)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for _ in range(3):
        assert (
            Http(url, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").answer().endswith(b"hello")
        )
    its = native_threads.started_since(before)
    assert its
    stop(engine, ended)
    assert its & native_threads.alive() == set()


def test_a_deaf_engine_leaves_the_queue_whole_and_serves_what_is_open(listener: socket.socket) -> None:
    """Another that listens on the same socket gets what comes; nothing wakes up for it, and no handle is left in epoll."""
    ended = threading.Event()
    engine = make()
    engine.serve(hello, [listener], on_change=ended.set)
    with contextlib.ExitStack() as stack:
        kept = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=WAIT)
        stack.callback(kept.close)
        assert ask(kept, "/")[0] == b"hello"
        engine.stop_accepting()
        engine.stop_accepting()
        waiting = stack.enter_context(socket.create_connection(listener.getsockname()))
        waiting.settimeout(0.2)
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        assert ask(kept, "/")[0] == b"hello"
        other_ended = threading.Event()
        other = make()
        other.serve(hello, [listener], on_change=other_ended.set)
        waiting.settimeout(WAIT)
        assert _until(waiting, b"hello")
        stop(engine, ended)
        other.stop_accepting()
        stop(other, other_ended)


def test_responses_do_not_wait_for_the_acknowledgement_of_their_heads(listener: socket.socket) -> None:
    """granian writes head and streamed body in pieces: with Nagle's algorithm a fifth of the requests a second was seen."""
    ended = threading.Event()
    engine = make()
    engine.serve(hello, [listener], on_change=ended.set)
    with socket.create_connection(listener.getsockname()) as client:
        (descriptor,) = _seen(engine, 1)
        with socket.socket(fileno=os.dup(descriptor)) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getpeername() == client.getsockname()
    stop(engine, ended)


def _seen(engine: GranianEngine, count: int) -> list[int]:
    """Wait until granian has accepted so many; it tells nobody."""
    deadline = time.monotonic() + WAIT
    while len(found := engine._server.connections.find()) != count:
        assert time.monotonic() < deadline
    return found


def test_granian_uses_one_duplicate_of_the_listener(listener: socket.socket) -> None:
    """What is made deaf is all that granian accepts from, and never our own descriptor."""

    def descriptors() -> set[int]:
        inode = os.fstat(listener.fileno()).st_ino
        return {
            int(name)
            for name in os.listdir("/proc/self/fd")
            if f"socket:[{inode}]" == _link(f"/proc/self/fd/{name}")
        }

    ended = threading.Event()
    engine = make()
    engine.serve(hello, [listener], on_change=ended.set)
    assert descriptors() == {listener.fileno(), *engine.descriptors()}
    assert len(engine.descriptors()) == 1
    engine.stop_accepting()
    assert descriptors() == {listener.fileno()}
    assert engine.descriptors() == []
    stop(engine, ended)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_the_end_comes_also_where_granian_never_says_so(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its word can get lost; what is open can be seen."""
    begin = private.begin
    monkeypatch.setattr(granian_engine, "DONE_TIMEOUT", 0.1)
    monkeypatch.setattr(
        private, "begin", lambda *args, **more: begin(*args, **{**more, "on_end": lambda: None})
    )
    ended = threading.Event()
    engine = make()
    engine.serve(hello, [listener], on_change=ended.set)
    stop(engine, ended)


def test_an_engine_that_cannot_begin_leaves_nothing_running(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that had begun is ended."""
    begin = private.begin
    calls = iter([begin])

    def once(*args: Any, **more: Any) -> Any:
        return next(calls)(*args, **more)

    monkeypatch.setattr(private, "begin", once)
    engine = make()
    with socket.create_server(("127.0.0.1", 0)) as second, pytest.raises(StopIteration):
        engine.serve(hello, [listener, second], on_change=lambda: None)
    _settled(threads_now)
    assert engine.descriptors() == []


OUT_OF_DESCRIPTORS = """
import resource, socket, sys
from flaskd.engines.granian_engine import engine as granian_engine
from flaskd.engines.protocol import Options
from flaskd.listening import tls

def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]

granian_engine.max_connections = lambda threads: 10_000
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
listener.setblocking(False)
secured = tls.load(*sys.argv[1:]) if sys.argv[1:] else None
engine = granian_engine.GranianEngine(Options(threads=2, head_timeout=60, backlog=1000, tls=secured))
engine.serve(hello, [listener], on_change=lambda: None)
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("secure", [True, False])
def test_out_of_descriptors_it_rests_and_serves_again(secure: bool, tmp_path: Path) -> None:
    """By itself granian turns in a circle then, over TLS for ever: no handshake gets its turn."""
    files: list[str] = []
    context = ssl.create_default_context()
    if secure:
        authority = trustme.CA()
        authority.configure_trust(context)
        issued = authority.issue_cert("127.0.0.1")
        files = [str(tmp_path / "c.pem"), str(tmp_path / "k.pem")]
        issued.cert_chain_pems[0].write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])
    server = subprocess.Popen(
        [sys.executable, "-c", OUT_OF_DESCRIPTORS, *files],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with server, contextlib.ExitStack() as stack:
        assert server.stdin is not None
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.readline()))
        with contextlib.ExitStack() as silent:
            for _ in range(150):
                silent.enter_context(socket.create_connection(address, timeout=WAIT))
            waits = stack.enter_context(socket.create_connection(address, timeout=WAIT))
            deadline = time.monotonic() + WAIT
            while len(os.listdir(f"/proc/{server.pid}/fd")) < 76:  # all but the spare ones; it tells nobody
                assert time.monotonic() < deadline
        client = context.wrap_socket(waits, server_hostname="127.0.0.1") if secure else waits
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"hello" in _until(client, b"hello")
        client.close()
        server.stdin.close()
        server.kill()
