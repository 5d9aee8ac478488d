"""The Werkzeug engine's large responses: files that the kernel sends, and clients that do not read."""

import io
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest

from flaskd import Server
from flaskd.engines.werkzeug_engine.timed_socket import TimedSocket
from tests.flaskd.conftest import WAIT, App, Http
from tests.flaskd.engines.test_answering import MODERN, answering, ask

Serve = Callable[..., Server]


# --- files


@pytest.mark.parametrize("server_of", ["tcp", "unix"])
def test_a_file_is_sent_by_the_kernel(
    server_of: str, app: App, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where it is read, no more than its length; the ledger counts it."""
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    counts: list[int] = []
    send_file = TimedSocket.send_file
    monkeypatch.setattr(
        TimedSocket,
        "send_file",
        lambda *args: counts.append(send_file(*args)) or counts[-1],  # type: ignore[func-returns-value]
    )
    app.add_url_rule("/file", "file", lambda: flask.send_file(tmp_path / "file"))
    server = serve(**({"bind": f"unix:{tmp_path}/h"} if server_of == "unix" else {}))
    request = b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n"
    if server_of == "tcp":
        assert ask(server, request)[1] == content
    else:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/h")
            client.sendall(request)
            assert client.makefile("rb").read().partition(b"\r\n\r\n")[2] == content
    assert sum(counts) == len(content)
    assert server.shutdown().result(WAIT).clean
    assert server.status().served["2xx"] == 1


@pytest.mark.parametrize(
    ("make", "headers", "sent"),
    [
        (lambda path: path.open("rb"), [("Content-Length", "6")], b"abcdef"),
        (lambda path: _at(path.open("rb"), 2), [("Content-Length", "3")], b"cde"),
        (lambda path: path.open("rb"), [], b"6\r\nabcdef\r\n0\r\n\r\n"),
        (lambda path: io.BytesIO(b"memory"), [("Content-Length", "6")], b"memory"),
        (lambda path: path.open("rb"), [("Content-Length", "9")], b"abcdef"),
    ],
)
def test_any_file_can_be_a_body(
    make: Callable[[Path], Any], headers: list[tuple[str, str]], sent: bytes, serve: Serve, tmp_path: Path
) -> None:
    """With a length or without, real or not, and it is closed afterwards."""
    (tmp_path / "file").write_bytes(b"abcdef")
    files: list[Any] = []

    def plain(environ: Any, start_response: Any) -> Any:
        files.append(make(tmp_path / "file"))
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](files[0])

    server = serve(plain)
    assert ask(server)[1] == sent
    assert server.shutdown().result(WAIT).clean
    assert files[0].closed


def _at(file: Any, offset: int) -> Any:
    file.seek(offset)
    return file


# --- clients that do not read


@pytest.mark.parametrize("drips", [False, True])
@pytest.mark.parametrize("from_file", [False, True])
def test_a_client_that_does_not_take_its_response_is_cut_off(
    *, drips: bool, from_file: bool, serve: Serve, tmp_path: Path
) -> None:
    """After the write timeout, read a little or not at all; its thread serves the next one."""
    size = 50_000_000
    (tmp_path / "file").write_bytes(bytes(size))

    def plain(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/short":
            start_response("200 OK", [])
            return []
        start_response("200 OK", [("Content-Length", str(size))])
        return environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb")) if from_file else [bytes(size)]

    server = serve(plain, threads=1, write_timeout=0.5)
    with Http(server.listeners[0], MODERN).socket as slow:
        stop = threading.Event()

        def drip() -> None:
            while drips and not stop.wait(0.02):
                slow.recv(1)

        thread = threading.Thread(target=drip)
        thread.start()
        assert b" 200 " in ask(server, MODERN.replace(b" / ", b" /short "))[0]
        stop.set()
        thread.join(WAIT)
        with pytest.raises(ConnectionResetError):
            all(iter(lambda: slow.recv(1_000_000), b""))


def test_the_same_over_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    """Where TCP's own timeout does not reach."""
    server = serve(answering([bytes(50_000_000)]), bind=f"unix:{tmp_path}/h", threads=1, write_timeout=0.3)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(f"{tmp_path}/h")
        slow.sendall(MODERN)
        result = server.shutdown(grace=WAIT).result(WAIT)
        assert result.took < WAIT / 2
        assert result.connections_cut == 0


def test_the_same_over_tls(serve: Serve, certificate: tuple[ssl.SSLContext, dict[str, str]]) -> None:
    """Where OpenSSL stands between us and the kernel."""
    context, settings = certificate
    server = serve(answering([bytes(50_000_000)]), threads=1, write_timeout=0.3, **settings)
    plain = Http(server.listeners[0].replace("https", "http")).socket
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as slow:
        slow.sendall(MODERN)
        result = server.shutdown(grace=WAIT).result(WAIT)
        assert result.took < WAIT / 2
        assert result.connections_cut == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a client has taken")
def test_a_slow_client_that_reads_on_gets_everything(serve: Serve, tmp_path: Path) -> None:
    """What it takes counts; the kernel tells of room only when three quarters are free (af_unix.c, unix_writable)."""
    size = 600_000
    server = serve(
        answering([bytes(size)], ("Content-Length", str(size))), bind=f"unix:{tmp_path}/h", write_timeout=0.4
    )
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(f"{tmp_path}/h")
        slow.sendall(MODERN)
        received = b""
        while data := slow.recv(10_000):
            received += data
            time.sleep(0.05)  # a slow client is what is tested
    assert len(received.partition(b"\r\n\r\n")[2]) == size
    assert server.shutdown(grace=WAIT).result(WAIT).clean
