"""Engines that share a listener, as in several workers: connections go to the one with the lower load."""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import pytest

from flaskd.engines.factory import make_engine
from flaskd.engines.granian_engine import listener_copies
from flaskd.engines.granian_engine.connections import ConnectionCounter, ConnectionFinder
from flaskd.engines.granian_engine.engine import GranianEngine
from flaskd.engines.protocol import Engine, Options
from flaskd.engines.shared import even_load
from flaskd.engines.shared.load_share import LoadShare
from flaskd.listening.listeners import queue_length
from flaskd.process.load_table import LoadTable
from tests.flaskd.conftest import WAIT

Found = TypeVar("Found")

KEPT: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


class Sharing:
    """Engines of one name on one listener; `table` has their rows, in this order."""

    def __init__(self, stack: contextlib.ExitStack, name: str) -> None:
        self.stack = stack
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        self.listener.setblocking(False)
        self.table = LoadTable.private()
        self.engines: list[Engine] = []
        self._name = name

    def serve(self) -> Engine:
        """Add an engine."""
        number = self.table.take()
        engine = make_engine(self._name, Options(threads=16, load_share=LoadShare(self.table, number)))
        engine.serve(hello, [self.listener], on_change=lambda: None)
        self.stack.callback(_end, engine)
        self.engines.append(engine)
        _until(lambda: self.table.others(number + 1), lambda rows: number in rows)
        return engine

    def connect(self, send: bytes = b"") -> socket.socket:
        """Open a connection that is closed at the end of the test."""
        client = self.stack.enter_context(socket.create_connection(self.listener.getsockname(), WAIT))
        client.sendall(send)
        return client

    def open_by_engine(self, count: int) -> list[int]:
        """Wait until so many connections are open in all; returns how many each engine has."""
        return _until(
            lambda: [engine.activity().connections for engine in self.engines],
            lambda found: sum(found) == count,
        )


def _end(engine: Engine) -> None:
    engine.stop()
    engine.abort()


def _until(look: Callable[[], Found], wanted: Callable[[Found], bool]) -> Found:
    deadline = time.monotonic() + WAIT
    while not wanted(found := look()):
        assert time.monotonic() < deadline, found
    return found


@pytest.fixture
def sharing(request: pytest.FixtureRequest) -> Iterator[Sharing]:
    with contextlib.ExitStack() as stack:
        yield Sharing(stack, request.param)


@pytest.mark.parametrize("sharing", ["waitress", "werkzeug"], indirect=True)
def test_connections_go_to_the_engine_with_fewer(sharing: Sharing, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one and all at once; a third one that comes later gets the next ones."""
    monkeypatch.setattr(even_load, "PATIENCE", WAIT / 8)  # a busy machine is no reason to do without one
    sharing.serve()
    sharing.serve()
    for count in range(1, 5):
        sharing.connect()
        found = sharing.open_by_engine(count)
        assert max(found) - min(found) <= 1
    for _ in range(8):
        sharing.connect()
    assert sharing.open_by_engine(12) == [6, 6]
    sharing.serve()
    for _ in range(4):
        sharing.connect()
    assert sharing.open_by_engine(16) == [6, 6, 4]


@pytest.mark.parametrize("sharing", ["waitress", "werkzeug"], indirect=True)
def test_an_engine_that_has_stopped_accepting_is_not_waited_for(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has the lowest load."""
    monkeypatch.setattr(even_load, "PATIENCE", 10 * WAIT)
    sharing.serve()
    sharing.serve()
    for _ in range(4):
        sharing.connect()
    assert sharing.open_by_engine(4) == [2, 2]
    leaving = sharing.engines[0]
    leaving.stop_accepting()
    assert sharing.table.others(1) == {}
    for _ in range(2):
        sharing.connect()
    assert sharing.open_by_engine(6) == [2, 4]


def answers(client: socket.socket, count: int) -> bytes:
    """Receive so many answers."""
    data = b""
    while data.count(b"hello") < count:
        received = client.recv(65536)
        assert received, data
        data += received
    return data


@pytest.mark.parametrize("sharing", ["waitress"], indirect=True)
@pytest.mark.parametrize("requests", [1, 2])
def test_clients_are_sent_to_an_engine_with_fewer_but_not_before_they_are_answered(
    sharing: Sharing, requests: int
) -> None:
    """Half of what is too much, at a time. Who has sent two requests at once gets two answers."""
    other = sharing.table.take()
    sharing.serve()
    clients = [sharing.connect() for _ in range(12)]
    sharing.open_by_engine(12)
    sharing.table.write(other, even_load.row(0, 0, 0))
    for client in clients:
        client.sendall(KEPT * requests)
    closed = sum(b"connection: close" in answers(client, requests).lower() for client in clients)
    assert closed >= 1
    sharing.open_by_engine(12 - closed)


@pytest.fixture
def granian() -> Iterator[tuple[Sharing, GranianEngine]]:
    with contextlib.ExitStack() as stack:
        sharing = Sharing(stack, "granian")
        engine = sharing.serve()
        assert isinstance(engine, GranianEngine)
        yield sharing, engine


def test_granian_steps_aside_for_a_moment_only(
    granian: tuple[Sharing, GranianEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes meanwhile waits for others, and is answered in the end if there are none."""
    monkeypatch.setattr(listener_copies, "ASIDE", 0.5)
    sharing, engine = granian
    assert engine._copies is not None
    for _ in range(2):
        engine._copies.step_aside()
        engine._copies.step_aside()
        client = sharing.connect(KEPT)
        assert not select.select([client], [], [], 0.1)[0]
        assert queue_length(sharing.listener) == 1
        assert b"hello" in answers(client, 1)


def test_granian_accepts_although_no_thread_can_be_started(
    granian: tuple[Sharing, GranianEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot step aside then: nobody would end that."""
    sharing, engine = granian

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    assert engine._copies is not None
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        engine._copies.step_aside()
    assert b"hello" in answers(sharing.connect(KEPT), 1)


def test_granian_can_be_stopped_while_it_has_stepped_aside(
    granian: tuple[Sharing, GranianEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it does not come back: the queue stays whole for others."""
    monkeypatch.setattr(listener_copies, "ASIDE", 0.1)
    sharing, engine = granian
    assert engine._copies is not None
    engine._copies.step_aside()
    engine.stop_accepting()
    client = sharing.connect(KEPT)
    assert not select.select([client], [], [], 0.3)[0]
    assert queue_length(sharing.listener) == 1


def test_granians_connections_are_counted_from_outside(granian: tuple[Sharing, GranianEngine]) -> None:
    """By its hint, in any process of the same user."""
    sharing, engine = granian
    counter = engine._server.counter
    assert sharing.table.hint(0)[: len(counter.hint)] == counter.hint
    clients = [sharing.connect() for _ in range(3)]
    _until(lambda: ConnectionCounter.count_of(sharing.table.hint(0)), lambda found: found == 3)
    assert counter.count() == 3
    clients.pop().close()
    _until(lambda: ConnectionCounter.count_of(sharing.table.hint(0)), lambda found: found == 2)


def test_a_worker_that_has_ended_or_given_no_hint_cannot_be_counted() -> None:
    """Its row has to do."""
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    assert ConnectionCounter.count_of([child, 2, 5, 0, 0, 0, 0]) is None
    assert ConnectionCounter.count_of([0] * 7) is None
    assert ConnectionCounter.count_of([]) is None
    unknown = ConnectionCounter(ConnectionFinder([]), [])
    assert unknown.hint == []
    assert unknown.count() == 0
