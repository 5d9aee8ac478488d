"""Sockets that systemd hands over: whose they are, which of them we can serve on, and what is still to be bound."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from flaskd.errors import BindError
from flaskd.listening.listeners import SharedListener
from flaskd.settings.schema import FIELDS
from flaskd.systemd import activation
from flaskd.systemd.activation import Handed, still_to_bind, take

ME = 4711


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> int:
    """The first descriptor that can be handed over: 3 is somebody else's in a test."""
    monkeypatch.setattr(activation, "FIRST", 900)
    return 900


@contextlib.contextmanager
def at(descriptor: int, sock: socket.socket) -> Iterator[None]:
    """Have `sock` at this number, inherited by children, as systemd leaves it."""
    with sock:
        os.dup2(sock.fileno(), descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def listening(family: int = socket.AF_INET, address: object = ("127.0.0.1", 0)) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(address)  # type: ignore[arg-type]
    sock.listen()
    return sock


def handed_to(pid: int, count: int, names: str = "") -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names}


def test_sockets_come_in_order_with_their_names(first: int) -> None:
    """LISTEN_FDNAMES has a name for each; the variables are gone, and so is the inheritance."""
    environ = handed_to(ME, 2, "http:admin")

    with at(first, listening()), at(first + 1, listening(socket.AF_INET6, ("::1", 0))):
        handed = take(environ, ME)

        assert handed == [Handed(first, "http"), Handed(first + 1, "admin")]
        assert not any(os.get_inheritable(each.descriptor) for each in handed)
    assert environ == {}


@pytest.mark.parametrize("pid", [ME + 1, 0])
def test_what_is_meant_for_another_process_is_not_touched(first: int, pid: int) -> None:
    """A parent that forgot its variables: the descriptors may be anything. Our children must not fall for them either."""
    environ = handed_to(pid, 1)

    assert take(environ, ME) == []
    assert environ == {}


def test_nothing_handed_over_is_nothing(first: int) -> None:
    """Started from a shell."""
    assert take({}, ME) == []


def test_descriptor_that_cannot_be_served_on_is_refused_with_what_to_change(first: int) -> None:
    """The sentence names the socket as the unit does."""
    stream, datagram = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    for sock, sees in ((stream, "not listening"), (datagram, "not a stream socket")):
        with at(first, sock), pytest.raises(BindError, match=f"'http'.*{sees}") as refused:
            take(handed_to(ME, 1, "http"), ME)
        assert "socket unit" in refused.value.hint
    with pytest.raises(BindError, match=f"descriptor {first} .*not a socket"):
        take(handed_to(ME, 1), ME)


def test_what_was_handed_over_is_not_bound_again(first: int) -> None:
    """Addresses that are named here too are the same; others are bound beside; the default is for who names none."""
    with at(first, listening()), socket.socket(fileno=os.dup(first)) as sock:
        port = sock.getsockname()[1]
        handed = take(handed_to(ME, 1, "http"), ME)

        assert still_to_bind(FIELDS["bind"].default, handed) == []
        assert still_to_bind([f"127.0.0.1:{port}", "127.0.0.1:1"], handed) == ["127.0.0.1:1"]
        assert still_to_bind([f"[::1]:{port}"], handed) == [f"[::1]:{port}"]
    assert still_to_bind(FIELDS["bind"].default, []) == list(FIELDS["bind"].default)


def test_inherited_unix_socket_is_known_by_its_path(tmp_path: object) -> None:
    """Its URL, and its connections, are found by the name that the kernel has, an abstract one too; nothing is unlinked."""
    path = f"{tmp_path}/http"
    abstract = f"\0flaskd-test-{os.getpid()}"
    for name, url in ((path, f"unix:{path}"), (abstract, f"unix:@{abstract[1:]}")):
        with listening(socket.AF_UNIX, name) as sock, socket.socket(socket.AF_UNIX) as peer:
            listener = SharedListener(os.dup(sock.fileno()))
            peer.connect(name)
            connection, _ = sock.accept()
            with connection:
                inode = os.fstat(connection.fileno()).st_ino

                assert listener.url == url
                assert listener.accepted() == {inode}
            listener.block_new()
            listener.close()
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(name)
