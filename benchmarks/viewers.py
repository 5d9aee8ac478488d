"""Hostile viewers: many connections of another user, that ask without end, do not read, or begin what they do not end.

    python benchmarks/viewers.py sock|zmq PATH UID CONNECTIONS
    python benchmarks/viewers.py tcp URL UID CONNECTIONS SECRET PUBLIC SERVER

prints a line when all have connected once, and goes on until it is killed; whoever is sent away comes again.
"""

import contextlib
import os
import socket
import sys
import time
from typing import Final

import zmq

DESCRIBE: Final = b'{"jsonrpc":"2.0","id":1,"method":"describe"}'
GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY: Final = b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
BATCH: Final = {
    "sock": (DESCRIBE + b"\n") * 16,
    "zmq": (b"\0" + bytes([len(DESCRIBE)]) + DESCRIBE) * 16,
}
PAUSE: Final = 0.001
"""Seconds of rest in a round, so that there is a CPU left for those who are measured."""


class Viewer:
    """One connection: of three, one reads its replies, one does not, and one leaves in the middle of a message."""

    def __init__(self, kind: str, path: str, manner: int) -> None:
        self._kind, self._path, self._manner = kind, path, manner
        self.socket: socket.socket | None = None

    def act(self) -> bool:
        """Connect, or send and read what can be without waiting; return whether it is connected."""
        try:
            if self.socket is None:
                self._connect()
            elif self._manner == 2:
                self.socket.send(BATCH[self._kind][:20])
                self._leave()
            else:
                with contextlib.suppress(BlockingIOError):
                    self.socket.send(BATCH[self._kind])
                if self._manner == 0 and not self.socket.recv(1 << 20):
                    self._leave()
        except BlockingIOError:
            pass
        except OSError:
            self._leave()
        return self.socket is not None

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self.socket = sock
        if self._kind == "zmq":
            sock.send(GREETING + READY)

    def _leave(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def besiege(kind: str, path: str, connections: int) -> None:
    """Act for each in turn."""
    viewers = [Viewer(kind, path, number % 3) for number in range(connections)]
    waiting = set(viewers)
    while True:
        for viewer in viewers:
            if viewer.act():
                waiting.discard(viewer)
        if not waiting:
            print("besieged", flush=True)
            waiting = {Viewer(kind, path, 0)}  # that never acts: it is said once
        time.sleep(PAUSE)


def besiege_tcp(url: str, connections: int, *keys: str) -> None:
    """The same through libzmq, with a key that is authorized; two of three read."""
    secret, public, server = (key.encode() for key in keys)
    context = zmq.Context(io_threads=1)
    context.set(zmq.MAX_SOCKETS, 2 * connections)
    sockets = []
    for _ in range(connections):
        sock = context.socket(zmq.DEALER)
        for option, value in (
            (zmq.CURVE_SECRETKEY, secret),
            (zmq.CURVE_PUBLICKEY, public),
            (zmq.CURVE_SERVERKEY, server),
            (zmq.LINGER, 0),
            (zmq.RCVHWM, 4),
            (zmq.SNDHWM, 4),
        ):
            sock.setsockopt(option, value)
        sock.connect(url)
        sockets.append(sock)
    print("besieged", flush=True)
    while True:
        for number, sock in enumerate(sockets):
            with contextlib.suppress(zmq.Again):
                sock.send(DESCRIBE, zmq.NOBLOCK)
            with contextlib.suppress(zmq.Again):
                if number % 3:
                    sock.recv(zmq.NOBLOCK)
        time.sleep(PAUSE)


def main() -> None:
    """Become another user, then besiege."""
    kind, where, uid, connections, *keys = sys.argv[1:]
    if int(uid) != os.getuid():
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
    if kind == "tcp":
        besiege_tcp(where, int(connections), *keys)
    besiege(kind, where, int(connections))


if __name__ == "__main__":
    main()
