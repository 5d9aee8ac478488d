"""WebSockets with flask-sock on the Werkzeug engine: the application takes the connection over."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import flask_sock
import pytest
import simple_websocket

from flaskd import Server
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
def app(app: App) -> App:
    """`/ws` sends back what it gets, until it gets `bye`; `fail` makes it raise."""
    sock: Any = flask_sock.Sock(app)

    @sock.route("/ws")  # type: ignore[untyped-decorator]
    def echo(ws: Any) -> None:
        while (message := ws.receive()) != "bye":
            if message == "fail":
                raise RuntimeError("it failed")
            ws.send(message)

    return app


@contextlib.contextmanager
def connected(server: Server, **options: Any) -> Iterator[Any]:
    client = simple_websocket.Client(server.listeners[0].replace("http", "ws", 1) + "/ws", **options)
    try:
        yield client
    finally:
        with contextlib.suppress(simple_websocket.ConnectionClosed):
            client.close()
        client.thread.join(WAIT)


def test_messages_are_exchanged_until_the_application_has_enough(app: App, serve: Serve) -> None:
    """Longer than any timeout of HTTP's; then the thread serves others, and the next WebSocket."""
    server = serve(threads=1, head_timeout=0.2, body_timeout=0.2, write_timeout=0.2)
    for _ in range(2):
        with connected(server) as client:
            for message in ("one", b"\x00\xff", "x" * 200_000):
                client.send(message)
                assert client.receive(WAIT) == message
            assert client.receive(0.5) is None
            client.send("again")
            assert client.receive(WAIT) == "again"
            client.send("bye")
            with pytest.raises(simple_websocket.ConnectionClosed) as closed:
                client.receive(WAIT)
            assert closed.value.reason == 1000
    assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert result.took < WAIT / 2


@pytest.mark.parametrize("message", ["bye", "fail"])
def test_nothing_of_http_is_written_after_the_application_s_bytes(
    message: str, app: App, serve: Serve
) -> None:
    """Neither the response that flask-sock returns for Werkzeug, nor a 500: the client would take it for a frame."""
    client = Http(serve().listeners[0], HANDSHAKE)
    first = client.socket.recv(65536)
    assert first.startswith(b"HTTP/1.1 101")
    text = message.encode()
    client.socket.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)  # RFC 6455, section 5.2
    rest = client.answer()
    assert b"HTTP/1.1" not in rest
    assert rest[:1] == (b"\x88" if message == "bye" else b"")  # a close frame, or nothing


def test_an_application_that_only_looks_at_the_socket_is_answered_for(serve: Serve) -> None:
    """As one does that wants to know whether its client is still there, or from where it comes."""

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        lent = environ["werkzeug.socket"]
        lent.settimeout(0.05)
        with pytest.raises(TimeoutError):
            lent.recv(1, socket.MSG_PEEK)
        start_response("200 OK", [])
        return [str(lent.getpeername()[1]).encode(), environ["wsgi.input"].read()]

    client = Http(
        serve(plain).listeners[0],
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
    )
    port = client.socket.getsockname()[1]
    assert client.socket.recv(1000).startswith(b"HTTP/1.1 100")
    client.socket.sendall(b"!")
    answer = client.answer()
    assert f"\r\n{port}\r\n1\r\n!\r\n0\r\n\r\n".encode() in answer


def test_a_websocket_is_named_and_cut_when_the_grace_is_over(app: App, serve: Serve) -> None:
    """It is a request in flight, which a stop waits for no longer than it was told to."""
    server = serve()
    with connected(server) as client:
        client.send("one")
        assert client.receive(WAIT) == "one"
        result = server.shutdown(grace=0.2).result(WAIT)
        assert [request.path for request in result.cut] == ["/ws"]
        with pytest.raises(simple_websocket.ConnectionClosed):
            client.receive(WAIT)
    for thread in threading.enumerate():
        if "simple_websocket" in thread.name:
            thread.join(WAIT)
            assert not thread.is_alive()


def test_it_works_over_tls(serve: Serve, certificate: tuple[ssl.SSLContext, dict[str, str]]) -> None:
    """The application has the encrypted socket."""
    context, settings = certificate
    server = serve(**settings)
    with connected(server, ssl_context=context) as client:
        client.send("secret")
        assert client.receive(WAIT) == "secret"
        client.send("bye")
        with pytest.raises(simple_websocket.ConnectionClosed):
            client.receive(WAIT)
