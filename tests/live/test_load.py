"""The load client is exact: whatever a server does to a request, it is put into the one right class."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.exchange import Ask, Connection, Plan
from tests.support.http1 import BadResponseError, Response
from tests.support.load import Load
from tests.support.outcome import Outcome, Record

PLAN = Plan(timeout=0.3, connect_timeout=0.3)
WANTED = Ask("/wanted", lambda response: response.body == b"the body")
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nthe body"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nthe \r\n4;x=y\r\nbody\r\n0\r\nA: b\r\n\r\n"
)
UNTIL_EOF = b"HTTP/1.0 200 OK\r\n\r\nthe body"
Act = Callable[[socket.socket], None]


def reply(data: bytes) -> Act:
    """Read a request, send this."""

    def act(peer: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.recv(1)
        peer.sendall(data)

    return act


def reset(peer: socket.socket) -> None:
    """Close with RST instead of FIN (socket(7), SO_LINGER)."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(peer: socket.socket) -> None:
    """Wait until the client has gone."""
    while peer.recv(4096):
        pass


@contextlib.contextmanager
def scripted(*acts: Act) -> Iterator[str]:
    """Serve one connection by these acts and close it; yield where."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        with listener.accept()[0] as peer, contextlib.suppress(ConnectionError, ssl.SSLError):
            peer.settimeout(10)
            for act in acts:
                act(peer)

    thread = threading.Thread(target=serve)
    with listener:
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)
        assert not thread.is_alive()


def ask(target: str, count: int = 1, *, plan: Plan = PLAN) -> list[Record]:
    """Send requests over one connection as long as it may be used again; return what became of them."""

    async def run() -> list[Record]:
        records = []
        with contextlib.closing(Connection(target, plan)) as connection:
            for _ in range(count):
                record, reusable = await connection.exchange(WANTED)
                records.append(record)
                if not reusable:
                    break
        return records

    return asyncio.run(run())


@pytest.mark.parametrize("response", [COUNTED, CHUNKED, UNTIL_EOF])
def test_a_full_and_correct_response_is_ok(response: bytes) -> None:
    """However the end of a body is marked."""
    with scripted(reply(response)) as target:
        (record,) = ask(target)
    assert (record.outcome, record.lost, record.race, record.reused) == (Outcome.OK, False, False, False)


@pytest.mark.parametrize(
    ("acts", "outcome"),
    [
        ([reply(b"")], Outcome.TRUNCATED),
        ([reply(COUNTED[:-1])], Outcome.TRUNCATED),
        ([reply(COUNTED[:20])], Outcome.TRUNCATED),
        ([reply(CHUNKED[:-2])], Outcome.TRUNCATED),
        ([reply(b""), reset], Outcome.RESET),
        ([reply(b"HTTP/1.1 200 OK\r\n"), silence], Outcome.TIMED_OUT),
        ([silence], Outcome.TIMED_OUT),
        ([reply(COUNTED.replace(b"the", b"teh"))], Outcome.WRONG),
        ([reply(UNTIL_EOF[:-1])], Outcome.WRONG),
        ([reply(COUNTED.replace(b"200 OK", b"503 Busy"))], Outcome.WRONG),
        ([reply(COUNTED + b"surplus")], Outcome.WRONG),
        ([reply(b"SSH-2.0-nonsense\r\n\r\n")], Outcome.WRONG),
    ],
)
def test_an_established_connection_without_its_full_response_is_lost(
    acts: list[Act], outcome: Outcome
) -> None:
    """Whatever the reason; and never twice or in two classes."""
    with scripted(*acts) as target:
        (record,) = ask(target)
    assert (record.outcome, record.lost, record.race, record.established) == (outcome, True, False, True)


def test_a_refused_connect_is_no_loss() -> None:
    """The client knows that nobody has seen its request."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # bound, never listening
        (record,) = ask(f"http://127.0.0.1:{deaf.getsockname()[1]}")
    assert (record.outcome, record.lost, record.established) == (Outcome.REFUSED, False, False)


def test_a_connect_that_hangs_is_lost() -> None:
    """Neither accepted nor refused: a listener that is open, with a full queue, and nobody behind it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        stack.enter_context(socket.create_connection(listener.getsockname(), timeout=5))
        (record,) = ask(f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert (record.outcome, record.lost, record.established) == (Outcome.TIMED_OUT, True, False)


@pytest.mark.parametrize("end", [[], [reset]])
def test_a_kept_connection_closed_before_the_next_response_begins_is_a_race(end: list[Act]) -> None:
    """HTTP/1.1's own (RFC 9112, section 9.3.1), so counted apart from losses."""
    with scripted(reply(COUNTED), reply(b""), *end) as target:
        first, second = ask(target, 2)
    assert (first.outcome, first.race) == (Outcome.OK, False)
    assert (second.reused, second.race, second.lost) == (True, True, False)


def test_a_kept_connection_closed_within_a_response_is_lost() -> None:
    """The request was seen: that is no race."""
    with scripted(reply(COUNTED), reply(COUNTED[:30])) as target:
        _, second = ask(target, 2)
    assert (second.outcome, second.race, second.lost) == (Outcome.TRUNCATED, False, True)


def test_connection_close_is_heeded() -> None:
    """No second request goes where the server said that it would close."""
    closing = COUNTED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with scripted(reply(closing)) as target:
        assert len(ask(target, 2)) == 1


def test_a_full_queue_on_a_unix_socket_does_not_pass_for_a_connection(tmp_path: Path) -> None:
    """There connect(2) fails with EAGAIN, and poll(2) says at once that the socket is writable."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(os.fspath(tmp_path / "http"))
        listener.listen(0)
        first.connect(listener.getsockname())
        (record,) = ask(f"unix:{listener.getsockname()}")
    assert (record.outcome, record.lost, record.established) == (Outcome.TIMED_OUT, True, False)


@pytest.mark.parametrize("response", [COUNTED, CHUNKED, UNTIL_EOF])
def test_where_the_network_cuts_a_response_into_pieces_does_not_matter(response: bytes) -> None:
    """Nothing but the last byte completes it."""
    for cut in range(1, len(response)):
        read = Response()
        read.feed(response[:cut])
        assert not read.complete
        read.feed(response[cut:])
        read.eof()
        assert (read.complete, read.status, read.body) == (True, 200, b"the body")


def test_interim_responses_are_passed_over() -> None:
    """100 Continue is not the answer (RFC 9110, section 15.2)."""
    read = Response()
    read.feed(b"HTTP/1.1 100 Continue\r\n\r\n" + COUNTED)
    assert (read.complete, read.status) == (True, 200)


@pytest.mark.parametrize(
    "garbage",
    [
        CHUNKED.replace(b"4\r\n", b"x\r\n"),
        CHUNKED.replace(b"the ", b"the longer "),
        b"HTTP/1.1 abc\r\n\r\n",
        b"220 smtp",
    ],
)
def test_what_is_not_http_is_said_to_be_so(garbage: bytes) -> None:
    """It must not pass for a response that is merely slow."""
    with pytest.raises(BadResponseError):
        Response().feed(garbage)


@pytest.mark.parametrize("mode", ["closed", "open"])
def test_the_load_counts_every_request_once(mode: str) -> None:
    """Against a server that is not there, every one is refused and the load ends by its own bounds."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        plan = Plan(mode="closed" if mode == "closed" else "open", clients=3, rate=400, count=20, seed=7)
        with Load(f"http://127.0.0.1:{deaf.getsockname()[1]}", plan) as load:
            report = load.end(tail=20)
    assert 20 <= report.refused <= 22
    assert (report.ok, report.lost, report.races) == (0, [], [])
