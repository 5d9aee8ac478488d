"""Settings of a `Server` change while it serves, with each engine."""

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import flask
import pytest

from flaskd import Server
from flaskd.settings.schema import Settings
from tests.flaskd.conftest import WAIT, App, Http, Wire

Serve = Callable[..., Server]
Connect = Callable[[Server], Wire]

HELD = b"GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LARGE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: " + b"a" * 30_000 + b"\r\n\r\n"


def result(answer: Any) -> Any:
    assert "result" in answer, answer
    return answer["result"]


def sentence(answer: Any) -> str:
    return f"{answer['error']['message']}|{answer['error']['data'].get('hint', '')}"


def config(wire: Wire) -> dict[str, Any]:
    return {each["name"]: each for each in result(wire.ask("config"))["settings"]}


@pytest.mark.parametrize("engine", ["werkzeug", "waitress"])
def test_threads_are_added_and_taken_away(app: App, serve: Serve, connect: Connect, engine: str) -> None:
    """A request that waited for a thread is served; afterwards there are no more at a time than before."""
    server = serve(engine=engine, threads=1)
    wire = connect(server)
    clients = [Http(server.listeners[0], HELD) for _ in range(2)]
    assert app.came.acquire(timeout=WAIT)
    assert not app.came.acquire(timeout=0.1)

    told = result(wire.ask("set", {"setting": "threads", "value": 2}))

    assert app.came.acquire(timeout=WAIT)
    assert (told["was"], told["value"]) == (1, 2)
    assert [each["error"] for each in told["workers"]] == [""]
    result(wire.ask("unset", {"setting": "threads"}))
    app.let_go.set()
    assert all(client.answer().endswith(b"let go") for client in clients)
    app.let_go.clear()
    clients = [Http(server.listeners[0], HELD) for _ in range(2)]
    assert app.came.acquire(timeout=WAIT)
    assert not app.came.acquire(timeout=0.1)
    app.let_go.set()
    assert all(client.answer().endswith(b"let go") for client in clients)


@pytest.mark.parametrize("engine", ["werkzeug", "waitress"])
def test_timeouts_and_bounds_hold_for_the_next_connection(
    app: App, serve: Serve, connect: Connect, engine: str
) -> None:
    """A silent client is closed sooner, a large head refused."""
    server = serve(engine=engine)
    wire = connect(server)

    result(wire.ask("set", {"setting": "head-timeout", "value": "0.2"}))
    result(wire.ask("set", {"setting": "max_request_header_size", "value": 8192}))

    assert Http(server.listeners[0], b"GET / HT").answer() == b""
    assert b" 431 " in Http(server.listeners[0], LARGE).answer()[:20]
    assert Http(server.listeners[0], HELD.replace(b"/held", b"/")).answer().endswith(b"hello")


def test_a_shorter_timeout_holds_for_connections_that_wait_already(serve: Serve, connect: Connect) -> None:
    """With waitress, which looks at its connections when it is told."""
    server = serve(engine="waitress")
    silent = Http(server.listeners[0], b"GET / HT")
    result(connect(server).ask("set", {"setting": "head_timeout", "value": 0.1}))
    assert silent.answer() == b""


@pytest.mark.parametrize("engine", ["werkzeug", "waitress", "granian"])
def test_the_timeout_for_a_body_changes_with_each_engine(
    app: App, serve: Serve, connect: Connect, engine: str
) -> None:
    """A client that stops in the middle of a body is not waited for."""
    app.add_url_rule("/size", "size", lambda: str(len(flask.request.data)), methods=["POST"])
    server = serve(engine=engine)
    result(connect(server).ask("set", {"setting": "body_timeout", "value": 0.2}))

    half = b"POST /size HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhalf"

    assert Http(server.listeners[0], half).answer()[:11] == b"HTTP/1.1 40"


@pytest.mark.parametrize("name", ["threads", "head_timeout", "max_request_header_size"])
def test_what_granian_was_told_at_its_start_is_refused(serve: Serve, connect: Connect, name: str) -> None:
    """With the next step, and nothing changed."""
    wire = connect(serve(engine="granian"))
    before = config(wire)[name]

    said = sentence(wire.ask("set", {"setting": name, "value": 10_000}))

    assert said.startswith(f"{name} cannot change while it runs with the granian engine: it takes a restart|")
    assert config(wire)[name] == before
    assert before["change"] == "restart"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux")
@pytest.mark.parametrize("engine", ["werkzeug", "waitress", "granian"])
def test_the_kernel_is_told_of_another_write_timeout(serve: Serve, connect: Connect, engine: str) -> None:
    """Connections inherit it from their listener."""
    server = serve(engine=engine)
    result(connect(server).ask("set", {"setting": "write_timeout", "value": 7}))
    assert server._running is not None
    (listener,) = server._running.instance.listeners
    assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


def test_a_stop_takes_the_times_that_were_set(app: App, serve: Serve, connect: Connect) -> None:
    """The grace period of a shutdown that does not say its own."""
    server = serve()
    wire = connect(server)
    result(wire.ask("set", {"setting": "grace", "value": 0.2}))
    client = Http(server.listeners[0], HELD)
    assert app.came.acquire(timeout=WAIT)
    stopped = server.shutdown().result(WAIT)
    client.socket.close()
    assert (stopped.grace, len(stopped.cut)) == (0.2, 1)


def test_config_says_where_the_program_gave_a_setting(serve: Serve, connect: Connect) -> None:
    """There are no files to read; what cannot be set takes a restart."""
    wire = connect(serve(settings=Settings(threads=3), grace=5))
    shown = config(wire)
    assert {name: shown[name]["source"] for name in ("threads", "grace", "linger", "backlog")} == {
        "threads": "Server(settings)",
        "grace": "Server(grace=)",
        "linger": "Server(linger=)",
        "backlog": "default",
    }
    assert {each["change"] for each in shown.values()} == {"set", "restart"}
    assert not any(each["takes"] for each in shown.values())


def test_what_only_workers_have_is_refused(serve: Serve, connect: Connect) -> None:
    said = sentence(connect(serve()).ask("set", {"setting": "max_worker_age", "value": 60}))
    assert said.startswith("max_worker_age is for workers, and this instance is one process|")


def test_levels_of_loggers_are_the_programs_again_when_the_server_has_stopped(
    serve: Serve, connect: Connect
) -> None:
    """The program goes on without us."""
    logger = logging.getLogger("tests.tuned")
    logger.setLevel(logging.ERROR)
    server = serve()

    told = result(connect(server).ask("log_level", {"logger": "tests.tuned", "level": "debug", "for": 3600}))

    assert logger.level == logging.DEBUG
    assert told["workers"] == [{"worker": 0, "pid": os.getpid(), "error": ""}]
    server.shutdown().result(WAIT)
    assert logger.level == logging.ERROR
