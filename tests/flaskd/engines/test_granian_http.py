"""HTTP with the granian engine, on real sockets: what is refused, what applications are told, what clients can be sure of."""

import contextlib
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from flaskd.engines.granian_engine.engine import GranianEngine
from flaskd.engines.protocol import Options
from flaskd.http.bodies import BrokenBody, SlowBody
from flaskd.http.syntax import Chunks
from tests.flaskd.conftest import WAIT

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
Serve = Callable[..., Any]

CLOSE = "Connection: close\r\n"
SHORT = 0.3
PIECE = b"x" * 65_536


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve an application; returns the address. With `unix`, a path, on a Unix socket; engines are added to `into`."""
    engines = []
    with contextlib.ExitStack() as stack:

        def start(
            app: Application,
            *,
            unix: Path | None = None,
            into: list[GranianEngine] | None = None,
            **options: Any,
        ) -> Any:
            if unix is None:
                listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            else:
                listener = stack.enter_context(socket.socket(socket.AF_UNIX))
                listener.bind(str(unix))
                listener.listen()
            listener.setblocking(False)
            ended = threading.Event()
            engine = GranianEngine(Options(**{"threads": 2, "head_timeout": WAIT, **options}))
            engine.serve(app, [listener], on_change=ended.set)
            engines.append((engine, ended))
            if into is not None:
                into.append(engine)
            return listener.getsockname()

        yield start
        for engine, ended in engines:
            engine.stop_accepting()
            engine._server.connections.shut(socket.SHUT_RDWR)
            engine.stop()
            assert ended.wait(WAIT)


def connect(address: Any) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(WAIT)
    sock.connect(address)
    return sock


def request(path: str = "/", fields: str = CLOSE, *, method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: x\r\n{fields}\r\n".encode("latin-1")


def post(body: bytes, fields: str) -> bytes:
    return request(fields=fields + CLOSE, method="POST") + body


def chunked(body: bytes) -> bytes:
    return post(body, "Transfer-Encoding: chunked\r\n")


def ask(address: Any, data: bytes) -> bytes:
    """Send bytes; returns all that comes until the end of the stream. Raises ConnectionError where that is a reset."""
    with connect(address) as sock:
        sock.sendall(data)
        received = b""
        while piece := sock.recv(65536):
            received += piece
        return received


def until(sock: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        piece = sock.recv(65536)
        assert piece, received
        received += piece
    return received


def status(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def hello(environ: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [])
    return [b"hello"]


def upload(environ: dict[str, Any], start: Any) -> list[bytes]:
    """Answer what was read, or fail as reading does."""
    data = environ["wsgi.input"].read()
    start("200 OK", [])
    return [data]


def answering(state: str, fields: list[tuple[str, str]], *pieces: bytes) -> Application:
    """Make an application that answers a generator of these pieces; the last of them, where empty, is an error."""

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start(state, fields)
        for piece in pieces:
            if not piece:
                raise RuntimeError("no database")
            yield piece

    return app


# --- requests


@pytest.mark.parametrize(
    ("expected", "data"),
    [
        (400, b"GET / HTTP/1.1\r\n\r\n"),  # RFC 9112, section 3.2
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n"),
        (200, b"GET / HTTP/1.0\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),  # section 5.2
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n"),  # section 5.1
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n"),  # section 2.2
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"),  # RFC 9110, section 5.5
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nAb\r\n\r\n"),
        (400, b"GET /\r\n\r\n"),
        (400, request(version="2.0")),
        (400, bytes.fromhex("16030100c8010000c40303") + bytes(200)),  # TLS
        (400, b"GET x HTTP/1.1\r\nHost: x\r\n\r\n"),  # section 3.2
        (501, b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n"),
        (417, request(fields="Expect: tea\r\n" + CLOSE)),  # RFC 9110, section 10.1.1
        (400, post(b"a", "Content-Length: +1\r\n")),  # RFC 9112, section 6.3
        (400, post(b"abcd", "Content-Length: 3\r\nContent-Length: 4\r\n")),
        (400, request(fields="Transfer-Encoding: chunked\r\n", version="1.0") + b"0\r\n\r\n"),  # section 6.1
        (400, post(b"0\r\n\r\n", "Transfer-Encoding: chunked, chunked\r\n")),  # section 7.1
        (501, post(b"0\r\n\r\n", "Transfer-Encoding: gzip, chunked\r\n")),  # section 6.1
        (431, request(fields=f"A: {'a' * 70_000}\r\n" + CLOSE)),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    expected: int, data: bytes, serve: Serve
) -> None:
    """The application does not see it."""
    assert status(ask(serve(hello), data)) == expected


def test_the_connection_is_closed_after_both_framings(serve: Serve) -> None:
    """RFC 9112, section 6.1: whoever sent both may be out of step with us."""
    fields = "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"
    answer = ask(serve(upload), request(fields=fields, method="POST") + b"1\r\na\r\n0\r\n\r\n")
    assert (status(answer), body(answer)) == (200, b"a")


def test_the_environ_has_what_was_sent(serve: Serve) -> None:
    """Bytes of the path as they are, the target, the client's port; no name with an underscore; several of a name joined."""
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.update(environ)
        return hello(environ, start)

    fields = f"A_B: forged\r\nA-B: sent\r\nCookie: a=1\r\nCookie: b=2\r\nX: \xe9\r\nX: 2\r\n{CLOSE}"
    address = serve(app)
    with connect(address) as sock:
        sock.sendall(request("/a%2Fb%E9?q=%20&r", fields))
        assert sock.recv(1)
        assert seen["REMOTE_PORT"] == str(sock.getsockname()[1])
    named = [
        "PATH_INFO",
        "QUERY_STRING",
        "RAW_URI",
        "REQUEST_URI",
        "HTTP_A_B",
        "HTTP_COOKIE",
        "HTTP_X",
        "SERVER_PROTOCOL",
    ]
    target = "/a%2Fb%E9?q=%20&r"
    assert [seen[name] for name in named] == [
        "/a/b\xe9",
        "q=%20&r",
        target,
        target,
        "sent",
        "a=1; b=2",
        "\xe9, 2",
        "HTTP/1.1",
    ]


@pytest.mark.parametrize(
    "data", [request(), request(version="1.0"), post(b"abc", "Content-Length: 3\r\n"), chunked(b"0\r\n\r\n")]
)
def test_the_validator_of_the_standard_library_is_content(data: bytes, serve: Serve, tmp_path: Path) -> None:
    """PEP 3333, all of it that can be checked; on a Unix socket, too."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        environ["wsgi.input"].read(10)
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    valid: Any = validator(app)
    assert b"hello" in body(ask(serve(valid), data))
    assert b"hello" in body(ask(serve(valid, unix=tmp_path / "h"), data))


# --- bodies of requests


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (chunked(b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"), b"abcde"),
        (post(b"abcdef", "Content-Length: 3\r\n"), b"abc"),
        (post(b"abc", "Content-Length:  3 \r\n"), b"abc"),
    ],
)
def test_a_body_ends_where_it_says(data: bytes, expected: bytes, serve: Serve) -> None:
    """RFC 9112, section 6.3; extensions and trailers are passed over."""
    assert body(ask(serve(upload), data)) == expected


@pytest.mark.parametrize("rest", [b"ZZ\r\n", b"1\r\nab\r\n0\r\n\r\n", b"fffffffffffffffff\r\n"])
def test_a_malformed_body_is_never_taken_for_whole(rest: bytes, serve: Serve, tmp_path: Path) -> None:
    """The read raises; who does not catch it, answers 400."""
    assert status(ask(serve(upload), chunked(b"3\r\nabc\r\n" + rest))) == 400
    assert status(ask(serve(upload, unix=tmp_path / "h"), chunked(b"3\r\nabc\r\n" + rest))) == 400


@pytest.mark.parametrize(
    "begun", [chunked(b"3\r\nabc\r\n"), chunked(b""), post(b"abc", "Content-Length: 10\r\n")]
)
@pytest.mark.parametrize("reset", [True, False])
def test_a_body_that_breaks_off_is_never_taken_for_whole(
    begun: bytes, reset: bool, serve: Serve, tmp_path: Path
) -> None:
    """Whether the client resets, closes or half-closes; also where it has no address."""
    raised: list[BaseException] = []
    over = threading.Semaphore(0)

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raised.append(error)
        over.release()
        return hello(environ, start)

    for address in (serve(app), serve(app, unix=tmp_path / "h")):
        with connect(address) as sock:
            sock.sendall(begun)
            if reset and not isinstance(address, str):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif not reset:
                sock.shutdown(socket.SHUT_WR)
            if reset:
                sock.close()
            assert over.acquire(timeout=WAIT)
    assert [type(error) for error in raised] == [BrokenBody, BrokenBody]


@pytest.mark.parametrize(
    "begun",
    [chunked(b"3\r\nabc\r\n"), post(b"abc", "Content-Length: 10\r\n"), post(b"", "Content-Length: 1\r\n")],
)
def test_silent_bodies_hold_no_thread_for_longer_than_their_time(
    begun: bytes, serve: Serve, tmp_path: Path
) -> None:
    """As many as there are threads: others are answered when it is over, and they are, with 408."""
    for address in (
        serve(upload, body_timeout=SHORT),
        serve(upload, body_timeout=SHORT, unix=tmp_path / "h"),
    ):
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(connect(address)) for _ in range(2)]
            for sock in silent:
                sock.sendall(begun)
            began = time.monotonic()
            assert status(ask(address, request())) == 200
            assert time.monotonic() - began < WAIT / 4
            assert [status(sock.recv(65536)) for sock in silent] == [408, 408]
            if not isinstance(
                address, str
            ):  # a client of a Unix socket is told to close, and cannot be told from others
                assert [sock.recv(1) for sock in silent] == [b"", b""]


def test_a_dripping_body_has_its_time_and_what_it_sends_is_worth(serve: Serve) -> None:
    """A byte now and then buys 2 ms each (`bodies.RATE`); the read raises SlowBody, and again."""
    raised: list[type] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        for _ in range(2):
            try:
                environ["wsgi.input"].read()
            except OSError as error:
                raised.append(type(error))
        return hello(environ, start)

    with connect(serve(app, body_timeout=SHORT)) as sock:
        sock.sendall(post(b"", "Content-Length: 1000\r\n"))
        pause = threading.Event()
        sock.settimeout(0.05)
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                assert status(sock.recv(65536)) == 200
                break
            sock.sendall(b"a")
            pause.wait(0)
    assert raised == [SlowBody, SlowBody]


def test_a_slow_upload_that_keeps_the_rate_is_taken(serve: Serve) -> None:
    """It takes longer in all than the silence that is allowed."""
    with connect(serve(upload, body_timeout=SHORT)) as sock:
        sock.sendall(post(b"", "Content-Length: 5000\r\n"))
        pause = threading.Event()
        for _ in range(5):
            pause.wait(SHORT / 2)
            sock.sendall(b"a" * 1000)
        received = b""
        while piece := sock.recv(65536):
            received += piece
    assert len(body(received)) == 5000


def test_what_is_not_read_is_taken_so_that_the_answer_arrives(serve: Serve) -> None:
    """A connection that is closed with bytes unread is reset, and the reset overtakes the answer; refusals are answers, too."""
    size = 3_000_000
    large = b"a" * size
    for app, expected in ((hello, 200), (answering("200 OK", [], b"a", b"b"), 200)):
        assert status(ask(serve(app), post(large, f"Content-Length: {size}\r\n"))) == expected
    refused = request(fields=f"Content-Length: {size}\r\nExpect: tea\r\n{CLOSE}", method="POST")
    assert status(ask(serve(hello), refused + b"a" * 100)) == 417


# --- responses


@pytest.mark.parametrize(
    ("state", "fields", "said"),
    [
        ("200 OK", [("X", "a\r\nSet-Cookie: b")], "header X"),
        ("200 OK", [("X", "a\0")], "header X"),
        ("200 OK", [("X y", "a")], "'X y'"),
        ("200 OK", [("X", "\u20ac")], "header X"),
        ("200 OK\r\nX: y", [], "no HTTP status"),
        ("200 OK", [("Content-Length", "x")], "Content-Length"),
        ("103 Early Hints", [], "final response"),
    ],
)
def test_what_may_not_be_sent_is_an_error_and_a_line_in_the_log(
    state: str, fields: list[tuple[str, str]], said: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is on the wire."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(state, fields)
        return [b"body"]

    answer = ask(serve(app), request())
    assert status(answer) == 500
    assert b"body" not in answer
    assert b"X" not in answer
    assert [said in record.getMessage() for record in caplog.records if record.name == "flaskd.http"] == [
        True
    ]


def test_header_values_are_latin_1_and_hop_by_hop_ones_are_the_servers(serve: Serve) -> None:
    """PEP 3333; an application that copies Transfer-Encoding from elsewhere got no answer at all."""
    fields = [("X", "\xe9"), ("Transfer-Encoding", "chunked"), ("Keep-Alive", "timeout=5")]
    answer = ask(serve(answering("200 OK", fields, b"hello")), request(version="1.0"))
    assert b"x: \xe9\r\n" in answer
    assert b"chunked" not in answer
    assert b"timeout" not in answer
    assert body(answer) == b"hello"


def test_the_application_may_have_the_connection_closed(serve: Serve) -> None:
    """RFC 9112, section 9.6."""
    assert ask(serve(answering("200 OK", [("Connection", "close")], b"a")), request(fields=""))


@pytest.mark.parametrize(
    ("method", "state"), [("HEAD", "200 OK"), ("GET", "204 No"), ("GET", "304 Not Modified")]
)
def test_what_has_no_body_gets_none(method: str, state: str, serve: Serve) -> None:
    """RFC 9112, section 6.3."""

    def listed(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(state, [])
        return [b"body"]

    for app in (listed, answering(state, [], b"body"), answering(state, [("Content-Length", "4")], b"body")):
        assert body(ask(serve(app), request(method=method))) == b""


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_whatever_an_application_raises_is_an_error_and_no_more(
    error: type[BaseException], serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """`sys.exit()` in a view ends the request and not the thread: the next one is answered."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/":
            raise error("enough")
        return hello(environ, start)

    address = serve(app, threads=1)
    for _ in range(3):
        assert status(ask(address, request())) == 500
    assert status(ask(address, request("/more"))) == 200
    assert [record.levelno for record in caplog.records if record.name == "flaskd.http"] == [
        logging.ERROR
    ] * 3


def test_a_generator_that_fails_in_its_first_step_is_an_error(serve: Serve) -> None:
    """PEP 3333: the head waits for the first bytes that are not empty."""

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b""
        raise RuntimeError("no database")

    assert status(ask(serve(app), request())) == 500


def test_a_response_that_fails_later_is_never_taken_for_whole(serve: Serve, tmp_path: Path) -> None:
    """No last chunk; a reset where the end of the connection is the end of the body."""
    app = answering("200 OK", [], b"half", b"")
    for address in (serve(app), serve(app, unix=tmp_path / "h")):
        answer = ask(address, request())
        assert b"half" in answer
        assert not answer.endswith(b"0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        ask(serve(app), request(version="1.0"))


@pytest.mark.parametrize("listed", [True, False])
def test_fewer_bytes_than_content_length_are_broken_off_and_more_cut_off(
    listed: bool, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log for each."""

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", environ["QUERY_STRING"])])
        return [b"abc", b"def"] if listed else iter([b"abc", b"def"])

    address = serve(app)
    with connect(address) as sock:  # kept: what is too much would be taken for the next response
        sock.sendall(request("/?4", fields=""))
        assert until(sock, b"abcd").endswith(b"\r\n\r\nabcd")
        sock.sendall(request("/?6"))
        assert until(sock, b"abcdef").startswith(b"HTTP/1.1 200")
    answer = ask(address, request("/?10", fields=""))
    assert (status(answer), body(answer)) == (200, b"abcdef")
    assert len([record for record in caplog.records if record.name == "flaskd.http"]) == 2


@pytest.mark.parametrize(
    ("method", "fields"),
    [("HEAD", []), ("GET", [("Content-Length", "5")]), ("GET", [("Content-Length", "65536")])],
)
def test_an_endless_body_is_not_drawn_for_nothing(
    method: str, fields: list[tuple[str, str]], serve: Serve
) -> None:
    """Where its client gets no more of it, it is closed."""
    closed = threading.Semaphore(0)

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter(lambda: PIECE, b"")

        def close(self) -> None:
            closed.release()

    def app(environ: dict[str, Any], start: Any) -> Body:
        start("200 OK", fields)
        return Body()

    assert status(ask(serve(app), request(method=method))) == 200
    assert closed.acquire(timeout=WAIT)


def test_write_sends_at_once(serve: Serve) -> None:
    """PEP 3333; before the application returns."""
    came = threading.Event()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])(b"first")
        assert came.wait(WAIT)
        return [b"second"]

    with connect(serve(app)) as sock:
        sock.sendall(request())
        received = until(sock, b"first")
        came.set()
        while piece := sock.recv(65536):
            received += piece
    assert b"second" in received
    assert received.endswith(b"0\r\n\r\n")


def endless(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    """Answer for ever, or shortly."""
    if environ["PATH_INFO"] == "/":
        return hello(environ, start)
    start("200 OK", [])
    return iter(lambda: PIECE, b"")


@pytest.mark.parametrize("dripping", [False, True])
def test_responses_that_nobody_reads_hold_no_thread_for_longer_than_their_time(
    dripping: bool, serve: Serve, tmp_path: Path
) -> None:
    """As many as there are threads; nor do those that are read a byte at a time, or come over a Unix socket."""
    for address in (
        serve(endless, write_timeout=SHORT),
        serve(endless, write_timeout=SHORT, unix=tmp_path / "h"),
    ):
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(connect(address)) for _ in range(2)]
            for sock in readers:
                sock.sendall(request("/endless"))
                assert sock.recv(1)
            stop = threading.Event()

            def drip(readers: list[socket.socket] = readers, stop: threading.Event = stop) -> None:
                while not stop.wait(0.02):
                    for sock in readers:
                        with contextlib.suppress(OSError):
                            sock.recv(10)

            dripper = threading.Thread(target=drip)
            if dripping:
                dripper.start()
                stack.callback(dripper.join)
            stack.callback(stop.set)
            began = time.monotonic()
            assert status(ask(address, request())) == 200
            assert time.monotonic() - began < WAIT / 4


def test_a_client_that_does_not_read_loses_its_connection(serve: Serve) -> None:
    """Not only the thread; a response in one piece, which holds none, is bounded by the kernel."""

    def large(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [bytes(50_000_000)]

    for app, path in ((endless, "/endless"), (large, "/")):
        engines: list[GranianEngine] = []
        with connect(serve(app, write_timeout=SHORT, into=engines)) as sock:
            sock.sendall(request(path))
            assert sock.recv(1)
            deadline, pause = time.monotonic() + WAIT, threading.Event()
            while engines[0].activity().connections:
                assert time.monotonic() < deadline
                pause.wait(0.01)


@pytest.mark.parametrize("unread", [0, 10, 1_000_000])
def test_an_application_is_told_to_end_when_its_client_has_left(unread: int, serve: Serve) -> None:
    """Its body is closed; also where the client has sent what nobody reads."""
    closed = threading.Event()

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            pause = threading.Event()
            while not pause.wait(0.01):
                yield b"tick"

        def close(self) -> None:
            closed.set()

    def app(environ: dict[str, Any], start: Any) -> Body:
        start("200 OK", [])
        return Body()

    with connect(serve(app)) as sock:
        sock.sendall(post(bytes(unread // 2), f"Content-Length: {unread}\r\n"))
        assert sock.recv(1)
    assert closed.wait(WAIT)


def test_a_body_may_be_read_while_the_response_is_sent(serve: Serve) -> None:
    """Every byte of it, though we look meanwhile whether the client is still there."""

    def echo(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        pause = threading.Event()
        for _ in range(4):
            pause.wait(0.12)
            yield b"tick"
        while piece := environ["wsgi.input"].read(1000):
            yield piece

    with connect(serve(echo)) as sock:
        sent = b"".join(b"%06d" % number for number in range(50_000))
        sock.sendall(post(b"", f"Content-Length: {len(sent)}\r\n")[:-1])
        sender = threading.Thread(target=sock.sendall, args=(b"\n" + sent,))
        sender.start()
        decoder, received = Chunks(), b""
        data = until(sock, b"\r\n\r\n").partition(b"\r\n\r\n")[2]
        while not decoder.done:
            received += decoder.feed(data)[0]
            data = b"" if decoder.done else sock.recv(65536)
        sender.join()
    assert received == b"tick" * 4 + sent


def test_requests_beyond_the_threads_wait_in_order_while_bodies_arrive(serve: Serve) -> None:
    """Those in the application get their bodies, though all threads are taken and more wait."""
    address = serve(upload, threads=1)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(address)) for _ in range(5)]
        for sock in clients:
            sock.sendall(post(b"a", "Content-Length: 2\r\n"))
        for sock in reversed(clients):
            sock.sendall(b"b")
        answers = []
        for sock in clients:
            received = b""
            while piece := sock.recv(65536):
                received += piece
            answers.append(body(received))
    assert answers == [b"ab"] * 5
