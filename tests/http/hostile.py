"""Clients that mean no good: what each kind sends and reads, and a crowd of one kind on one thread."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from tests.http.client import PATIENCE

STEP: Final = 0.2  # seconds between two bytes of who drips


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind: it sends `opening`, then `drip` again and again, reads `reads` bytes as often, or `leaves` at once.

    `sending`: what it has the server wait for is its request, and not that it reads the response.
    """

    name: str
    opening: bytes
    drip: bytes = b""
    reads: int = 0
    leaves: bool = False
    sending: bool = True


def _post(path: str, framing: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


LENGTH: Final = "Content-Length: 1000000"
CHUNKED: Final = "Transfer-Encoding: chunked"

KINDS: Final = (
    Kind(name="silent", opening=b""),
    Kind(name="silent in the head", opening=b"GET /hello HTTP/1.1\r\nHost: x\r\n"),
    Kind(name="dripping head", opening=b"GET /hello HTTP/1.1\r\nHost: x\r\nX: ", drip=b"a"),
    Kind(name="silent body", opening=_post("/read", LENGTH)),
    Kind(name="silent chunked body", opening=_post("/read", CHUNKED) + b"5\r\nhel"),
    Kind(name="silent body that is not read", opening=_post("/ignore", LENGTH)),
    Kind(name="dripping body", opening=_post("/read", LENGTH), drip=b"x"),
    Kind(name="dripping chunked body", opening=_post("/read", CHUNKED), drip=b"1\r\nx\r\n"),
    Kind(name="dripping chunk size", opening=_post("/read", CHUNKED), drip=b"0"),
    Kind(name="huge chunk, leaving", opening=_post("/read", CHUNKED) + b"F" * 15 + b"\r\nA", leaves=True),
    Kind(
        name="chunk beyond all numbers, leaving",
        opening=_post("/read", CHUNKED) + b"F" * 16 + b"1\r\nA",
        leaves=True,
    ),
    Kind(name="body that breaks off", opening=_post("/read", LENGTH) + b"hello", leaves=True),
    Kind(name="reading no stream", opening=_get("/endless"), sending=False),
    Kind(name="reading no large piece", opening=_get("/huge"), sending=False),
    Kind(name="dripping reader of a stream", opening=_get("/endless"), reads=10, sending=False),
    Kind(name="dripping reader of a large piece", opening=_get("/huge"), reads=10, sending=False),
)


class Crowd:
    """So many clients of one kind, until the context is left; the server's closing ends one of them earlier."""

    def __init__(self, kind: Kind, address: tuple[str, int], size: int) -> None:
        self._kind = kind
        self._address = address
        self._size = size
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drip, name=f"crowd: {kind.name}")
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._sockets = [self._client() for _ in range(self._size)]
        if not self._kind.leaves:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        for each in self._sockets:
            each.close()

    def _client(self) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        if not self._kind.sending:
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
            )  # so that little is taken from the server
        sock.connect(self._address)
        sock.sendall(self._kind.opening)
        if self._kind.leaves:
            sock.close()
        else:
            sock.setblocking(False)
        return sock

    def _drip(self) -> None:
        """Send or read a little of each, now and then."""
        while not self._over.wait(STEP):
            for sock in self._sockets:
                with contextlib.suppress(OSError):  # the server has closed it, or takes no more
                    if self._kind.drip:
                        sock.send(self._kind.drip)
                    if self._kind.reads:
                        sock.recv(self._kind.reads)

    @property
    def open(self) -> int:
        """How many of them the server has neither answered nor closed; for those that send, and do not leave."""
        return sum(1 for _ in self._unanswered())

    def _unanswered(self) -> Iterator[socket.socket]:
        for sock in self._sockets:
            try:
                sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                yield sock
            except OSError:
                continue
