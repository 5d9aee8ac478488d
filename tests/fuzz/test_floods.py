"""Floods, and peers that take their time: those who mean well are answered meanwhile, and nothing is left when it is over."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import zmq

from benchmarks import viewers
from benchmarks.viewers import BATCH
from flaskd.control.transports.local import MAX_TURNED_AWAY, PLACES
from tests.fuzz.bystanders import Bystanders, descriptors, memory
from tests.fuzz.conftest import APP, GROWTH, Target
from tests.fuzz.material import GREETING, READY
from tests.fuzz.talk import dealer, raw
from tests.support.daemons import Daemon, StartDaemon
from tests.support.needs import requires

pytestmark = pytest.mark.live

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
ANSWERS = 15
"""How often each bystander has to be answered while the attack lasts."""


MOST_UNREAD = 4 * 1024 * 1024
"""Bytes that are taken, at the very most, of a peer that reads nothing: what the sockets between the two hold."""


def connections(stack: contextlib.ExitStack, path: str, count: int) -> list[socket.socket]:
    """Open so many connections, and keep them."""
    return [stack.enter_context(raw(path)) for _ in range(count)]


def test_a_flood_of_connections_to_the_plain_stream(target: Target) -> None:
    """Of three times as many as there is room for, those that say nothing make room."""
    with contextlib.ExitStack() as held, Bystanders(target.daemon) as bystanders:
        connections(held, target.daemon.place.sock, 3 * PLACES.total)
        bystanders.see(ANSWERS)
        assert descriptors(target.daemon) < target.descriptors + PLACES.total + 40
    target.check_unharmed()


def test_a_flood_of_connections_over_zeromq(target: Target) -> None:
    """Each that does not greet is hung up on, after its greeting time."""
    with contextlib.ExitStack() as held, Bystanders(target.daemon) as bystanders:
        silent = connections(held, target.daemon.place.zmq, 500)
        bystanders.see(ANSWERS)
        for sock in silent:
            drain(sock)
        bystanders.see(1)
    target.check_unharmed()


def drain(sock: socket.socket) -> None:
    """Read what comes, its greeting, until the daemon hangs up; TimeoutError if it does not."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(4096):
            pass


def test_a_flood_of_messages_on_the_plain_stream(target: Target) -> None:
    """A peer that does not read its replies is not read from: what it would send waits on its own side."""
    batch = (PING + b"\n") * 1000
    with contextlib.ExitStack() as held, Bystanders(target.daemon) as bystanders:
        flooding = connections(held, target.daemon.place.sock, 8)
        taken, refused = 0, 0
        for sock in flooding:
            sock.setblocking(False)
        while refused < ANSWERS:  # rounds in which nothing was taken, though others were answered in between
            before = taken
            for sock in flooding:
                with contextlib.suppress(BlockingIOError):
                    taken += sock.send(batch)
            refused = refused + 1 if taken == before else 0
            assert taken < len(flooding) * MOST_UNREAD, "it reads on and on"
            if taken == before:
                bystanders.see(1)
    target.check_unharmed()


def test_a_flood_of_messages_over_zeromq(target: Target) -> None:
    """Here too: what the peer does not read, it has to keep itself. Otherwise the replies would be 90 MB."""
    asked = PING.replace(b"ping", b"x" * 20_000)
    limits = {"RCVHWM": 1, "SNDHWM": 1, "SNDTIMEO": 2_000}
    with Bystanders(target.daemon) as bystanders, dealer(target.daemon.place.zmq, **limits) as sock:
        taken = 0
        with contextlib.suppress(zmq.Again):
            while taken < 4_500 * len(asked):
                sock.send(asked)
                taken += len(asked)
        assert taken < MOST_UNREAD, "it reads on and on"
        bystanders.see(ANSWERS)
        assert memory(target.daemon) - target.memory < GROWTH
    target.check_unharmed()


def test_a_flood_of_huge_messages(target: Target) -> None:
    """Messages of nearly the full size, one after the other, cost what one costs."""
    huge = PING[:-1] + b',"params":{"' + b"x" * 1_000_000 + b'":1}}'
    with contextlib.ExitStack() as held, Bystanders(target.daemon) as bystanders:
        for sock in connections(held, target.daemon.place.sock, 8):
            for _ in range(6):
                sock.sendall(huge + b"\n")
                answered(sock)
        with dealer(target.daemon.place.zmq) as peer:
            for _ in range(48):
                peer.send(huge)
                peer.recv()
        bystanders.see(1)
    target.check_unharmed()


def answered(sock: socket.socket) -> None:
    """Read until the end of a line."""
    said = b""
    while not said.endswith(b"\n"):
        said = sock.recv(65536)
        assert said, "the daemon hung up"


def test_lines_that_come_a_byte_at_a_time(target: Target) -> None:
    """Half of all the room that there is, held by peers who are always about to say something."""
    with contextlib.ExitStack() as held, Bystanders(target.daemon) as bystanders:
        slow = connections(held, target.daemon.place.sock, PLACES.total // 2)
        trickle(slow, PING + b"\n", bystanders)
        for sock in slow:
            answered(sock)
    target.check_unharmed()


def test_greetings_that_come_a_byte_at_a_time(target: Target) -> None:
    """They are hung up on when the time for a greeting is over, however busy they are."""
    with contextlib.ExitStack() as held, Bystanders(target.daemon) as bystanders:
        slow = connections(held, target.daemon.place.zmq, 200)
        trickle(slow, GREETING[:20], bystanders)
        for sock in slow:
            drain(sock)
    target.check_unharmed()


def trickle(slow: Sequence[socket.socket], data: bytes, bystanders: Bystanders) -> None:
    """Send `data` byte by byte on all of them, and go on only when each bystander was answered in between."""
    for byte in data:
        for sock in slow:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(bytes([byte]))
        bystanders.see(1)


@pytest.mark.parametrize("transport", ["sock", "zmq"])
def test_peers_that_ask_and_never_read(target: Target, transport: str) -> None:
    """Those that have to go are gone, although they have read nothing: neither descriptors nor memory stay behind."""
    path = getattr(target.daemon.place, transport)
    asked = BATCH[transport] if transport == "sock" else GREETING + READY + BATCH[transport]
    with contextlib.ExitStack() as held, Bystanders(target.daemon) as bystanders:
        for _ in range(2 * PLACES.total):
            [sock] = connections(held, path, 1)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(asked)
        bystanders.see(ANSWERS)
        assert descriptors(target.daemon) < target.descriptors + PLACES.total + 40
    target.check_unharmed()


VIEWER = 65_534
MOST_BESIEGED = PLACES.share + MAX_TURNED_AWAY + 10
"""Descriptors that one user takes, and a few for those who ask meanwhile."""


@requires("root")
def test_hostile_viewers_at_each_socket(start_daemon: StartDaemon, runtime_dir: str, tmp_path: Path) -> None:
    """300 connections of another user to each: they have a share, the owner is answered, and SIGTERM ends the daemon."""
    for directory in (os.path.dirname(runtime_dir), runtime_dir):
        os.chmod(directory, 0o755)
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--engine", "werkzeug", "--viewers", f"user:{VIEWER}")
    calm = descriptors(daemon)

    with besieged(daemon), Bystanders(daemon) as bystanders:
        for _ in range(5):
            bystanders.see(2)
            assert descriptors(daemon) < calm + MOST_BESIEGED
    with besieged(daemon):
        daemon.process.terminate()
        assert daemon.wait() == 0
    assert "Traceback" not in daemon.output()


@contextlib.contextmanager
def besieged(daemon: Daemon) -> Iterator[None]:
    """Let hostile viewers come, and send them away at the end."""
    with contextlib.ExitStack() as stack:
        for kind in ("sock", "zmq"):
            program = [
                sys.executable,
                viewers.__file__,
                kind,
                getattr(daemon.place, kind),
                str(VIEWER),
                "300",
            ]
            siege = stack.enter_context(subprocess.Popen(program, stdout=subprocess.PIPE))
            stack.callback(siege.kill)
            assert siege.stdout is not None
            assert siege.stdout.readline()
        yield
