"""The waitress engine in front of a real server: bounds, silence, slow clients, half requests, forks, wake-ups."""

import contextlib
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import flask
import pytest

from flaskd import Server
from flaskd.engines.waitress_engine import private
from flaskd.engines.waitress_engine.request import IN_MEMORY
from flaskd.errors import ConfigError
from tests.flaskd.conftest import WAIT, App, Http as OneHttp, begin_shutdown

Serve = Callable[..., Server]
KEPT = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Http(OneHttp):
    """A client that is closed at the end of its test."""

    opened: ClassVar[list["Http"]] = []

    def __init__(self, url: str, request: bytes = b"") -> None:
        super().__init__(url, request)
        self.opened.append(self)


@pytest.fixture(autouse=True)
def clients_leave() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while Http.opened:
        Http.opened.pop().socket.close()


@pytest.fixture
def waitress(app: App, serve: Serve) -> Serve:
    """Serve with this engine; `/size` tells how large the body was, `/large` and `/stream` answer 30 MB."""
    app.add_url_rule("/size", "size", lambda: str(len(flask.request.data)), methods=["POST"])
    app.add_url_rule("/large", "large", lambda: b"x" * 30_000_000)

    def stream() -> Iterator[bytes]:
        try:
            for _ in range(300):
                yield b"x" * 100_000
        finally:
            app.came.release()

    app.add_url_rule("/stream", "stream", lambda: app.response_class(stream()))
    return lambda *application, **settings: serve(*application, engine="waitress", **settings)


def post(server: Server, head: str, body: bytes = b"") -> Http:
    """Send a request for `/size` with these header lines, and some of its body."""
    return Http(server.listeners[0], f"POST /size HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /held HTTP/1.1\r\n",
        b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
        b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
    ],
)
def test_who_sends_slowly_keeps_nobody_waiting(sent: bytes, waitress: Serve) -> None:
    """A request costs no thread before it is whole."""
    server = waitress(threads=2)
    slow = [Http(server.listeners[0], sent) for _ in range(20)]
    assert Http(server.listeners[0], LAST).answer().endswith(b"hello")
    assert server.status().in_flight == (0 if b"\r\n\r\n" not in sent else len(slow))


def test_an_upload_under_way_is_waited_for_by_a_stop(waitress: Serve) -> None:
    """It is a request that has reached the server, though the application has not seen it yet."""
    server = waitress()
    upload = post(server, "Content-Length: 4", b"ab")
    while not server.status().in_flight:
        pass
    stopped = begin_shutdown(server, grace=WAIT)
    upload.socket.settimeout(0.3)  # longer than the linger
    with pytest.raises(TimeoutError):
        upload.socket.recv(1)
    upload.socket.settimeout(WAIT)
    upload.socket.sendall(b"cd")
    assert upload.answer().endswith(b"4")
    assert stopped.result(WAIT).clean


def test_a_head_has_its_time_in_all_however_it_drips(waitress: Serve) -> None:
    """A byte now and then does not begin it anew."""
    dripping = Http(waitress(head_timeout=0.5).listeners[0], b"GET / HTTP/1.1\r\nX: ")
    dripping.socket.settimeout(0.05)
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            assert dripping.socket.recv(1) == b""
            return
        dripping.socket.sendall(b"a")
    pytest.fail("it was not closed")


@pytest.mark.parametrize("drip", [b"", b"a"], ids=["silent", "dripping"])
def test_a_body_that_does_not_come_in_time_is_answered_408(drip: bytes, app: App, waitress: Serve) -> None:
    """It has its time of silence, and 500 bytes a second on average; the application never sees it."""
    slow = post(waitress(body_timeout=0.5), "Content-Length: 10000", b"1")
    received = b""
    slow.socket.settimeout(0.05)
    deadline = time.monotonic() + WAIT
    while b"\r\n\r\n" not in received and time.monotonic() < deadline:
        try:
            received += slow.socket.recv(1000)
        except TimeoutError:
            slow.socket.sendall(drip)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in received


def test_a_body_beyond_the_limit_is_refused_before_it_is_stored(waitress: Serve) -> None:
    """Announced or not; nothing of it is kept."""
    server = waitress(max_request_body_size=100)
    for head, body in [
        ("Content-Length: 101", b""),
        ("Content-Length: 101\r\nExpect: 100-continue", b""),
        ("Transfer-Encoding: chunked", b"65\r\n" + b"a" * 101),
    ]:
        client = post(server, head, body)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().startswith(b"HTTP/1.1 413 ")
    assert post(server, "Content-Length: 100\r\nConnection: close", b"a" * 100).answer().endswith(b"100")


def test_bodies_have_a_space_in_all_and_give_it_back(waitress: Serve) -> None:
    """Who does not fit is told to come again; when others have been answered there is space again."""
    server = waitress(max_spool_size="1K")
    first = post(server, "Content-Length: 1000\r\nConnection: close", b"a" * 900)
    while not server.status().in_flight:
        pass
    second = post(server, "Content-Length: 200", b"b" * 200)
    second.socket.shutdown(socket.SHUT_WR)
    assert second.answer().startswith(b"HTTP/1.1 503 ")
    first.socket.sendall(b"a" * 100)
    assert first.answer().endswith(b"1000")
    for _ in range(3):
        leaving = post(server, "Content-Length: 1024", b"c" * 1000)
        while not server.status().in_flight:
            pass
        leaving.socket.close()
        while server.status().in_flight:
            pass
    assert post(server, "Content-Length: 1024\r\nConnection: close", b"d" * 1024).answer().endswith(b"1024")


def test_a_disk_that_is_full_refuses_the_body(waitress: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one for which there is no space; who comes with less is served."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("waitress.buffers.TempfileBasedBuffer.newfile", full)
    server = waitress()
    client = post(server, f"Content-Length: {2 * IN_MEMORY}", b"a" * 2 * IN_MEMORY)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.answer().startswith(b"HTTP/1.1 503 ")
    assert post(server, "Content-Length: 3\r\nConnection: close", b"abc").answer().endswith(b"3")


def test_silent_connections_make_room_for_others(waitress: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are as many as there may be, the oldest is closed; one with a request under way is not."""
    monkeypatch.setattr("flaskd.engines.shared.acceptor.MAX_CONNECTIONS", 4)
    monkeypatch.setattr("flaskd.engines.waitress_engine.loop.MIN_WAIT", 0.1)
    server = waitress(threads=2)
    upload = post(server, "Content-Length: 2\r\nConnection: close", b"a")
    silent = [Http(server.listeners[0], sent) for sent in (b"", b"GET / HT", KEPT)]
    for _ in range(6):
        assert Http(server.listeners[0], LAST).answer().endswith(b"hello")
    assert silent[0].answer() == b""
    upload.socket.sendall(b"b")
    assert upload.answer().endswith(b"2")


def test_a_client_that_is_refused_while_it_sends_reads_its_answer(waitress: Serve) -> None:
    """A connection closed at once would be reset, and the reset may overtake the answer."""
    server = waitress(max_request_body_size=100)
    for _ in range(10):
        client = post(server, "Content-Length: 20000000")
        client.socket.sendall(b"a" * 20_000_000)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", ["/stream", "/large"])
def test_a_response_that_nobody_takes_holds_its_thread_no_longer_than_the_write_timeout(
    path: str, app: App, waitress: Serve
) -> None:
    """As many such clients as threads; then another one is served, and their responses have been closed."""
    server = waitress(threads=2, write_timeout=0.5)
    stuck = [Http.get(server.listeners[0], path) for _ in range(2)]
    assert all(client.socket.recv(15) == b"HTTP/1.1 200 OK" for client in stuck)
    assert Http(server.listeners[0], LAST).answer().endswith(b"hello")
    if path == "/stream":
        assert all(app.came.acquire(timeout=WAIT) for _ in stuck)
    deadline = time.monotonic() + WAIT
    while server.status().connections:
        assert time.monotonic() < deadline
    with pytest.raises(ConnectionResetError):
        stuck[0].answer()


def test_a_client_that_takes_its_response_slowly_is_bounded_too(waitress: Serve) -> None:
    """What the kernel's own time limit does not see: some bytes now and then."""
    server = waitress(threads=1, write_timeout=0.5)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(WAIT)
        host, port = server.listeners[0].removeprefix("http://").split(":")
        sock.connect((host, int(port)))
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(5)
        deadline = time.monotonic() + WAIT
        while server.status().connections:
            assert time.monotonic() < deadline
            assert sock.recv(5)
            threading.Event().wait(0.05)


def test_requests_in_one_segment_are_answered_in_their_order(waitress: Serve) -> None:
    """Pipelining: RFC 9112, section 9.3.2."""
    answers = Http(waitress().listeners[0], KEPT + KEPT.replace(b"/ ", b"/none ") + LAST).answer()
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


def test_clients_that_leave_in_the_middle_of_everything_are_forgotten(app: App, waitress: Serve) -> None:
    """Nothing of theirs stays open or in flight, and a stop does not wait for them."""
    server = waitress(threads=4, linger=5.0)
    requests = [
        b"",
        b"GET / HT",
        KEPT,
        KEPT * 3,
        KEPT.replace(b"/ ", b"/large "),
        KEPT.replace(b"/ ", b"/stream "),
        b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
        b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        b"POST /size HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    ]
    for number in range(10 * len(requests)):
        client = Http(server.listeners[0], requests[number % len(requests)])
        if number // len(requests) % 2:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
    deadline = time.monotonic() + WAIT
    while (status := server.status()).connections or status.in_flight:
        assert time.monotonic() < deadline, status
    assert server.shutdown(grace=WAIT).result(WAIT).took < 2.5


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux's /proc")
@pytest.mark.parametrize("kept", [0, 3])
def test_an_idle_server_does_not_wake_up(kept: int, waitress: Serve) -> None:
    """Nor for connections that are kept, before their time is over."""
    server = waitress()
    clients = [Http(server.listeners[0], KEPT) for _ in range(kept)]
    for client in clients:
        assert client.socket.recv(1000).endswith(b"hello")
    if not kept:
        assert Http(server.listeners[0], LAST).answer().endswith(b"hello")
    loop = next(thread for thread in threading.enumerate() if thread.name == "flaskd-accept")

    def switches() -> str:
        status = Path(f"/proc/self/task/{loop.native_id}/status").read_text()
        return next(line for line in status.splitlines() if line.startswith("voluntary"))

    while server.status().connections > kept:
        threading.Event().wait(0.01)
    threading.Event().wait(0.2)  # what has just been answered is still being put away
    before = switches()
    threading.Event().wait(1.0)
    assert switches() == before


@pytest.mark.usefixtures("forking")
def test_a_child_that_the_application_forks_keeps_neither_port_nor_connections(waitress: Serve) -> None:
    """It lives on after the stop; who was connected sees the end, and the port is refused."""
    server = waitress()
    other = Http(server.listeners[0], KEPT)
    assert other.socket.recv(1000).endswith(b"hello")
    assert Http.get(server.listeners[0], "/fork").socket.recv(1000).endswith(b"forked")
    server.shutdown().result(WAIT)
    assert other.answer() == b""
    with pytest.raises(ConnectionRefusedError):
        Http.get(server.listeners[0], "/")


def test_a_cut_names_what_was_unfinished(app: App, waitress: Serve) -> None:
    """Requests in the application, uploads and responses not yet taken."""
    server = waitress()
    held = Http.get(server.listeners[0], "/held")
    assert app.came.acquire(timeout=WAIT)
    upload = post(server, "Content-Length: 10", b"1")
    slow = Http.get(server.listeners[0], "/large")
    assert slow.socket.recv(15) == b"HTTP/1.1 200 OK"
    kept = Http(server.listeners[0], KEPT)
    assert kept.socket.recv(1000).endswith(b"hello")
    while (server.status().in_flight or 0) > 3:
        pass  # the client has the response a moment before its request has ended
    result = server.shutdown(grace=0).result(WAIT)
    assert result.cut[0].path == "/held"
    assert result.connections_cut == 3
    for client in (held, upload):
        with pytest.raises(ConnectionResetError):
            client.answer()


def test_a_channel_that_is_not_as_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade of waitress is found out at the start, not in a request."""

    def write_soon(self: Any, data: bytes, more: bool) -> None:
        """Take one parameter more."""

    assert private.probe().startswith(private.SUPPORTED)
    monkeypatch.setattr("waitress.channel.HTTPChannel.write_soon", write_soon)
    with pytest.raises(ConfigError, match=r"HTTPChannel\.write_soon takes \(self data more\)"):
        private.probe()


def test_who_was_left_in_the_kernels_queue_is_accepted_when_others_have_been_answered(
    app: App, waitress: Serve
) -> None:
    """Also if those keep their connections and say nothing more: nothing else happens that wakes the loop."""
    server = waitress(threads=1, head_timeout=3600)
    url = server.listeners[0]
    held = Http.get(url, "/held")
    assert app.came.acquire(timeout=WAIT)
    others = [Http(url, KEPT) for _ in range(6)]
    until_waiting(server)

    app.let_go.set()

    for client in (held, *others):
        assert client.socket.recv(12) == b"HTTP/1.1 200"


def test_who_was_left_in_the_kernels_queue_is_rejected_in_time_while_all_threads_hang(
    app: App, waitress: Serve
) -> None:
    """As many as wait for a thread are accepted at a time; when they have expired, the next ones are."""
    server = waitress(threads=1, head_timeout=3600, max_queue_time=0.2)
    url = server.listeners[0]
    Http.get(url, "/held")
    assert app.came.acquire(timeout=WAIT)

    others = [Http(url, KEPT) for _ in range(6)]

    for client in others:
        assert client.socket.recv(12) == b"HTTP/1.1 503"


def until_waiting(server: Server) -> None:
    """Wait until the engine leaves connections to the kernel, because a request waits for its thread."""
    deadline = time.monotonic() + WAIT
    while not any(listener.waiting() for listener in server._checked().instance.listeners):
        assert time.monotonic() < deadline
        time.sleep(0.01)
