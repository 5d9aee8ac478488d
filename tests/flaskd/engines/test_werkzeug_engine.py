"""The Werkzeug engine in front of a real server: bounds, silence, half requests, forks."""

import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flaskd import Server
from flaskd.settings.schema import Settings
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]


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


def test_a_server_out_of_descriptors_for_http_says_so_before_it_serves() -> None:
    """libzmq aborts the process when it cannot accept, so a reserve is kept."""
    from flaskd.errors import ConfigError
    from flaskd.process.descriptors import RESERVE
    from flaskd.process.ending import check_descriptors

    check_descriptors(100, 100 + RESERVE)
    with pytest.raises(ConfigError, match="need"):
        check_descriptors(101, 100 + RESERVE)
    assert Settings().threads + RESERVE < 256
