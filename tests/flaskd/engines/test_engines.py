"""What holds with each engine in front of a real server: bounds, silence, half requests, failures, forks."""

import concurrent.futures
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from werkzeug.exceptions import ServiceUnavailable

from flaskd import Server
from flaskd.http.bodies import BrokenBody, SlowBody
from tests.flaskd.conftest import WAIT, App, Http, begin_shutdown
from tests.support.balancers import wait_until

Serve = Callable[..., Server]
IN_PYTHON = pytest.mark.parametrize("engine", ["werkzeug", "waitress"])
"""For laws of engines whose responses are `answering.Response`."""


@pytest.fixture(params=["werkzeug", "waitress", "granian"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def start(engine: str, serve: Serve) -> Serve:
    """Start servers as `serve` does, with each engine in turn."""
    return lambda application=None, **settings: serve(application, **{"engine": engine, **settings})


def get(server: Server, path: str) -> Http:
    """Ask on a connection that is not kept, so that the end of the answer is the end of the stream."""
    return Http(server.listeners[0], f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


# --- bounds


def test_no_more_than_threads_are_served_at_once_and_the_rest_waits(
    engine: str, app: App, start: Serve
) -> None:
    """Each is answered when a thread is free."""
    server = start(threads=2)
    clients = [get(server, "/held") for _ in range(6)]
    assert app.came.acquire(timeout=WAIT)
    assert app.came.acquire(timeout=WAIT)
    assert not app.came.acquire(timeout=0.2)
    assert engine != "werkzeug" or server.status().in_flight == 2  # the others have read what waits, too
    app.let_go.set()
    assert all(client.answer().endswith(b"let go") for client in clients)


def test_the_accept_queue_is_emptied_though_longer_than_the_threads(app: App, start: Serve) -> None:
    """Who waited when the stop began is answered: in the accept queue, or read and waiting for a thread."""
    server = start(threads=2)
    clients = [get(server, "/held") for _ in range(12)]
    assert app.came.acquire(timeout=WAIT)
    stopped = begin_shutdown(server)
    app.let_go.set()
    assert all(client.answer().endswith(b"let go") for client in clients)
    result = stopped.result(WAIT)
    assert (result.clean, result.answered) == (True, 12)


@IN_PYTHON
def test_many_connections_at_once_use_no_more_threads_than_allowed(start: Serve) -> None:
    """The bound is on threads, not on connections."""
    before = threading.active_count()
    server = start(threads=3)
    clients = [get(server, "/") for _ in range(50)]
    assert all(client.answer().endswith(b"hello") for client in clients)
    assert threading.active_count() - before <= 3 + 3  # owner, control, accept


# --- silence, and half requests


@pytest.mark.parametrize("linger", [0.0, 0.1])
@pytest.mark.parametrize(
    "head", [b"", b"GET", b"GET /held HTTP/1.1\r\n", b"GET /held HTTP/1.1\r\nHost: x\r\n"]
)
def test_half_a_head_holds_nothing_up_and_is_never_carried_out(
    head: bytes, linger: float, engine: str, app: App, start: Serve
) -> None:
    """The linger is all it gets; its end is not taken for the end of the head, and granian's timeout not waited for."""
    server = start(linger=linger)
    half = Http(server.listeners[0], head)
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert result.took < WAIT / 4
    answer = half.answer()
    assert b"200" not in answer
    assert engine == "granian" or answer == b""
    assert not app.came.acquire(blocking=False)


def test_a_client_that_leaves_in_its_head_has_nothing_carried_out(
    engine: str, app: App, start: Serve
) -> None:
    """Half a request is none, also when no stop is under way."""
    half = Http(start().listeners[0], b"GET /held HTTP/1.1\r\nHost: x\r\n")
    half.socket.shutdown(socket.SHUT_WR)
    answer = half.answer()
    assert b"200" not in answer
    assert engine == "granian" or answer == b""
    assert not app.came.acquire(blocking=False)


def test_a_silent_connection_is_closed_after_the_head_timeout(start: Serve) -> None:
    """It would hold a thread, or count among the connections, for ever."""
    assert Http(start(head_timeout=0.1).listeners[0]).answer() == b""


def test_a_slow_upload_is_not_bound_by_the_head_timeout(app: App, start: Serve) -> None:
    """The head was complete; the body may take its time."""
    app.add_url_rule("/size", "size", lambda: str(len(flask.request.data)), methods=["POST"])
    server = start(head_timeout=0.1)
    head = b"POST /size HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"
    upload = Http(server.listeners[0], head + b"ab")
    upload.socket.settimeout(0.4)
    with pytest.raises(TimeoutError):
        upload.socket.recv(1)
    upload.socket.settimeout(WAIT)
    upload.socket.sendall(b"cd")
    assert upload.answer().endswith(b"4")


@IN_PYTHON
@pytest.mark.parametrize("path", ["/", "/held"])
def test_a_client_that_closes_its_side_after_the_request_is_answered(
    path: str, app: App, start: Serve
) -> None:
    """It has said all, and waits."""
    client = Http.get(start().listeners[0], path)
    client.socket.shutdown(socket.SHUT_WR)
    if path == "/held":
        assert app.came.acquire(timeout=WAIT)
        app.let_go.set()
    assert client.answer().endswith(b"let go" if path == "/held" else b"hello")


def test_bad_http_gets_its_error_and_costs_nothing_else(
    start: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor does it fill the log; neither does the start."""
    server = start()
    assert b"400" in Http(server.listeners[0], b"nonsense nonsense nonsense nonsense\r\n\r\n").answer()
    assert get(server, "/").answer().endswith(b"hello")
    assert capfd.readouterr().err == ""


# --- responses


def test_a_slow_reader_gets_all_of_a_large_response(app: App, start: Serve) -> None:
    """The application was done long ago; what it answered is written out before the end."""
    size = 30_000_000
    app.add_url_rule("/large", "large", lambda: b"x" * size)
    server = start()
    slow = get(server, "/large")
    received = len(slow.socket.recv(1000))
    stopped = server.shutdown(grace=WAIT * 2)
    with pytest.raises(concurrent.futures.TimeoutError):
        stopped.result(0.5)
    received += len(slow.answer())
    assert received > size
    assert stopped.result(WAIT).clean


def test_an_application_that_raises_after_its_first_byte_is_counted_aborted(app: App, start: Serve) -> None:
    """Its client sees a truncated response, and the next request is served."""

    def broken() -> Any:
        def body() -> Any:
            yield b"first"
            raise RuntimeError("second")

        return app.response_class(body())

    app.add_url_rule("/broken", "broken", broken)
    server = start()
    assert not get(server, "/broken").answer().endswith(b"0\r\n\r\n")
    assert get(server, "/").answer().endswith(b"hello")
    wait_until(lambda: server.status().served["aborted"] == 1)  # its thread may not have come to that yet


@pytest.mark.parametrize("when", ["at once", "in its first step"])
@pytest.mark.parametrize(
    ("error", "status", "text", "logged"),
    [
        (RuntimeError("secret"), b"500 Internal Server Error", b"The application failed to answer.\n", True),
        (SystemExit(1), b"500 Internal Server Error", b"The application failed to answer.\n", True),
        (ServiceUnavailable("later"), b"503 Service Unavailable", b"later\n", True),
        (BrokenBody(), b"400 Bad Request", b"The request's body is not complete.\n", False),
        (SlowBody(), b"408 Request Timeout", b"The request's body did not come in time.\n", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_exception_is_answered_counted_and_logged_alike_with_the_id_of_its_request(
    error: BaseException,
    status: bytes,
    text: bytes,
    logged: bool,
    when: str,
    start: Serve,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The client can name its request, and operators find it in log and access log, with the status that was answered."""

    def failing(environ: Any, start_response: Any) -> Any:
        def body() -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b""
            raise error

        if when == "at once":
            raise error
        return body()

    server = start(failing, access_log="common")
    request = b"GET /a?secret HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\nConnection: close\r\n\r\n"
    head, _, body = Http(server.listeners[0], request).answer().partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 " + status
    fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines[1:])}
    assert (fields[b"content-type"], fields[b"x-request-id"]) == (b"text/plain", b"mine")
    assert body == text
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert {kind: count for kind, count in server.status().served.items() if count} == {
        f"{status[:1].decode()}xx": 1
    }
    records = [record for record in caplog.records if record.name == "flaskd.http"]
    assert [(record.levelno, record.exc_info is not None) for record in records] == [
        (logging.ERROR, True)
    ] * logged
    assert all("GET '/a', request mine" in record.getMessage() for record in records)
    assert f'"GET /a?secret HTTP/1.1" {status[:3].decode()} ' in capfd.readouterr().out


# --- others


def test_the_unix_listener_tells_the_application_a_usable_server_name(
    app: App, start: Serve, tmp_path: Path
) -> None:
    """SERVER_NAME and SERVER_PORT would be the socket's path and 0; without a Host header, they are all there is."""
    app.add_url_rule("/url", "url", lambda: flask.request.host_url)
    app.add_url_rule("/name", "name", lambda: "{SERVER_NAME}:{SERVER_PORT}".format(**flask.request.environ))
    start(bind=f"unix:{tmp_path}/h")
    for request, end in [
        (b"GET /url HTTP/1.0\r\n\r\n", b"http://localhost/"),
        (b"GET /name HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"localhost:80"),
    ]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(WAIT)
            sock.connect(f"{tmp_path}/h")
            sock.sendall(request)
            received = b""
            while data := sock.recv(65536):
                received += data
        assert received.endswith(end)


@pytest.mark.usefixtures("forking", "runtime_dir")
def test_a_child_that_the_application_forks_keeps_no_port_alive(start: Serve) -> None:
    """It lives on after the stop; the port is refused, the place is free, and another instance takes both."""
    server = start()
    assert get(server, "/fork").answer().endswith(b"forked")
    server.shutdown().result(WAIT)
    with pytest.raises(ConnectionRefusedError):
        get(server, "/")
    again = start(App(), bind=server.listeners[0].removeprefix("http://"))
    assert get(again, "/").answer().endswith(b"hello")


@IN_PYTHON
@pytest.mark.parametrize("kept", [False, True], ids=["one request", "kept"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("leave", [lambda: sys.exit(3), lambda: "child"], ids=["exits", "returns"])
def test_a_child_that_comes_back_from_the_application_ends(
    leave: Callable[[], str], streamed: bool, kept: bool, app: App, start: Serve
) -> None:
    """Its request is its parent's, and it is no server: it neither answers nor waits for another request."""
    children: list[int] = []

    def fork() -> str:
        child = os.fork()
        if child == 0:
            return leave()
        children.append(child)
        hung = threading.Timer(WAIT / 2, os.kill, (child, signal.SIGKILL))
        hung.start()
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # what it sends would come first
        hung.cancel()
        return "parent"

    def stream() -> Iterator[str]:
        yield "from the "
        yield fork()

    app.add_url_rule("/fork", "fork", lambda: app.response_class(stream()) if streamed else fork())
    server = start(threads=1)
    client = (Http.get if kept else lambda _, path: get(server, path))(server.listeners[0], "/fork")
    end = b"6\r\nparent\r\n0\r\n\r\n" if streamed else b"parent"
    received = b""
    while not received.endswith(end):
        data = client.socket.recv(1000)
        assert data, received
        received += data
    client.socket.close()
    assert received.count(b"HTTP/1.1") == 1
    assert b"child" not in received
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert get(server, "/").answer().endswith(b"hello")
    assert server.shutdown(grace=WAIT).result(WAIT).clean
