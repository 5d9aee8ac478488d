"""Requests that are almost right, at random: each engine answers or closes, and is well afterwards."""

import contextlib
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.fuzz.material import mutated
from tests.http.cases import CASES
from tests.http.client import PATIENCE, PROBE, PROBED
from tests.http.servers import BOUNDED, ENGINES, Flaskd
from tests.support.extent import FULL
from tests.support.operating import client

pytestmark = pytest.mark.live

COUNT: Final = 20_000 if FULL else 400
AT_ONCE: Final = 8
ENOUGH: Final = 100_000  # bytes; one path of the application answers without an end
SEEDS: Final = [
    sent for case in CASES if (sent := b"".join(step for step in case.steps if isinstance(step, bytes)))
]


def send(address: tuple[str, int], data: bytes) -> bytes:
    """Send this and no more; return what came until the server closed, or enough of it."""
    received = bytearray()
    with socket.create_connection(address, timeout=PATIENCE) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(data)
        with contextlib.suppress(OSError):  # ENOTCONN: it has reset already
            sock.shutdown(socket.SHUT_WR)
        while len(received) < ENOUGH and (part := sock.recv(65536)):
            received += part
    return bytes(received)


@pytest.mark.timeout(1200 if COUNT > 1000 else 120)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_almost_a_request_harms_nobody(engine: str) -> None:
    """Each ends in time; then a good request is answered, by the same worker, and nothing is in flight."""
    server = Flaskd("tests.http.app:app", engine, "--threads", "16", *BOUNDED)

    def ask(number: int) -> bool:
        received = send(server.address, mutated(random.Random(number), SEEDS))
        return not received or received.startswith(b"HTTP/1.")

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            odd = [number for number, right in enumerate(pool.map(ask, range(COUNT))) if not right]
        assert odd == []
        assert (
            PROBED in send(server.address, PROBE) or engine == "granian"
        )  # it hears no client that half-closes
        with client(server.daemon) as instance:
            status = instance.status()
            assert (status.in_flight, status.restarts) == (0, 0), instance.requests()
        for said in ("a connection failed", "could not be answered"):
            assert said not in server.output()
    finally:
        server.end()
