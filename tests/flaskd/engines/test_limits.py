"""Bounds on what a request may bring, with either engine: its head, its body, and what is sent though nobody reads it."""

import contextlib
import http.client
import io
import socket
import threading
from collections.abc import Callable
from typing import Any

import flask
import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from flaskd import Server
from flaskd.app.body_limit import BodyLimit
from flaskd.engines.shared import closing
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]
UPLOAD = 5_000_000


@pytest.fixture(params=["werkzeug", "granian"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each in turn."""
    return str(request.param)


@pytest.fixture
def serve(serve: Serve, engine: str) -> Serve:
    """Start servers with that engine."""
    return lambda application=None, **settings: serve(application, **{"engine": engine, **settings})


@pytest.fixture
def app(app: App) -> App:
    """One that takes uploads: it reads them, their first line, or not at all."""
    app.add_url_rule("/size", "size", lambda: str(len(flask.request.data)), methods=["POST"])
    app.add_url_rule("/line", "line", lambda: flask.request.stream.readline(), methods=["POST"])
    app.add_url_rule("/lines", "lines", lambda: str(list(flask.request.stream)), methods=["POST"])
    app.add_url_rule("/none", "none", lambda: "none", methods=["POST"])
    return app


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Spell out a request, the end of whose answer is the end of the stream."""
    given = [f"Content-Length: {len(body) if length is None else length}", "Host: x", "Connection: close"]
    return "\r\n".join([f"POST {path} HTTP/1.1", *given, *headers, "", ""]).encode() + body


def chunked(path: str, *chunks: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


# --- heads


def test_a_head_within_the_bound_is_served(app: App, serve: Serve) -> None:
    """Cookies and tokens have room."""
    head = f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: {'a' * 50_000}\r\n\r\n"
    assert Http(serve().listeners[0], head.encode()).answer().endswith(b"hello")


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([f"GET /{'a' * 300_000} HTTP/1.1"], ("414", "431")),
        (["GET / HTTP/1.1", f"A: {'a' * 300_000}"], ("431",)),
        (["GET / HTTP/1.1", *[f"A{number}: {'a' * 5000}" for number in range(60)]], ("431",)),
        (["GET / HTTP/1.1", *[f"A{number}: a" for number in range(150)]], ("431",)),
    ],
)
def test_a_larger_one_is_answered_so(
    lines: list[str], codes: tuple[str, ...], app: App, serve: Serve
) -> None:
    """And not reset: line, header, headers or their number."""
    answer = Http(serve().listeners[0], "\r\n".join([*lines, "Host: x", "", ""]).encode()).answer()
    assert answer.split(b" ")[1].decode() in codes


def test_the_bound_is_a_setting(app: App, serve: Serve) -> None:
    """Both ways."""
    head = f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: {'a' * 30_000}\r\n\r\n".encode()
    assert b" 431 " in Http(serve(max_request_header_size=8192).listeners[0], head).answer()[:20]
    assert (
        Http(serve(name="wide", max_request_header_size=300_000).listeners[0], head)
        .answer()
        .endswith(b"hello")
    )


# --- bodies


@pytest.mark.parametrize(
    "request_",
    [
        post("/size", b"x" * 101),
        post("/none", b"", "Expect: 100-continue", length=10**15),
        chunked("/size", b"x" * 60, b"x" * 60),
    ],
)
def test_a_body_beyond_the_bound_is_answered_413(request_: bytes, app: App, serve: Serve) -> None:
    """Announced, asked for or in chunks; nobody is told to continue, and it is counted and logged as any request."""
    server = serve(max_request_body_size=100)
    client = Http(server.listeners[0], request_)
    assert b" 413 " in client.answer()[:20]
    assert server.status().served["4xx"] == 1


@pytest.mark.parametrize("request_", [post("/size", b"x" * 100), chunked("/size", b"x" * 50, b"x" * 50)])
def test_a_body_within_the_bound_is_read_whole(request_: bytes, app: App, serve: Serve) -> None:
    """To the last byte."""
    assert Http(serve(max_request_body_size=100).listeners[0], request_).answer().endswith(b"100")


def test_an_application_that_knows_nothing_of_413_is_bounded_too(serve: Serve) -> None:
    """What is raised where it reads is answered in front of it."""

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        size = len(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return [str(size).encode()]

    server = serve(plain, max_request_body_size=100)
    assert b" 413 " in Http(server.listeners[0], chunked("/", b"x" * 101)).answer()[:20]
    assert Http(server.listeners[0], chunked("/", b"x" * 100)).answer().endswith(b"100\r\n0\r\n\r\n")


@pytest.mark.parametrize("length", ["x", "+6", "-6", "6 6", "6_0", "\u0666", "\x0c6", "6" * 5000])
def test_a_length_that_is_none_passes_no_limit(length: str) -> None:
    """Engines refuse it; where one did not, the body is bounded as it is read, and a second read is refused as the first."""
    refused: list[type] = []

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        for _ in range(2):
            with pytest.raises(RequestEntityTooLarge) as caught:
                environ["wsgi.input"].read()
            refused.append(caught.type)
        return [b""]

    body = io.BytesIO(b"123456")
    assert BodyLimit(plain, 5)({"CONTENT_LENGTH": length, "wsgi.input": body}, lambda *_: lambda _: None)
    assert len(refused) == 2


@pytest.mark.parametrize("length", ["6", " 6", "6 ", "\t6\t", "0006"])
def test_a_length_in_white_space_is_one(length: str) -> None:
    """RFC 9110, section 5.5: it is not a part of the value."""
    codes: list[str] = []
    environ = {"CONTENT_LENGTH": length, "REQUEST_METHOD": "POST"}
    BodyLimit(lambda *_: [b""], 5)(environ, lambda status, *_: codes.append(status))  # type: ignore[arg-type]
    assert codes[0].startswith("413")


@pytest.mark.parametrize("spell", [post, chunked])
def test_lines_of_a_body_are_lines(spell: Callable[[str, bytes], bytes], app: App, serve: Serve) -> None:
    """PEP 3333: as of a file."""
    body = b"ab\ncd\n\nefghij"
    server = serve()
    assert (
        Http(server.listeners[0], spell("/lines", body))
        .answer()
        .endswith(b"[b'ab\\n', b'cd\\n', b'\\n', b'efghij']")
    )
    assert Http(server.listeners[0], spell("/line", body)).answer().endswith(b"ab\n")


def test_an_upload_that_breaks_off_is_not_taken_for_whole(app: App, serve: Serve) -> None:
    """Its length was announced."""
    server = serve()
    upload = Http(server.listeners[0], post("/size", b"x" * 50, length=100))
    upload.socket.shutdown(socket.SHUT_WR)
    assert b" 200 " not in upload.answer()[:20]


# --- what nobody reads


@pytest.mark.parametrize("path", ["/none", "/line"])
@pytest.mark.parametrize("pauses", [0, 3])
def test_who_still_uploads_gets_the_answer(path: str, pauses: int, app: App, serve: Serve) -> None:
    """The application answered at once, without reading (all of) it; the client sends all it has before it looks."""
    server = serve()
    upload = Http(server.listeners[0], post(path, b"\n", length=UPLOAD))
    pause = threading.Event()
    for number in range(10):
        upload.socket.sendall(b"x" * (UPLOAD // 10 - (number == 9)))
        if number < pauses:
            pause.wait(0.05)
    assert upload.answer().startswith(b"HTTP/1.1 200")


def test_a_refused_upload_gets_the_answer(app: App, serve: Serve) -> None:
    """413 is worth reading."""
    server = serve(max_request_body_size=1000)
    upload = Http(server.listeners[0], post("/size", b"x" * UPLOAD))
    assert b" 413 " in upload.answer()[:20]


def test_who_stalls_keeps_nobody_else_from_being_served(app: App, serve: Serve) -> None:
    """Half of the uploads that nobody reads hold a thread, at most for a while."""
    server = serve(threads=4)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stalled = Http(server.listeners[0], post("/none", b"x", length=UPLOAD))
            stack.enter_context(stalled.socket)
            assert stalled.socket.recv(20).startswith(b"HTTP/1.1 200")
        for _ in range(6):
            client = Http(server.listeners[0], b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.answer().endswith(b"hello")


@pytest.mark.parametrize("linger", [0.0, 0.1])
def test_a_stop_does_not_wait_for_who_stalls(linger: float, app: App, serve: Serve) -> None:
    """Beyond the linger; nothing is owed to it, so nothing is cut."""
    server = serve(linger=linger)
    stalled = Http(server.listeners[0], post("/none", b"x", length=UPLOAD))
    assert stalled.socket.recv(20).startswith(b"HTTP/1.1 200")
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert (result.clean, result.connections_cut) == (True, 0)
    assert result.took < WAIT / 4
    stalled.socket.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience."""
    monkeypatch.setattr(closing, "LINGERING_BYTES", 1_000_000)
    monkeypatch.setattr(closing, "LINGERING_TIMEOUT", 0.1)


@pytest.mark.usefixtures("short")
def test_an_endless_upload_ends(app: App, serve: Serve) -> None:
    """After so many bytes it is reset."""
    server = serve()
    endless = Http(server.listeners[0], post("/none", b"x", length=10**12))
    with endless.socket, pytest.raises(OSError, match=r"reset|[Bb]roken"):
        _send(endless.socket, 1_000_000_000)


def _send(sock: socket.socket, size: int) -> None:
    for _ in range(size // 100_000):
        sock.sendall(b"x" * 100_000)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("engine", ["werkzeug"])
def test_a_stalled_upload_ends(app: App, serve: Serve) -> None:
    """After a while without a byte."""
    stalled = Http(serve().listeners[0], post("/none", b"x", length=UPLOAD))
    assert stalled.answer().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("engine", ["granian"])
def test_a_connection_is_kept_after_an_upload_that_was_read(app: App, serve: Serve) -> None:
    """And not after one that was not: its rest would be taken for the next request."""
    host, _, port = serve().listeners[0].removeprefix("http://").rpartition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=WAIT)
    with contextlib.closing(client):
        for path, kept in (("/size", True), ("/size", True), ("/none", False)):
            client.request("POST", path, body=b"x" * 100_000)
            response = client.getresponse()
            response.read()
            assert (response.getheader("connection") != "close") is kept
