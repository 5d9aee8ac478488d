"""The Werkzeug engine's request bodies: `wsgi.input` ends where the body ends, and what is not complete never looks so."""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import flask
import pytest

from flaskd import Server
from flaskd.http.bodies import BrokenBody, SlowBody
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def reader(read: Callable[[Any], Any], caught: list[BaseException] | None = None) -> Any:
    """Make a WSGI application that answers with what `read` says of its input, and notes what that raises."""

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        try:
            said = repr(read(environ["wsgi.input"])).encode()
        except BaseException as error:
            if caught is not None:
                caught.append(error)
            raise
        start_response("200 OK", [("Content-Length", str(len(said)))])
        return [said]

    return plain


def post(body: bytes, *, length: int | None = None) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("request_", [post(b"a\nbc\nd"), CHUNKED + b"2\r\na\n\r\n4\r\nbc\nd\r\n0\r\n\r\n"])
@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda stream: stream.read(), b"a\nbc\nd"),
        (lambda stream: stream.read(1000), b"a\nbc\nd"),
        (lambda stream: (stream.read(6), stream.read(1), stream.read()), (b"a\nbc\nd", b"", b"")),
        (lambda stream: stream.readlines(), [b"a\n", b"bc\n", b"d"]),
        (lambda stream: list(stream), [b"a\n", b"bc\n", b"d"]),
        (lambda stream: (stream.readline(), stream.readline(1)), (b"a\n", b"b")),
    ],
)
def test_the_input_ends_with_the_body(request_: bytes, read: Any, said: object, serve: Serve) -> None:
    """PEP 3333; the client keeps its side open, and may have sent more."""
    assert Http(serve(reader(read)).listeners[0], request_ + b"GET /").answer().endswith(repr(said).encode())


def test_a_request_without_a_body_has_an_empty_one(serve: Serve) -> None:
    """Reading does not wait."""
    assert Http.get(serve(reader(lambda stream: stream.read())).listeners[0], "/").answer().endswith(b"b''")


def test_extensions_and_trailers_are_read_over(serve: Serve) -> None:
    """RFC 9112, sections 7.1.1 and 7.1.2."""
    server = serve(reader(lambda stream: stream.read()))
    body = b'3;a=b;c="d"\r\nabc\r\n0;e\r\nChecksum: 1\r\n\r\n'
    assert Http(server.listeners[0], CHUNKED + body).answer().endswith(b"b'abc'")


BROKEN = [
    b"FFFFFFFFFFFFFFFF1\r\nA\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"0\r\nno trailer\r\n\r\n",
    b"3;" + b"a" * 10_000,
]


@pytest.mark.parametrize("body", BROKEN)
@pytest.mark.parametrize("size", [-1, 1])
def test_a_malformed_body_is_400_and_is_never_complete(body: bytes, size: int, serve: Serve) -> None:
    """Each read raises, also one after the first that did."""
    caught: list[BaseException] = []

    def read(stream: Any) -> None:
        with pytest.raises(BrokenBody):
            all(iter(lambda: stream.read(size), b""))
        stream.read(size)

    answer = Http(serve(reader(read, caught)).listeners[0], CHUNKED + body).answer()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [type(error) for error in caught] == [BrokenBody]


@pytest.mark.parametrize(
    "request_", [post(b"half", length=8), CHUNKED + b"8\r\nhalf", CHUNKED + b"4\r\nhalf\r\n"]
)
@pytest.mark.parametrize("leaves", [True, False])
def test_a_body_that_breaks_off_is_never_complete(request_: bytes, *, leaves: bool, serve: Serve) -> None:
    """Whether its client closes its side or resets; no thread is held after that."""
    caught: list[BaseException] = []
    server = serve(reader(lambda stream: stream.read(), caught), threads=1)
    client = Http(server.listeners[0], request_)
    client.socket.shutdown(socket.SHUT_WR)
    if leaves:
        client.socket.close()
    else:
        assert client.answer().startswith(b"HTTP/1.1 400 ")
    assert b" 200 " in Http.get(server.listeners[0], "/").answer()[:20]
    assert [type(error) for error in caught] == [BrokenBody]


@pytest.mark.parametrize(
    "request_", [post(b"", length=8), post(b"half", length=8), CHUNKED, CHUNKED + b"8\r\nha"]
)
def test_a_silent_body_is_408(request_: bytes, serve: Serve) -> None:
    """And its thread serves the next client."""
    caught: list[BaseException] = []
    server = serve(reader(lambda stream: stream.read(), caught), threads=1, body_timeout=0.2)
    assert Http(server.listeners[0], request_).answer().startswith(b"HTTP/1.1 408 ")
    assert [type(error) for error in caught] == [SlowBody]


def test_as_many_silent_bodies_as_threads_keep_nobody_from_being_answered_for_long(serve: Serve) -> None:
    """The body timeout is all that they get."""
    server = serve(reader(lambda stream: stream.read()), threads=4, body_timeout=0.3)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Http(server.listeners[0], post(b"", length=10)).socket)
        assert b" 200 " in Http.get(server.listeners[0], "/").answer()[:20]


def test_a_body_that_drips_is_408(serve: Serve) -> None:
    """A byte now and then does not buy more time than it is worth."""
    server = serve(reader(lambda stream: stream.read()), body_timeout=0.4)
    with Http(server.listeners[0], post(b"", length=1000)).socket as client:
        client.settimeout(0.05)
        for _ in range(100):
            try:
                assert client.recv(20).startswith(b"HTTP/1.1 408")
                return
            except TimeoutError:
                client.sendall(b"x")
    pytest.fail("it was read to its end")


def test_flask_answers_for_its_applications(app: App, serve: Serve) -> None:
    """The exceptions are Werkzeug's, so that the application's error handlers see them."""
    seen: list[int] = []

    def on_error(error: Any) -> Any:
        seen.append(error.code)
        return error

    app.register_error_handler(400, on_error)
    app.register_error_handler(408, on_error)
    app.add_url_rule("/size", "size", lambda: str(len(flask.request.data)), methods=["POST"])
    server = serve(body_timeout=0.2)
    for body, code in ((b"x\r\n", b"400"), (b"3\r\n", b"408")):
        request = CHUNKED.replace(b"POST / ", b"POST /size ") + body
        assert Http(server.listeners[0], request).answer().startswith(b"HTTP/1.1 " + code)
    late = Http(server.listeners[0], post(b"", length=5).replace(b"POST / ", b"POST /size "))
    assert late.answer().startswith(b"HTTP/1.1 408")
    assert seen == [400, 408, 408]


# --- 100 Continue (RFC 9110, section 10.1.1)


def test_a_client_is_asked_to_continue_when_the_body_is_read(serve: Serve) -> None:
    """Once, and not before."""
    server = serve(reader(lambda stream: (stream.read(2), stream.read())))
    client = Http(server.listeners[0], post(b"", length=4).replace(b"Host", b"Expect: 100-Continue\r\nHost"))
    asked = client.socket.recv(1000)
    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.socket.sendall(b"abcd")
    assert client.answer().count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("version", "read", "body"),
    [
        (b"HTTP/1.1", lambda stream: b"", b""),  # nobody reads
        (b"HTTP/1.1", lambda stream: stream.read(), b"abcd"),  # it did not wait
        (b"HTTP/1.0", lambda stream: stream.read(0), b""),
        (b"HTTP/1.0", lambda stream: stream.read(), b"abcd"),
    ],
)
def test_nobody_is_asked_in_vain(version: bytes, read: Any, body: bytes, serve: Serve) -> None:
    """Not where nobody reads, the body is there, or the client is too old to know it."""
    request = (
        post(body, length=4).replace(b"Host", b"Expect: 100-continue\r\nHost").replace(b"HTTP/1.1", version)
    )
    client = Http(serve(reader(read)).listeners[0], request)
    assert client.answer().startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_after_its_head_spins_no_thread(serve: Serve) -> None:
    """A chunk's size beyond all memory, and then nothing: both threads are free for others."""
    server = serve(reader(lambda stream: stream.read()), threads=2)
    for _ in range(4):
        with Http(server.listeners[0], CHUNKED + b"FFFFFFFFFFFFFF\r\nA\r\n").socket:
            pass
    assert b" 200 " in Http.get(server.listeners[0], "/").answer()[:20]
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert result.took < WAIT / 2
