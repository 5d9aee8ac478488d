"""The Werkzeug engine's request heads: strict, bounded in size and time, and in the environ as they were sent."""

import functools
import json
import socket
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest

from flaskd import Server
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]
TLS_HELLO = bytes.fromhex("16030100b0010000ac0303") + bytes(32)


@pytest.fixture(params=["werkzeug", "waitress"])
def either(request: pytest.FixtureRequest, serve: Serve) -> Serve:
    """Start servers as `serve` does, with each engine that receives heads as this one does."""
    return functools.partial(serve, engine=request.param)


def show(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with the texts of the environ."""
    body = json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def environ_of(server: Server, head: bytes) -> dict[str, str]:
    answer = Http(server.listeners[0], head + b"\r\n").answer()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
    shown: dict[str, str] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return shown


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET /\r\n", 400),  # HTTP/0.9
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # RFC 9112, section 3.2
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),  # section 5.1
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),  # section 5.2
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),  # section 6.3
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),  # section 6.1
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nExpect: gold\r\n\r\n", 417),  # RFC 9110, section 10.1.1
        (TLS_HELLO, 400),
    ],
)
def test_what_is_no_request_is_refused_at_once(head: bytes, code: int, app: App, either: Serve) -> None:
    """With a status line and a sentence; the application never sees it."""
    server = either(head_timeout=WAIT * 2)
    answer = Http(server.listeners[0], head).answer()
    assert answer.startswith(b"HTTP/1.1 %d " % code)
    first, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: text/plain\r\n" in first
    assert b"\r\nConnection: close" in first
    assert body.endswith(b"\n")
    assert sum(server.status().served.values()) == 0


def test_empty_lines_before_a_request_are_skipped(app: App, either: Serve) -> None:
    """RFC 9112, section 2.2; also where they come by themselves."""
    client = Http(either().listeners[0], b"\r\n")
    client.socket.sendall(b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert client.answer().endswith(b"hello")


def test_a_head_may_come_in_any_pieces(app: App, either: Serve) -> None:
    """Byte by byte."""
    client = Http(either().listeners[0])
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
        client.socket.sendall(bytes([byte]))
    assert client.answer().endswith(b"hello")


@pytest.mark.parametrize(
    "endless", [b"\r\n" * 10_000, b"G" * 20_000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000]
)
def test_an_endless_head_ends(endless: bytes, app: App, either: Serve) -> None:
    """Its bytes count, whatever they are."""
    answer = Http(either(max_request_header_size=8192).listeners[0], endless).answer()
    assert answer.split(b" ")[1] in (b"414", b"431")


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nA: ", b"\r\n"])
def test_a_head_that_drips_is_not_waited_for(head: bytes, app: App, either: Serve) -> None:
    """The timeout is for the whole head: one for each byte would hold a thread for days."""
    server = either(head_timeout=0.5, threads=1)
    with Http(server.listeners[0], head).socket as dripping:
        dripping.settimeout(0.05)
        for _ in range(100):
            try:
                assert dripping.recv(1) == b""
                break
            except TimeoutError:
                dripping.sendall(head[-1:])
            except ConnectionError:
                break
        else:
            pytest.fail("it was never closed")
    last = Http(server.listeners[0], b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert last.answer().endswith(b"hello")


# --- the environ


def test_the_path_is_the_bytes_that_were_sent(serve: Serve) -> None:
    """PEP 3333: as latin-1, with the percent encoding undone; the query and the raw target are untouched."""
    server = serve(show)
    shown = environ_of(server, b"GET /caf%E9/\xc3\xa9%2f;a?q=%E9&\xe9 HTTP/1.1\r\nHost: x\r\n")
    assert shown["PATH_INFO"] == "/caf\xe9/\xc3\xa9/;a"
    assert shown["QUERY_STRING"] == "q=%E9&\xe9"
    assert shown["RAW_URI"] == shown["REQUEST_URI"] == "/caf%E9/\xc3\xa9%2f;a?q=%E9&\xe9"


@pytest.mark.parametrize("target", ["//evil.example/a", "//[a", "/a//b", "/http://[x"])
def test_a_path_that_looks_like_a_host_is_a_path(target: str, serve: Serve) -> None:
    """urlsplit would see a host in it, or raise."""
    shown = environ_of(serve(show), f"GET {target} HTTP/1.1\r\nHost: x\r\n".encode())
    assert (shown["PATH_INFO"], shown["HTTP_HOST"]) == (target, "x")


def test_an_absolute_target_names_the_host(serve: Serve) -> None:
    """RFC 9112, section 3.2.2."""
    shown = environ_of(serve(show), b"GET http://shop.example:1/a?b HTTP/1.1\r\nHost: other\r\n")
    assert (shown["HTTP_HOST"], shown["PATH_INFO"], shown["QUERY_STRING"]) == ("shop.example:1", "/a", "b")


def test_headers_arrive_as_pep_3333_and_the_rfcs_have_them(serve: Serve) -> None:
    """Repeated fields are joined, cookies as RFC 6265 joins them; no underscore takes the place of a hyphen."""
    server = serve(show)
    shown = environ_of(
        server,
        b"POST / HTTP/1.1\r\nHost: x\r\nA-B: 1\r\nA_B: 2\r\na-b:\t3 \r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"Content-Length: 0000\r\nX: \xe9\r\n",
    )
    assert shown["HTTP_A_B"] == "1, 3"
    assert shown["HTTP_COOKIE"] == "a=1; b=2"
    assert shown["HTTP_X"] == "\xe9"
    assert shown["CONTENT_LENGTH"] == "0"
    assert shown["REMOTE_PORT"].isdigit()
    assert shown["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_a_length_beside_chunks_is_not_passed_on(serve: Serve) -> None:
    """RFC 9112, section 6.3: the chunks count, and whoever reads the length would see another body."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert "CONTENT_LENGTH" not in environ_of(serve(show), head)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_wsgiref_has_no_complaint(method: str, serve: Serve) -> None:
    """Its validator raises where either side of the gateway is wrong."""
    complaints: list[BaseException] = []
    seen = threading.Event()

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(3)
        list(environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    def watched(environ: Any, start_response: Any) -> Any:
        try:
            return validator(plain)(environ, start_response)
        except BaseException as error:
            complaints.append(error)
            raise
        finally:
            seen.set()

    sent = f"{method} /a%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".encode()
    assert Http(serve(watched).listeners[0], sent).answer().startswith(b"HTTP/1.1 200 OK")
    assert seen.wait(WAIT)
    assert complaints == []
