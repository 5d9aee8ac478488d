"""Listeners: what is bound, what is refused, and what can be seen of an accept queue."""

import ctypes
import os
import socket
import struct
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from flaskd.errors import BindError
from flaskd.listening import handshakes
from flaskd.listening.addresses import bind
from flaskd.listening.listeners import SO_ATTACH_FILTER, Listener
from flaskd_ctl.contract.endpoint import MAX_PATH
from tests.flaskd.conftest import WAIT
from tests.support.needs import requires

linux = pytest.mark.skipif(sys.platform != "linux", reason="the SYN filter is Linux's")
ADDRESSES = ["127.0.0.1:0", "[::1]:0", "[::]:0"]


def client_of(listener: Listener) -> socket.socket:
    family = listener.socket.family
    sock = socket.socket(family)
    sock.settimeout(WAIT)
    name = listener.socket.getsockname()
    if family == socket.AF_INET6:
        name = ("::1", name[1])
    sock.connect(name)
    return sock


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:http", "is no port"),
        ("127.0.0.1:65536", "is no port"),
        ("127.0.0.1:", "is no port"),
        ("::1:8000", "IPv6 is written"),
        ("http://127.0.0.1:0", "it has a scheme"),
        ("unix:", "names no socket"),
        ("unix:/tmp/", "names no socket"),
        ("no-such-host.invalid:0", "no such host"),
        ("192.0.2.1:0", "cannot assign requested address"),
        ("unix:/tmp/" + "x" * MAX_PATH, f"the limit for Unix sockets is {MAX_PATH}"),
        ("unix:/no/such/directory/s", "no such file or directory"),
    ],
)
def test_an_address_that_cannot_be_had_is_said(address: str, said: str) -> None:
    """With the address, and what is wrong with it."""
    with pytest.raises(BindError) as caught:
        bind(address, backlog=1)
    assert said in str(caught.value)
    assert address.removeprefix("unix:") in str(caught.value)


@pytest.mark.parametrize("address", ["0", ":0", "localhost:0", "127.0.0.1:0"])
def test_the_real_port_is_told(address: str) -> None:
    """However the address was written."""
    listener = bind(address, backlog=1)
    try:
        assert f":{listener.socket.getsockname()[1]}" in listener.url
        assert listener.socket.getsockname()[1] != 0
    finally:
        listener.close()


@pytest.fixture(params=["filter", "hops"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to turn away: with CAP_NET_ADMIN, and without."""
    if request.param == "filter":
        if os.geteuid():
            pytest.skip("attaching a filter to a TCP socket needs CAP_NET_ADMIN")
        return

    def refuse(listener: Listener) -> None:
        raise PermissionError

    monkeypatch.setattr(Listener, "_attach_filter", refuse)


@linux
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("address", ADDRESSES)
def test_turned_away_clients_wait_and_those_before_them_are_served(address: str) -> None:
    """By filter or by hops: who is connected or queued goes on, a new one gets no answer, and is refused after the close."""
    listener = bind(address, backlog=8)
    accepted_client, queued_client = client_of(listener), client_of(listener)
    accepted, _ = listener.socket.accept()

    listener.block_new()

    with socket.socket(listener.socket.family) as late:
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):
            late.connect(("::1" if ":" in address[:3] else "127.0.0.1", listener.socket.getsockname()[1]))
    assert (listener.queued(), listener.queue_length()) == (True, 1)
    queued, _ = listener.socket.accept()
    assert (listener.queued(), listener.queue_length()) == (False, 0)
    for client, served in ((accepted_client, accepted), (queued_client, queued)):
        served.settimeout(WAIT)
        client.sendall(b"ping")
        assert served.recv(4) == b"ping"
        served.sendall(b"pong")
        assert client.recv(4) == b"pong"
    name = listener.socket.getsockname()
    listener.close()
    with socket.socket(accepted_client.family) as late, pytest.raises(ConnectionRefusedError):
        late.connect(("::1" if ":" in address[:3] else "127.0.0.1", name[1]))
    for sock in (accepted_client, queued_client, accepted, queued):
        sock.close()


@linux
@requires("root")
@pytest.mark.parametrize("way", ["asked", "read"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_handshake_under_way_is_seen(address: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that hears nothing of our SYN+ACK leaves one half open; the kernel tells by netlink, or else by file."""
    monkeypatch.setattr(handshakes, "_read" if way == "asked" else "_asked", Mock(side_effect=OSError))
    listener, other = bind(address, backlog=8), bind(address, backlog=8)
    assert not listener.half_open()
    drop_all = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(drop_all))
    with socket.socket(listener.socket.family) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        deaf.setblocking(False)
        deaf.connect_ex(("::1" if ":" in address[:3] else "127.0.0.1", listener.socket.getsockname()[1]))
        assert listener.half_open()
        assert not other.half_open()
        assert not listener.queued()
    listener.close()
    other.close()


def test_a_relative_unix_path_is_taken_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And told in full."""
    monkeypatch.chdir(tmp_path)
    listener = bind("unix:h", backlog=8)
    assert listener.url == f"unix:{tmp_path}/h"
    listener.close()


def test_closing_reaches_copies_in_other_hands() -> None:
    """A duplicate, as a forked child would hold, does not keep clients connecting."""
    listener = bind("127.0.0.1:0", backlog=8)
    name, copy = listener.socket.getsockname(), listener.socket.dup()
    listener.close()
    with socket.socket() as late, pytest.raises(ConnectionRefusedError):
        late.connect(name)
    copy.close()


def test_a_dead_unix_socket_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    """What a killed server left is no obstacle."""
    path = f"{tmp_path}/h"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    listener = bind(f"unix:{path}", backlog=8)
    client_of(listener).close()
    listener.close()
    assert not os.path.exists(path)


def test_a_live_unix_socket_is_not_stolen(tmp_path: Path) -> None:
    """Also when its accept queue is full."""
    path = f"{tmp_path}/h"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(path)
        live.listen(0)
        inode = os.stat(path).st_ino
        with socket.socket(socket.AF_UNIX) as first:
            for _ in range(2):
                with pytest.raises(BindError, match="another process listens there"):
                    bind(f"unix:{path}", backlog=1)
                first.setblocking(False)
                first.connect_ex(path)
        assert inode == os.stat(path).st_ino


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    """A path that is not a socket is never unlinked, neither at the start nor at the end."""
    path = tmp_path / "h"
    path.write_text("precious")
    with pytest.raises(BindError, match="not a socket"):
        bind(f"unix:{path}", backlog=1)
    assert path.read_text() == "precious"
    path.unlink()
    listener = bind(f"unix:{path}", backlog=1)
    path.unlink()
    path.write_text("precious")
    listener.block_new()
    listener.close()
    assert path.read_text() == "precious"


def test_a_unix_socket_turned_away_still_serves_its_queue(tmp_path: Path) -> None:
    """The path is gone, who had connected is accepted."""
    listener = bind(f"unix:{tmp_path}/h", backlog=8)
    client = client_of(listener)
    listener.block_new()
    assert not os.path.exists(f"{tmp_path}/h")
    assert listener.queued()
    listener.socket.accept()[0].close()
    client.close()
    listener.close()
