"""A Flask application that does what a test tells it, and a control connection that speaks plain JSON."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import flask
import pytest

from flaskd import Server
from flaskd_ctl.protocol import ShutdownResult

WAIT = 20.0
"""Seconds after which a wait fails; nothing waits that long when all is well."""


class App(flask.Flask):
    """`GET /` answers; `GET /held` tells that it came, and answers when let go."""

    def __init__(self) -> None:
        super().__init__("shop")
        self.came = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.add_url_rule("/", "index", lambda: "hello")
        self.add_url_rule("/held", "held", self.held)
        self.add_url_rule("/bad", "bad", lambda: dict[str, str]()["missing"])

    def held(self) -> str:
        self.came.release()
        assert self.let_go.wait(WAIT)
        return "let go"


class Wire:
    """A plain stream to a server's control socket."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")

    def send(self, method: str, params: Any = None, ident: int = 1) -> None:
        message = {
            "jsonrpc": "2.0",
            "id": ident,
            "method": method,
            **({} if params is None else {"params": params}),
        }
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> Any:
        line = self.lines.readline()
        return json.loads(line) if line else None

    def ask(self, method: str, params: Any = None) -> Any:
        self.send(method, params)
        return self.receive()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def begin_shutdown(server: Server, **options: float) -> Future[ShutdownResult]:
    """Ask for a shutdown; returns when it is under way."""
    begun = threading.Event()
    server.bus.subscribe(lambda event: begun.set() if getattr(event, "state", "") == "stopping" else None)
    stopped = server.shutdown(**options)
    assert begun.wait(WAIT)
    return stopped


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def serve(app: App) -> Iterator[Callable[..., Server]]:
    """Start servers that are stopped, without grace, at the end."""
    started: list[Server] = []

    def start(application: Any = None, **settings: Any) -> Server:
        server = Server(application or app, **{"bind": "127.0.0.1:0", "linger": 0.1, **settings})
        server.start()
        started.append(server)
        return server

    yield start
    app.let_go.set()
    for server in started:
        server.shutdown(grace=0).result(WAIT)


@pytest.fixture
def connect() -> Iterator[Callable[[Server], Wire]]:
    """Open plain streams that are closed at the end."""
    opened: list[Wire] = []

    def open_one(server: Server) -> Wire:
        opened.append(Wire(server.endpoints[1].removeprefix("unix://")))
        return opened[-1]

    yield open_one
    for wire in opened:
        wire.close()


class Http:
    """One HTTP request over a socket of its own, in steps."""

    def __init__(self, url: str, request: bytes = b"") -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=WAIT)
        if request:
            self.socket.sendall(request)

    @classmethod
    def get(cls, url: str, path: str) -> "Http":
        return cls(url, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def answer(self) -> bytes:
        """Everything until the server closes; raises ConnectionError where it resets."""
        with self.socket:
            received = bytearray()  # which grows in place: a large response is read as fast as it comes
            while data := self.socket.recv(65536):
                received += data
            return bytes(received)
