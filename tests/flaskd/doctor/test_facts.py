"""What the doctor's rules rest on, seen at the real thing."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd.doctor import haproxy
from flaskd.engines.granian_engine.engine import GranianEngine
from flaskd.engines.protocol import Options
from tests.flaskd.conftest import App
from tests.support.balancers import Balancer
from tests.support.daemons import PATIENCE
from tests.support.needs import requires

pytestmark = pytest.mark.live

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(PATIENCE)
        yield sock


LATE = 10.0
"""Seconds by which a busy machine may be late; the other timeouts are far beyond."""


def see_end(connection: socket.socket) -> float:
    """Return when the other side ends the connection (monotonic)."""
    connection.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    return time.monotonic()


@requires("haproxy")
@pytest.mark.parametrize("option", ["http-reuse safe", "http-reuse never", "option http-server-close"])
def test_haproxy_lets_go_of_an_idle_connection_as_is_read_from_its_file(
    option: str, listener: socket.socket, tmp_path: Path
) -> None:
    """Its pool is let go of in rounds, the first one of which may come at once."""
    with socket.create_server(("127.0.0.1", 0)) as front:
        host, port = listener.getsockname()
        config = tmp_path / "haproxy.cfg"
        config.write_text(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
            f"  timeout http-keep-alive 700ms\nlisten web\n  bind fd@{front.fileno()}\n  {option}\n"
            f"  server one {host}:{port} pool-purge-delay 400ms\n"
        )
        (read,) = haproxy.read("haproxy.cfg", config.read_text(), unseen=[])
        with (
            Balancer(["haproxy", "-db", "-f", str(config)], tmp_path, front),
            socket.create_connection(front.getsockname(), timeout=PATIENCE) as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            server, _ = listener.accept()
            with server:
                assert server.recv(65536).endswith(b"\r\n\r\n")
                began = time.monotonic()
                server.sendall(RESPONSE)
                waited = see_end(server) - began

    assert read.idle == pytest.approx({"http-reuse safe": 1.2, "http-reuse never": 0.7}.get(option, 0))
    assert read.idle / 4 <= waited < read.idle + LATE


def test_granian_lets_go_of_an_idle_connection_after_the_head_timeout(
    app: App, listener: socket.socket
) -> None:
    """So a balancer has to do so before."""
    engine = GranianEngine(Options(threads=2, head_timeout=1.0, backlog=8))
    engine.serve(app, [listener], on_change=lambda: None)
    try:
        with socket.create_connection(listener.getsockname(), timeout=PATIENCE) as client:
            began = time.monotonic()
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while not client.recv(65536).endswith(b"hello"):
                pass
            waited = see_end(client) - began
    finally:
        engine.stop()

    assert 1.0 <= waited < 1.0 + LATE
