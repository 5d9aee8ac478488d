"""WSGI on granian's protocol objects, with one that writes down what it is told."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest

from flaskd.engines.granian_engine.exchange import Exchange
from flaskd.engines.granian_engine.server import Server
from flaskd.engines.granian_engine.wsgi import respond
from flaskd.engines.protocol import Options
from flaskd.http.environ import server_environ
from flaskd.http.late_answers import BODY, LateAnswers

Headers = list[tuple[str, str]]
HEADERS: Headers = [("X", "y")]


class Proto:
    """As an exchange: the whole response at once, or pieces and an end."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.body = b""
        self.whole = False
        self.ended = False
        self.broken = False

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        self.whole = self.ended = True

    def response_write(self, status: int, headers: Headers, piece: bytes) -> None:
        self.status, self.headers = status, headers
        self.body += piece

    def response_end(self) -> None:
        self.ended = True

    def break_off(self) -> None:
        self.broken = True


class Body:
    """A body that knows whether it was closed."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        self.chunks = chunks
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self.chunks)

    def close(self) -> None:
        self.closed += 1


def answer(app: Callable[..., Any], **base: Any) -> Proto:
    proto = Proto()
    with socket.socket(socket.AF_UNIX) as listener:
        common = server_environ(listener, "granian", multiprocess=False)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "h", **common, **base}
    respond(app, cast(Exchange, proto), environ, Server(Options(threads=2)))
    assert proto.ended != proto.broken
    return proto


def test_a_list_is_sent_at_once() -> None:
    """Its length is known."""

    def app(environ: Any, start: Any) -> list[bytes]:
        start("404 Not Found", HEADERS)
        return [b"a", b"b"]

    proto = answer(app)
    assert (proto.status, proto.headers, proto.body, proto.whole) == (404, HEADERS, b"ab", True)


def test_any_other_body_is_drawn_and_closed() -> None:
    """Once."""
    body = Body((b"a", b"b"))

    def app(environ: Any, start: Any) -> Body:
        start("200 OK", HEADERS)
        return body

    proto = answer(app)
    assert (proto.body, proto.whole, body.closed) == (b"ab", False, 1)


@pytest.mark.parametrize(
    ("method", "length", "chunks", "whole"),
    [
        ("GET", "2", (b"ab",), True),
        ("GET", "2", (b"a", b"b"), False),
        ("GET", "0", (), True),
        ("HEAD", "5", (), False),  # the length of what is not there
    ],
)
def test_a_body_of_one_piece_is_sent_at_once(
    method: str, length: str, chunks: tuple[bytes, ...], whole: bool
) -> None:
    """Its length says so; it is drawn to its end all the same, and closed once."""
    ended: list[bool] = []

    def drawn() -> Iterator[bytes]:
        yield from chunks
        ended.append(True)

    body = Body(drawn())

    def app(environ: Any, start: Any) -> Body:
        start("200 OK", [("content-length", length)])
        return body

    proto = answer(app, REQUEST_METHOD=method)
    assert (proto.body, proto.whole, body.closed, ended) == (b"".join(chunks), whole, 1, [True])


def test_a_body_that_fails_at_once_is_an_error_and_not_half_a_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where its length was announced; it is closed."""
    body = Body(bytes(int(text)) for text in ("none", "2"))

    def app(environ: Any, start: Any) -> Body:
        start("200 OK", [("Content-Length", "2")])
        return body

    assert answer(app).status == 500
    assert "ValueError: invalid literal for int() with base 10: 'none'" in caplog.text
    assert body.closed == 1


def test_an_application_that_is_a_generator_has_its_status_and_headers() -> None:
    """It calls start_response with its first step."""

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("404 Not Found", HEADERS)
        yield b"a"
        yield b"b"

    proto = answer(app)
    assert (proto.status, proto.headers, proto.body) == (404, HEADERS, b"ab")


def test_what_is_written_comes_first() -> None:
    """The old way, which some frameworks still use."""

    def app(environ: Any, start: Any) -> Iterable[bytes]:
        start("200 OK", HEADERS)(b"a")
        return environ["body"]  # type: ignore[no-any-return]

    assert answer(app, body=[b"b"]).body == b"ab"
    assert answer(app, body=(b"b",)).body == b"ab"


@pytest.mark.parametrize("status", ["99 Hm", "1000 Hm", "abc", "", "²00 OK", "200OK"])
def test_what_is_no_status_is_an_error(status: str, caplog: pytest.LogCaptureFixture) -> None:
    """Rust would take the process down with it."""
    assert answer(lambda environ, start: start(status, HEADERS)).status == 500
    assert "is no HTTP status" in caplog.text


@pytest.mark.parametrize("chunks", [[b"a"], []])
def test_a_response_that_was_never_started_is_an_error(
    chunks: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """And its body is closed."""
    body = Body(chunks)
    assert answer(lambda environ, start: body).status == 500
    assert "AssertionError: the application did not call start_response" in caplog.text
    assert body.closed == 1


def test_a_second_start_needs_an_exception_and_is_too_late_once_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """PEP 3333: exc_info replaces what was not sent, and is raised again where it was."""

    def twice(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        start("200 OK", [])
        return []

    def replaced(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        start("500 Oh", HEADERS, (KeyError, KeyError("a"), None))
        return []

    def late(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"a"
        start("500 Oh", HEADERS, (KeyError, KeyError("a"), None))

    assert answer(twice).status == 500
    assert "AssertionError: start_response was called twice" in caplog.text
    assert (answer(replaced).status, answer(replaced).headers) == (500, HEADERS)
    assert answer(late).broken
    assert "KeyError: 'a'" in caplog.text


def test_while_closing_every_response_says_so_once() -> None:
    """`Connection: close`; before and after, nothing does. What is the server's own is not the application's to say."""

    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [*HEADERS, ("connection", "keep-alive")])
        return []

    server = Server(Options(threads=2))
    proto = Proto()
    seen = []
    for server.keepalive in (True, False, True):
        respond(app, cast(Exchange, proto), {"REQUEST_METHOD": "GET"}, server)
        seen.append([value for name, value in proto.headers if name.lower() == "connection"])
    assert seen == [[], ["close"], []]


def test_text_in_a_list_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """WSGI bodies are bytes."""

    def app(environ: Any, start: Any) -> list[str]:
        start("200 OK", [])
        return ["text"]

    assert answer(app).status == 500
    assert "TypeError" in caplog.text


def test_the_environ_holds_the_request_and_nothing_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY would look like a header; a secret does not belong in an error report."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy")
    seen: dict[str, Any] = {}

    def app(environ: Any, start: Any) -> list[bytes]:
        seen.update(environ)
        start("200 OK", [])
        return []

    answer(app, SERVER_NAME="localhost")
    assert not set(seen) & set(os.environ)
    assert (seen["PATH_INFO"], seen["SERVER_NAME"], seen["wsgi.version"]) == ("/", "localhost", (1, 0))


def late_gateway(app: Callable[..., Any]) -> tuple[LateAnswers, Callable[[Any, dict[str, Any]], None]]:
    late = LateAnswers(lambda environ: environ["number"])
    server = Server(Options(threads=2, late=late))
    return late, lambda proto, environ: respond(
        app, cast(Exchange, proto), {"REQUEST_METHOD": "GET", **environ}, server
    )


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("chunks", [[b"late body"], (piece for piece in [b"late ", b"body"])])
def test_the_answer_that_comes_after_a_late_one_is_dropped(chunks: Iterable[bytes], written: bool) -> None:
    """And its body closed; the late one has the request's id, and a connection that ends."""
    body = Body(chunks)

    def app(environ: Any, start: Any) -> Iterable[bytes]:
        assert late.answer(7)
        write = start("200 OK", HEADERS)
        if written:
            write(b"written")
        return body

    late, run = late_gateway(app)
    proto = Proto()
    run(proto, {"number": 7, "HTTP_X_REQUEST_ID": "mine"})
    assert (proto.status, proto.body, proto.whole) == (503, BODY, True)
    assert ("X-Request-ID", "mine") in proto.headers
    assert ("Connection", "close") in proto.headers
    assert body.closed == (not written)


def test_no_late_answer_follows_the_applications() -> None:
    """In one piece, or with the first of many."""

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", HEADERS)
        for piece in environ["pieces"]:
            yield piece
            taken.append(late.answer(7))

    late, run = late_gateway(app)
    for pieces in ([b"late body"], [b"late ", b"body"]):
        proto, taken = Proto(), list[bool]()
        run(proto, {"number": 7, "pieces": pieces})
        assert (proto.status, proto.body, any(taken)) == (200, b"late body", False)
        assert not late.answer(7)


def test_what_fails_after_a_late_answer_is_not_heard_of(caplog: pytest.LogCaptureFixture) -> None:
    """It would be logged with a traceback, for nobody. Else it is, and answered."""

    def app(environ: Any, start: Any) -> list[bytes]:
        if environ["number"] == 7:
            late.answer(7)
        raise ValueError("no database")

    late, run = late_gateway(app)
    proto = Proto()
    run(proto, {"number": 7})
    assert (proto.status, proto.broken, caplog.text) == (503, False, "")
    proto = Proto()
    run(proto, {"number": 8})
    assert proto.status == 500
    assert "ValueError: no database" in caplog.text
    assert not late.answer(8)
