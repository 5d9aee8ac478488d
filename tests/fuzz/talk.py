"""The two ways to talk to an instance's control sockets, good and bad manners alike."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any, Self

import zmq

from tests.fuzz.material import GREETING, READY
from tests.support.daemons import PATIENCE


class Plain:
    """A connection to the plain stream."""

    def __init__(self, path: str) -> None:
        self.socket = raw(path)
        self._lines = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.close()
        self.socket.close()

    def ask(self, method: str, ident: object = 1) -> dict[str, Any]:
        """Call, and return the reply to it; replies to others are passed over."""
        message = {"jsonrpc": "2.0", "id": ident, "method": method}
        self.socket.sendall(b"\n" + json.dumps(message).encode() + b"\n")
        while line := self._lines.readline():
            reply: dict[str, Any] = json.loads(line)
            if reply.get("id") == ident:
                return reply
        raise ConnectionError("the daemon closed the connection")

    def replies(self) -> list[dict[str, Any]]:
        """Send nothing more; return all that comes until the daemon closes."""
        self.socket.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in self._lines]


@contextlib.contextmanager
def dealer(path: str, **options: int) -> Iterator["zmq.Socket[bytes]"]:
    """Open a DEALER socket of a context of its own; `options` are numbers by the names of zmq's constants."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.set(zmq.LINGER, 0)
        sock.set(zmq.RCVTIMEO, int(PATIENCE * 1000))
        sock.set(zmq.SNDTIMEO, int(PATIENCE * 1000))
        for name, value in options.items():
            sock.set(getattr(zmq, name), value)
        sock.connect(f"ipc://{path}")
        yield sock


def raw(path: str) -> socket.socket:
    """Connect to a Unix socket; where its queue is full, wait (with a timeout, connect(2) would say EAGAIN)."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    sock.settimeout(PATIENCE)
    return sock


def greeted(path: str) -> socket.socket:
    """Connect to a ZeroMQ socket and shake hands; messages may follow (the other's READY has to come first)."""
    sock = raw(path)
    sock.sendall(GREETING + READY)
    came = b""
    while b"READY" not in came:
        more = sock.recv(4096)
        if not more:
            sock.close()
            raise ConnectionError(f"no handshake: {came!r}")
        came += more
    return sock
