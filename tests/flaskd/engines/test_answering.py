"""Responses of the engines in Python: PEP 3333 and RFC 9112, whatever the application and the client do."""

import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flaskd import Server
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]
MODERN = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"


@pytest.fixture(params=["werkzeug", "waitress"])
def serve(request: pytest.FixtureRequest, serve: Serve) -> Serve:
    """Start servers as `serve` does, with each engine in turn."""
    return functools.partial(serve, engine=request.param)


def answering(body: Any, *headers: tuple[str, str], status: str = "200 OK") -> Any:
    """Make a WSGI application with this response; a callable body is called for each request."""

    def plain(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return body() if callable(body) else body

    return plain


def ask(server: Server, request: bytes = MODERN) -> tuple[bytes, bytes]:
    head, _, body = Http(server.listeners[0], request).answer().partition(b"\r\n\r\n")
    return head, body


def failing(*pieces: bytes, error: BaseException | None = None) -> Callable[[], Iterator[bytes]]:
    def body() -> Iterator[bytes]:
        yield from pieces
        raise error or RuntimeError("the database went away")

    return body


# --- what cannot be sent


@pytest.mark.parametrize(
    ("status", "header"),
    [
        ("302 Found", ("Location", "/x\r\nSet-Cookie: evil=1")),
        ("200 OK", ("X-A", "a\nSet-Cookie: evil=1")),
        ("200 OK", ("X-A", "a\rSet-Cookie: evil=1")),
        ("200 OK", ("X-A", "a\0b")),
        ("200 OK", ("X-A\r\nSet-Cookie: evil", "1")),
        ("200 OK", ("X A", "1")),
        ("200 OK", ("", "1")),
        ("200 OK", ("X-A", "\u2713")),
        ("200 OK\r\nSet-Cookie: evil=1", ("X-A", "1")),
        ("99 Low", ("X-A", "1")),
        ("20\xb2 OK", ("X-A", "1")),
        ("200 OK", ("Content-Length", "-2")),
    ],
)
def test_nothing_of_a_response_that_cannot_be_sent_is_sent(
    status: str, header: tuple[str, str], serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """500 and one line in the log (CWE-113)."""
    answer = Http(serve(answering([b"ok"], header, status=status)).listeners[0], MODERN).answer()
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"evil" not in answer
    (record,) = [record for record in caplog.records if record.name == "flaskd.http"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is None
    assert "\n" not in record.getMessage()


def test_hop_by_hop_fields_are_the_servers_own(serve: Serve) -> None:
    """An application that copies another server's response frames nothing."""
    copied = [("Transfer-Encoding", "chunked"), ("Connection", "keep-alive"), ("Keep-Alive", "5")]
    head, body = ask(serve(answering([b"whole"], *copied, ("Content-Length", "5"))))
    assert body == b"whole"
    assert b"Transfer-Encoding" not in head
    assert b"Keep-Alive" not in head
    assert head.count(b"Connection: close") == 1


# --- applications that fail


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), SystemExit(3), KeyboardInterrupt(), ConnectionResetError("theirs")]
)
@pytest.mark.parametrize("request_", [MODERN, OLD])
def test_one_that_fails_before_its_first_byte_is_500(
    request_: bytes, error: BaseException, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """In its first step as well as at once, whatever it raises; its thread serves on."""

    def plain(environ: Any, start_response: Any) -> Any:
        raise error

    server = serve(answering(failing(b"", error=error)), threads=1)
    assert ask(server, request_)[0].startswith(b"HTTP/1.1 500 ")
    assert ask(server, request_)[0].startswith(b"HTTP/1.1 500 ")
    assert ask(serve(plain, name="other"), request_)[0].startswith(b"HTTP/1.1 500 ")
    assert len([record for record in caplog.records if record.exc_info]) == 3


def test_sys_exit_in_a_view_is_500(app: App, serve: Serve) -> None:
    """And ends nothing, not even its thread."""
    app.add_url_rule("/exit", "exit", lambda: sys.exit(1))
    server = serve(threads=1)
    assert b" 500 " in Http.get(server.listeners[0], "/exit").answer()[:20]
    assert ask(server)[1] == b"hello"


@pytest.mark.parametrize("error", [RuntimeError("x"), SystemExit(3)])
def test_one_that_fails_later_is_broken_off(error: BaseException, serve: Serve) -> None:
    """No last chunk, fewer bytes than announced; where only the end of the connection ends the body, a reset."""
    server = serve(answering(failing(b"first", error=error)), threads=1)
    assert ask(server)[1] == b"5\r\nfirst\r\n"
    with pytest.raises(ConnectionResetError):
        ask(server, OLD)
    sized = serve(answering(failing(b"first", error=error), ("Content-Length", "10")), name="sized")
    assert ask(sized)[1] == b"first"
    assert ask(sized, OLD)[1] == b"first"


def test_one_that_never_starts_a_response_is_500(serve: Serve) -> None:
    """Nor does one that begins twice, or answers with text."""

    def twice(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return [b"x"]

    for number, wrong in enumerate((lambda *_: [b"x"], lambda *_: [], twice, answering(["text"]))):
        assert ask(serve(wrong, name=f"n{number}"))[0].startswith(b"HTTP/1.1 500 ")


def test_start_response_may_change_its_mind_until_bytes_were_sent(serve: Serve) -> None:
    """PEP 3333: with exc_info; afterwards that is raised."""

    app_config: dict[str, str] = {}

    def plain(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("A", "1")])
        for text in ("first", "second"):
            try:
                app_config[text]
            except LookupError:
                start_response("503 Changed", [("B", "2")], sys.exc_info())
            yield b"x"

    head, body = ask(serve(plain))
    assert head.startswith(b"HTTP/1.1 503 Changed\r\nB: 2\r\n")
    assert body == b"1\r\nx\r\n"


# --- framing


def test_an_old_client_gets_no_chunks(serve: Serve) -> None:
    """RFC 9112, section 7.1; to a newer one the end is told."""
    server = serve(answering(lambda: iter([b"one", b"", b"two"])))
    head, body = ask(server, OLD)
    assert (b"Transfer-Encoding" in head, body) == (False, b"onetwo")
    head, body = ask(server)
    assert (b"Transfer-Encoding: chunked" in head, body) == (True, b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        ("204 No Content", MODERN),
        ("304 Not Modified", MODERN),
        ("101 Switching", MODERN),
        ("200 OK", MODERN.replace(b"GET", b"HEAD")),
        ("200 OK", OLD.replace(b"GET", b"HEAD")),
    ],
)
@pytest.mark.parametrize("headers", [[], [("Content-Length", "4")]])
def test_what_has_no_body_has_none(
    status: str, request_: bytes, headers: list[tuple[str, str]], serve: Serve
) -> None:
    """RFC 9112, section 6.3; a body that never ends is not waited for, and the request counts as served."""
    server = serve(answering(lambda: iter(lambda: b"body", b""), *headers, status=status))
    head, body = ask(server, request_)
    assert head.startswith(f"HTTP/1.1 {status}".encode())
    assert b"Transfer-Encoding" not in head
    assert body == b""
    assert server.shutdown().result(WAIT).clean
    assert server.status().served["aborted"] == 0


def test_no_more_is_sent_than_was_announced(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """What follows would be read as another response."""
    assert ask(serve(answering([b"abc", b"def"], ("Content-Length", "4"))))[1] == b"abcd"
    assert "more bytes than its Content-Length" in caplog.text


@pytest.mark.parametrize("pieces", [[b"abc"], [b""], []])
def test_a_response_that_is_too_short_is_broken_off(
    pieces: list[bytes], serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """And said in the log."""
    head, body = ask(serve(answering(pieces, ("Content-Length", "4"))))
    assert b"Content-Length: 4" in head
    assert body == b"".join(pieces)
    assert f"is {4 - len(body)} bytes shorter than its Content-Length" in caplog.text


def test_an_empty_response_says_so(serve: Serve) -> None:
    """Then its end is told with either version."""
    for request in (MODERN, OLD):
        head, body = ask(serve(answering([b""]), name=f"n{len(request)}"), request)
        assert (b"Content-Length: 0" in head, body) == (True, b"")


def test_a_status_without_a_reason_has_its_space(serve: Serve) -> None:
    """RFC 9112, section 4: the space is not optional."""
    assert ask(serve(answering([b""], status="299")))[0].startswith(b"HTTP/1.1 299 \r\n")


def test_date_and_server_are_sent_once(serve: Serve) -> None:
    """The application's own, where it has them."""
    head, _ = ask(serve(answering([b"x"], ("Date", "today"), ("server", "mine"))))
    assert head.lower().count(b"\r\ndate: ") == head.lower().count(b"\r\nserver: ") == 1


def test_write_sends_at_once(serve: Serve) -> None:
    """The client has it while the application goes on."""
    let_go = threading.Event()

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "10")])
        write(b"first")
        assert let_go.wait(WAIT)
        return [b"later"]

    client = Http(serve(plain).listeners[0], MODERN)
    received = b""
    while not received.endswith(b"first"):
        received += client.socket.recv(1000)
    let_go.set()
    assert client.answer() == b"later"
