"""The Werkzeug engine in front of a real server: bounds, silence, half requests, forks."""

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flaskd import Server
from flaskd.config import Settings
from tests.flaskd.conftest import WAIT, App, Http, begin_shutdown

Serve = Callable[..., Server]


def test_no_more_than_threads_are_served_at_once_and_the_rest_waits(app: App, serve: Serve) -> None:
    """The accept queue holds them; each is answered when a thread is free."""
    server = serve(threads=2)
    clients = [Http.get(server.listeners[0], "/held") for _ in range(6)]
    assert app.came.acquire(timeout=WAIT)
    assert app.came.acquire(timeout=WAIT)
    assert not app.came.acquire(timeout=0.2)
    assert server.status().in_flight == 2
    app.let_go.set()
    assert all(client.answer().endswith(b"let go") for client in clients)


def test_the_accept_queue_is_emptied_though_longer_than_the_threads(app: App, serve: Serve) -> None:
    """Who waited when the stop began is answered."""
    server = serve(threads=2)
    clients = [Http.get(server.listeners[0], "/held") for _ in range(12)]
    assert app.came.acquire(timeout=WAIT)
    stopped = begin_shutdown(server)
    app.let_go.set()
    assert all(client.answer().endswith(b"let go") for client in clients)
    result = stopped.result(WAIT)
    assert (result.clean, result.answered) == (True, 12)


def test_silent_connections_in_every_thread_do_not_lose_who_waits_behind_them(app: App, serve: Serve) -> None:
    """They are reaped after the linger, and the queue moves on."""
    server = serve(threads=2)
    silent = [Http(server.listeners[0]) for _ in range(2)]
    waiting = [Http.get(server.listeners[0], "/") for _ in range(3)]
    stopped = server.shutdown(grace=WAIT)
    assert all(client.answer().endswith(b"hello") for client in waiting)
    assert stopped.result(WAIT).clean
    for client in silent:
        assert client.answer() == b""


@pytest.mark.parametrize(
    "head", [b"", b"GET", b"GET /held HTTP/1.1\r\n", b"GET /held HTTP/1.1\r\nHost: x\r\n"]
)
def test_half_a_head_holds_nothing_up_and_is_never_carried_out(head: bytes, app: App, serve: Serve) -> None:
    """The linger is all it gets; http.client would have taken the end of the stream for the end of the head."""
    server = serve()
    half = Http(server.listeners[0], head)
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert result.took < WAIT / 2
    assert half.answer() == b""
    assert not app.came.acquire(blocking=False)


def test_a_client_that_leaves_in_its_head_has_nothing_carried_out(app: App, serve: Serve) -> None:
    """Also when no stop is under way."""
    server = serve()
    half = Http(server.listeners[0], b"GET /held HTTP/1.1\r\nHost: x\r\n")
    half.socket.shutdown(socket.SHUT_WR)
    assert half.answer() == b""
    assert not app.came.acquire(blocking=False)


def test_a_client_that_resets_after_its_answer_ends_its_request(app: App, serve: Serve) -> None:
    """The response's close callbacks run once, nothing stays in flight, and a stop does not wait for it."""
    closed = threading.Semaphore(0)

    def respond() -> Any:
        app.came.release()
        assert app.let_go.wait(WAIT)
        response = app.response_class(b"x")
        response.call_on_close(closed.release)
        return response

    app.add_url_rule("/closing", "closing", respond)
    server = serve()
    client = Http.get(server.listeners[0], "/closing")
    assert app.came.acquire(timeout=WAIT)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()  # a reset, which the handler finds when it writes, or when it reads what is left
    app.let_go.set()
    assert closed.acquire(timeout=WAIT)
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert result.took < WAIT / 2
    assert not closed.acquire(blocking=False)


@pytest.mark.parametrize("leaving", ["resets", "stays"])
def test_what_a_client_sends_beyond_its_request_holds_nothing_up(
    leaving: str, app: App, serve: Serve
) -> None:
    """Werkzeug reads what is left before it closes the response, which must neither fail nor wait for more."""
    server = serve()
    for _ in range(20):
        client = Http(server.listeners[0], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12345")
        assert client.socket.recv(1000).startswith(b"HTTP/1.1 405")
        if leaving == "resets":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.close()
        else:
            client.answer()  # until we close: the test's own timeout fails it
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert result.took < WAIT / 2
    assert sum(server.status().served.values()) == 20


def test_a_silent_connection_is_closed_after_the_head_timeout(app: App, serve: Serve) -> None:
    """It would hold a thread for ever."""
    silent = Http(serve(head_timeout=0.1).listeners[0])
    assert silent.answer() == b""


def test_a_slow_upload_is_not_bound_by_the_head_timeout(app: App, serve: Serve) -> None:
    """The head was complete; the body may take its time."""
    import flask

    app.add_url_rule("/size", "size", lambda: str(len(flask.request.data)), methods=["POST"])
    server = serve(head_timeout=0.1)
    upload = Http(server.listeners[0], b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    upload.socket.settimeout(0.4)
    with pytest.raises(TimeoutError):
        upload.socket.recv(1)
    upload.socket.settimeout(WAIT)
    upload.socket.sendall(b"cd")
    assert upload.answer().endswith(b"4")


def test_bad_http_gets_its_error_and_costs_nothing_else(
    app: App, serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor does it fill the log."""
    server = serve()
    assert b"400" in Http(server.listeners[0], b"nonsense nonsense nonsense nonsense\r\n\r\n").answer()
    assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")
    assert capfd.readouterr().err == ""


def test_a_child_that_the_application_forks_keeps_no_port_alive(
    app: App, serve: Serve, runtime_dir: str
) -> None:
    """It lives on after the stop; the port is refused, the place is free, and another instance takes both."""
    read_end, write_end = os.pipe()
    children: list[int] = []

    def fork() -> str:
        child = os.fork()
        if child == 0:
            os.close(write_end)
            os.read(read_end, 1)  # until the test has seen enough
            os._exit(0)
        children.append(child)
        return "forked"

    app.add_url_rule("/fork", "fork", fork)
    server = serve()
    assert Http.get(server.listeners[0], "/fork").answer().endswith(b"forked")
    server.shutdown().result(WAIT)
    with pytest.raises(ConnectionRefusedError):
        Http.get(server.listeners[0], "/")
    again = serve(App(), bind=server.listeners[0].removeprefix("http://"))
    assert Http.get(again.listeners[0], "/").answer().endswith(b"hello")
    os.close(write_end)
    os.close(read_end)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


@pytest.mark.parametrize("leave", [lambda: sys.exit(3), lambda: "child"])
def test_a_child_that_comes_back_from_the_application_ends(
    leave: Callable[[], str], app: App, serve: Serve
) -> None:
    """Its request is its parent's, and it is no server."""
    children: list[int] = []

    def fork() -> str:
        child = os.fork()
        if child == 0:
            return leave()
        children.append(child)
        return "parent"

    app.add_url_rule("/fork", "fork", fork)
    server = serve(threads=1)
    assert Http.get(server.listeners[0], "/fork").answer().endswith(b"parent")
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")


def test_a_slow_reader_gets_all_of_a_large_response(app: App, serve: Serve) -> None:
    """The application was done long ago; what it answered is written out before the end."""
    size = 30_000_000
    app.add_url_rule("/large", "large", lambda: b"x" * size)
    server = serve()
    slow = Http.get(server.listeners[0], "/large")
    received = len(slow.socket.recv(1000))
    stopped = server.shutdown(grace=WAIT * 2)
    assert not stopped.done()
    received += len(slow.answer())
    assert received > size
    assert stopped.result(WAIT).clean


def test_an_application_that_raises_after_its_first_byte_is_counted_aborted(app: App, serve: Serve) -> None:
    """Its client sees a truncated response, and the next request is served."""

    def broken() -> Any:
        def body() -> Any:
            yield b"first"
            raise RuntimeError("second")

        return app.response_class(body())

    app.add_url_rule("/broken", "broken", broken)
    server = serve()
    assert not Http.get(server.listeners[0], "/broken").answer().endswith(b"0\r\n\r\n")
    assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")
    assert server.status().served["aborted"] == 1


def test_many_connections_at_once_use_no_more_threads_than_allowed(app: App, serve: Serve) -> None:
    """The bound is on threads, not on connections."""
    before = threading.active_count()
    server = serve(threads=3)
    clients = [Http.get(server.listeners[0], "/") for _ in range(50)]
    assert all(client.answer().endswith(b"hello") for client in clients)
    assert threading.active_count() - before <= 3 + 3  # owner, control, accept


def test_a_server_out_of_descriptors_for_http_says_so_before_it_serves() -> None:
    """libzmq aborts the process when it cannot accept, so a reserve is kept."""
    from flaskd.engines import RESERVE
    from flaskd.errors import ConfigError
    from flaskd.process import check_descriptors

    check_descriptors(100, 100 + RESERVE)
    with pytest.raises(ConfigError, match="need"):
        check_descriptors(101, 100 + RESERVE)
    assert Settings().threads + RESERVE < 256


def test_the_unix_listener_tells_the_application_a_usable_server_name(
    app: App, serve: Serve, tmp_path: Path
) -> None:
    """HTTP/1.0 without a Host header, so that SERVER_NAME and SERVER_PORT are all there is."""
    import flask

    app.add_url_rule("/url", "url", lambda: flask.request.host_url)
    serve(bind=f"unix:{tmp_path}/h")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WAIT)
        sock.connect(f"{tmp_path}/h")
        sock.sendall(b"GET /url HTTP/1.0\r\n\r\n")
        received = b""
        while data := sock.recv(65536):
            received += data
    assert received.endswith(b"http://localhost/")
