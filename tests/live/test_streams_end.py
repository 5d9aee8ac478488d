"""Streams of an application that watches `stopping` end by themselves, so that no stop has to wait for them."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import simple_websocket

from flaskd import Server
from flaskd_ctl import Client
from tests.support import commanded
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.operating import Watch, client

pytestmark = pytest.mark.live

STREAMS = 100
ENGINES = ("granian", "waitress", "werkzeug")


class Stream:
    """An event stream that has begun."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, PATIENCE)
        self._socket.sendall(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\n")
        self._read = b""
        while b"begun" not in self._read:
            received = self._socket.recv(4096)
            assert received, self._read
            self._read += received

    def rest(self) -> bytes:
        """Return what came up to the end of the connection."""
        while received := self._socket.recv(4096):
            self._read += received
        return self._read

    def close(self) -> None:
        self._socket.close()


@contextmanager
def streams(address: tuple[str, int], count: int) -> Iterator[list[Stream]]:
    """Open event streams."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            opened.append(Stream(address))
            stack.callback(opened[-1].close)
        yield opened


def complete(response: bytes) -> bool:
    return b"event: bye" in response and response.endswith(b"0\r\n\r\n")


def leaving(daemon: Daemon) -> str:
    """Ask the application whether its worker leaves."""
    with socket.create_connection(daemon.address, PATIENCE) as sock:
        sock.sendall(b"GET /leaving HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        with sock.makefile("rb") as file:
            return file.read().rpartition(b"\r\n")[2].decode()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stop_with_many_streams_takes_less_than_a_second(start_daemon: StartDaemon, engine: str) -> None:
    """And cuts none of them: each ends with a complete response. The grace period is 30 s."""
    daemon = start_daemon("tests.support.commanded:app", "--engine", engine, "--threads", "128")

    with streams(daemon.address, STREAMS) as opened, client(daemon) as running:
        result = running.shutdown()

        assert all(complete(stream.rest()) for stream in opened)
    assert (result.clean, result.answered) == (True, STREAMS)
    assert result.took < 1


@pytest.mark.parametrize("engine", ENGINES)
def test_streams_in_all_threads_make_room_for_who_waits(start_daemon: StartDaemon, engine: str) -> None:
    """A request in the accept queue is answered before the stop is done; nothing waits for the grace period."""
    daemon = start_daemon(
        "tests.support.commanded:app", "--engine", engine, "--threads", "4", "--grace", "20"
    )

    with streams(daemon.address, 4) as opened, client(daemon) as running:
        with socket.create_connection(daemon.address, PATIENCE) as waiting:
            waiting.sendall(b"GET /items/7 HTTP/1.1\r\nHost: shop\r\n\r\n")
            result = running.shutdown()
            answer = waiting.recv(4096)

        assert all(complete(stream.rest()) for stream in opened)
    assert answer.startswith(b"HTTP/1.1 200")
    assert result.clean
    assert result.took < 5


@pytest.mark.parametrize("change", ["reload", "scale", "restart_worker", "recycle"])
def test_streams_end_whenever_their_worker_leaves(
    start_daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """By a reload, when there are fewer workers, when it is replaced; and its signal is sent once, with the application."""
    left = tmp_path / "left"
    monkeypatch.setenv("LEFT", str(left))
    options = ["--max-requests", "1"] if change == "recycle" else []
    daemon = start_daemon("tests.support.commanded:app", "--engine", "granian", "--workers", "1", *options)

    with streams(daemon.address, 2) as opened, client(daemon) as running, Watch(daemon) as watch:
        (first,) = running.workers()
        match change:
            case "reload":
                running.reload()
            case "scale":
                running.scale(2)
                running.scale(1)
            case "restart_worker":
                running.restart_worker(first.id)
            case "recycle":
                leaving(daemon)
        watch.until_worker("gone")

        gone = [each.pid for each in running.workers()]
        if first.pid not in gone:
            assert all(complete(stream.rest()) for stream in opened)
            assert left.read_text() == f"{first.pid} True\n"
        else:  # scale removed the new one
            assert len(left.read_text().splitlines()) == 1


def test_a_drain_ends_no_stream(start_daemon: StartDaemon) -> None:
    """The worker stays: it serves on, out of rotation."""
    daemon = start_daemon("tests.support.commanded:app")

    with streams(daemon.address, 1) as (stream,), client(daemon) as running:
        running.drain()
        assert leaving(daemon) == "False"
        running.resume()
        assert leaving(daemon) == "False"
        running.shutdown()
        assert complete(stream.rest())


def test_streams_of_a_server_end_too(runtime_dir: str) -> None:
    """`stopping` is an attribute of the Server itself."""
    with Server(commanded.app, bind="127.0.0.1:0", name="inside") as server, Client("inside") as inside:
        port = int(server.listeners[0].rpartition(":")[2].strip("/"))
        with streams(("127.0.0.1", port), 3) as opened:
            inside.drain()
            assert not server.stopping.is_set()
            result = inside.shutdown()
            assert server.stopping.is_set()

            assert all(complete(stream.rest()) for stream in opened)
    assert result.clean
    assert result.took < 2
    assert commanded.app.extensions["flaskd"] is server
    assert os.getpid() == result.pid


def test_web_sockets_end_too(start_daemon: StartDaemon) -> None:
    """Each is closed as the protocol says, and nothing is cut."""
    daemon = start_daemon("tests.support.commanded:app", "--engine", "werkzeug")
    url = f"{daemon.url.replace('http', 'ws')}/chat"
    opened = [simple_websocket.Client(url) for _ in range(5)]
    for ws in opened:
        ws.send("hello")
        assert ws.receive(timeout=PATIENCE) == "hello"

    with client(daemon) as running:
        result = running.shutdown()

    assert result.clean
    assert result.took < 2
    for ws in opened:
        with pytest.raises(simple_websocket.ConnectionClosed) as closed:
            ws.receive(timeout=PATIENCE)
        assert closed.value.reason == simple_websocket.ConnectionClosed(1000).reason
