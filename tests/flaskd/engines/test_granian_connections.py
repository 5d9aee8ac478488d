"""Connections found among the process's own descriptors: all of ours, and nobody else's."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd.engines.granian_engine.connections import ConnectionFinder


class Open:
    """A listener, with clients and the connections that it accepted from them."""

    def __init__(self, stack: contextlib.ExitStack, listener: socket.socket) -> None:
        self.stack = stack
        self.listener = stack.enter_context(listener)

    def connect(self, host: str = "") -> tuple[socket.socket, socket.socket]:
        client = self.stack.enter_context(socket.socket(self.listener.family))
        name = self.listener.getsockname()
        client.connect((host, name[1]) if host else name)
        return client, self.stack.enter_context(self.listener.accept()[0])


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("bound", "host"),
    [
        ("127.0.0.1", ""),
        ("0.0.0.0", "127.0.0.1"),
        pytest.param("::1", "", marks=pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")),
        pytest.param("::", "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")),
    ],
)
def test_connections_to_a_listener_are_seen_until_they_are_closed(
    stack: contextlib.ExitStack, bound: str, host: str
) -> None:
    """Neither the listener itself, nor the clients' ends, nor another listener's connections."""
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    ours = Open(stack, socket.create_server((bound, 0), family=family))
    other = Open(stack, socket.create_server(("127.0.0.1", 0)))
    finder = ConnectionFinder([ours.listener])
    assert finder.find() == []
    other.connect()
    _, first = ours.connect(host)
    _, second = ours.connect(host)
    assert set(finder.find()) == {first.fileno(), second.fileno()}
    first.close()
    assert finder.find() == [second.fileno()]


def test_a_number_that_is_given_away_is_looked_at_anew(stack: contextlib.ExitStack) -> None:
    """A descriptor's number says nothing: the next socket gets it."""
    ours = Open(stack, socket.create_server(("127.0.0.1", 0)))
    finder = ConnectionFinder([ours.listener])
    _, connection = ours.connect()
    number = connection.fileno()
    assert finder.find() == [number]
    other = stack.enter_context(socket.socket())
    os.dup2(other.fileno(), number)
    assert finder.find() == []
    assert finder.shut(socket.SHUT_RDWR) == 0


def test_connections_to_a_unix_listener_are_seen(stack: contextlib.ExitStack, tmp_path: Path) -> None:
    """Also when its path is gone."""
    path = os.path.relpath(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    ours = Open(stack, listener)
    finder = ConnectionFinder([ours.listener])
    _, connection = ours.connect()
    os.unlink(path)
    assert finder.find() == [connection.fileno()]


def test_what_the_client_has_not_taken_is_unsent(stack: contextlib.ExitStack) -> None:
    """A connection with that is not still; one without is, by the bytes that its client took."""
    ours = Open(stack, socket.create_server(("127.0.0.1", 0)))
    finder = ConnectionFinder([ours.listener])
    client, quiet = ours.connect()
    _, busy = ours.connect()
    quiet.sendall(b"12345")
    assert client.recv(5) == b"12345"
    busy.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            busy.send(b"x" * 65536)
    assert finder.unsent() == 1
    inode = os.fstat(quiet.fileno()).st_ino
    assert set(finder.quiet()) == {inode}
    before = finder.quiet()[inode]
    quiet.sendall(b"1")
    assert client.recv(1) == b"1"
    assert finder.quiet()[inode] == before + 1


def test_shutting_reaches_those_that_are_named_or_all(stack: contextlib.ExitStack) -> None:
    """A shut connection is its client's end of stream."""
    ours = Open(stack, socket.create_server(("127.0.0.1", 0)))
    finder = ConnectionFinder([ours.listener])
    first, named = ours.connect()
    second, _ = ours.connect()
    assert finder.shut(socket.SHUT_RDWR, {os.fstat(named.fileno()).st_ino: 0}) == 1
    assert first.recv(1) == b""
    second.settimeout(0.1)
    with pytest.raises(TimeoutError):
        second.recv(1)
    finder.shut(socket.SHUT_RDWR)
    assert second.recv(1) == b""


def test_out_of_descriptors_a_connection_is_not_overlooked(
    stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be looked at counts, until it can."""
    ours = Open(stack, socket.create_server(("127.0.0.1", 0)))
    finder = ConnectionFinder([ours.listener])
    client, connection = ours.connect()

    def full(*args: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", full)
        assert {client.fileno(), connection.fileno()} <= set(finder.find())
        patch.setattr(os, "listdir", full)
        assert connection.fileno() in finder.find()
    assert finder.find() == [connection.fileno()]
