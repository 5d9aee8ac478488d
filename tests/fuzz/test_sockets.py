"""Malformed lines, messages and streams at the sockets of a real daemon, which goes on as if nothing were."""

import contextlib
import json
import random

import pytest

from flaskd_ctl.protocol import MAX_MESSAGE
from tests import fuzz
from tests.fuzz.bystanders import Bystanders
from tests.fuzz.conftest import Target
from tests.fuzz.material import FRAMES, PING, REQUESTS, STREAMS, mutated
from tests.fuzz.talk import Plain, dealer, greeted, raw

pytestmark = pytest.mark.live

BATCH = 40


def test_malformed_lines(target: Target) -> None:
    """Each gets its reply or none; after a batch the same connection still takes a good one."""
    rng = random.Random("lines")
    with Bystanders(target.daemon):
        for _ in range(fuzz.LINES // BATCH):
            with Plain(target.daemon.place.sock) as plain:
                plain.socket.sendall(b"".join(mutated(rng, REQUESTS) + b"\n" for _ in range(BATCH)))
                assert "result" in plain.ask("ping", "after")
                for reply in plain.replies():
                    assert reply["jsonrpc"] == "2.0"
    target.check_unharmed()


def test_malformed_messages_over_zeromq(target: Target) -> None:
    """In one frame or many, with an empty one before or between."""
    rng = random.Random("messages")
    with Bystanders(target.daemon):
        for number in range(fuzz.MESSAGES // BATCH):
            with dealer(target.daemon.place.zmq) as sock:
                for _ in range(BATCH):
                    frames = [mutated(rng, REQUESTS)]
                    while rng.random() < 0.3:
                        frames.insert(rng.randrange(len(frames) + 1), rng.choice([b"", rng.randbytes(5)]))
                    sock.send_multipart(frames)
                sock.send(json.dumps({"jsonrpc": "2.0", "id": f"after {number}", "method": "ping"}).encode())
                while (reply := json.loads(sock.recv_multipart()[-1])).get("id") != f"after {number}":
                    assert reply["jsonrpc"] == "2.0"
                assert "result" in reply
    target.check_unharmed()


def test_streams_that_are_no_zmtp(target: Target) -> None:
    """Greetings and handshakes that were damaged, other mechanisms, other protocols, and nothing at all that is known."""
    rng = random.Random("streams")
    with Bystanders(target.daemon):
        for number in range(fuzz.STREAMS):
            stream = mutated(rng, STREAMS) if number % 4 else rng.randbytes(rng.randint(1, 200))
            with (
                raw(target.daemon.place.zmq) as sock,
                contextlib.suppress(BrokenPipeError, ConnectionResetError),
            ):
                for at in range(0, len(stream), 100):
                    sock.sendall(stream[at : at + 100])
                if number % 10 == 0:
                    sock.recv(64)  # its greeting, or the end
    target.check_unharmed()


def test_frames_that_are_damaged(target: Target) -> None:
    """After a good handshake: sizes, flags, commands and messages that are none."""
    rng = random.Random("frames")
    with Bystanders(target.daemon):
        for _ in range(fuzz.FRAMES):
            with (
                greeted(target.daemon.place.zmq) as sock,
                contextlib.suppress(BrokenPipeError, ConnectionResetError),
            ):
                sock.sendall(mutated(rng, FRAMES))
        with greeted(target.daemon.place.zmq) as sock:
            sock.sendall(PING)
            assert b'"result"' in sock.recv(4096)
    target.check_unharmed()


def test_frames_that_announce_more_than_they_may(target: Target) -> None:
    """A size beyond the protocol's ends the connection before any memory is taken for it."""
    sizes = [MAX_MESSAGE + 1, 2**31, 2**40, 2**63 - 1, 2**64 - 1]
    with Bystanders(target.daemon):
        for size in sizes * 20:
            with (
                greeted(target.daemon.place.zmq) as sock,
                contextlib.suppress(BrokenPipeError, ConnectionResetError),
            ):
                sock.sendall(b"\x02" + size.to_bytes(8, "big") + b"x" * 100)
                while sock.recv(65536):
                    pass
    target.check_unharmed()


def test_a_message_of_the_full_size_over_zeromq(target: Target) -> None:
    """It is answered; the answer quotes no more of it than fits."""
    longest = b'{"jsonrpc":"2.0","id":1,"method":"'
    longest += b"x" * (MAX_MESSAGE - len(longest) - 2) + b'"}'
    with Bystanders(target.daemon), dealer(target.daemon.place.zmq) as sock:
        for _ in range(20):
            sock.send(longest)
            assert json.loads(sock.recv())["error"]["data"]["name"] == "unknown_method"
    target.check_unharmed()
