"""Rubbish for a tcp:// endpoint: handshakes that are none, from a seed, and connections that say nothing."""

import contextlib
import random
import socket
import threading
from collections.abc import Sequence
from typing import Final

from tests.support.daemons import PATIENCE

ELSEWHERE: Final = "127.0.0.2"
"""Where the rubbish comes from: another address than that of good clients, who are not to be taken for its sender."""

SIGNATURE: Final = b"\xff" + bytes(8) + b"\x7f"


def greeting(mechanism: bytes, *, version: bytes = b"\x03\x01", server: int = 0) -> bytes:
    """A ZMTP greeting (ZeroMQ RFC 23): 64 bytes."""
    return SIGNATURE + version + mechanism.ljust(20, b"\0") + bytes([server]) + bytes(31)


def command(name: bytes, body: bytes) -> bytes:
    """A ZMTP command frame."""
    content = bytes([len(name)]) + name + body
    if len(content) < 256:
        return bytes([4, len(content)]) + content
    return b"\x06" + len(content).to_bytes(8) + content


def assault(rng: random.Random, recorded: bytes) -> bytes:
    """One thing to say instead of a handshake. `recorded` is what a good client said."""
    curve = greeting(b"CURVE")
    match rng.randrange(10):
        case 0:
            return rng.randbytes(rng.randrange(1, 2000))
        case 1:
            return greeting(rng.choice([b"NULL", b"PLAIN", b"GSSAPI", b"", b"\xff" * 20, rng.randbytes(20)]))
        case 2:
            return greeting(b"CURVE", version=rng.randbytes(2), server=rng.randrange(256)) + rng.randbytes(
                300
            )
        case 3:
            return curve + command(b"HELLO", b"\x01\x00" + bytes(72) + rng.randbytes(32 + 8 + 80))
        case 4:
            return curve + command(
                rng.choice([b"INITIATE", b"READY", b"MESSAGE", b"ERROR", b""]), rng.randbytes(400)
            )
        case 5:  # lengths that lie: up to 2 ** 63
            return curve + bytes([rng.choice([0, 2, 4, 6, 255])]) + rng.randbytes(8) + rng.randbytes(100)
        case 6:
            return curve[: rng.randrange(1, 64)]
        case 7:  # a command without end
            return curve + b"\x06" + (1 << 20).to_bytes(8) + bytes(50_000)
        case 8:
            return recorded[: rng.randrange(1, len(recorded))]
        case _:
            torn = bytearray(recorded)
            for _ in range(rng.randrange(1, 8)):
                torn[rng.randrange(len(torn))] ^= 1 << rng.randrange(8)
            return bytes(torn)


def reach(address: tuple[str, int]) -> socket.socket:
    """Connect from elsewhere."""
    return socket.create_connection(address, timeout=PATIENCE, source_address=(ELSEWHERE, 0))


def attack(address: tuple[str, int], *, seed: int, count: int, recorded: bytes) -> int:
    """Send so many assaults, some followed to their end; return how many were sent."""
    rng = random.Random(seed)
    for _ in range(count):
        with (
            contextlib.suppress(ConnectionError),
            reach(address) as link,
        ):
            link.sendall(assault(rng, recorded))
            if rng.random() < 0.3:
                with contextlib.suppress(OSError):  # ENOTCONN: it has been closed already
                    link.shutdown(socket.SHUT_WR)
                while link.recv(65_536):
                    pass
    return count


class Silent:
    """Connections that stay open and say next to nothing, made anew as they are closed; a context manager."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self._address = address
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._linger) for _ in range(count)]
        self.closed = 0

    def __enter__(self) -> "Silent":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _linger(self) -> None:
        drops: Sequence[int] = greeting(b"CURVE")
        while not self._enough.is_set():
            with (
                contextlib.suppress(OSError),
                reach(self._address) as link,
            ):
                for byte in drops:
                    link.sendall(bytes([byte]))
                    if self._enough.wait(0.2):
                        return
            self.closed += 1
