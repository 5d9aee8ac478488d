"""The ZeroMQ transport: a DEALER on `ipc://`, blocking, with deadlines.

zmq_connect never fails, so a plain connect(2) goes first: it tells at once that nothing is there, and whose
process listens (SO_PEERCRED). libzmq would also hide the death of the daemon by connecting again; that is put
off for longer than anybody waits, and a socket monitor tells of the end of the one connection there is.

Messages that came before the end are still read. This is why connecting again is put off and not switched off:
with ZMQ_RECONNECT_IVL -1 libzmq 4.3.5 ends the pipe with the connection, and a reply that nobody has taken by
then, such as a daemon's last word, is thrown away.
"""

import time
from collections.abc import Iterable
from typing import Any, Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from flaskd_ctl.contract.conversation import MAX_MESSAGE
from flaskd_ctl.transports.process_exit import Departure, Watcher
from flaskd_ctl.transports.unix_socket import connect, peer_pid

NEVER_MS: Final = 24 * 3600 * 1000

ENDS: Final = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""Monitor events after which no message will come."""


class ZeroMQConnection:
    """A connection to an instance's `zmq`; TimeoutError at a deadline, EOFError when the peer is gone."""

    def __init__(self, path: str, *, deadline: float) -> None:
        self.path = path
        self.pid = probe(path, deadline=deadline)
        self._open(f"ipc://{path}")

    def _open(self, url: str, *, options: Iterable[tuple[int, Any]] = (), events: int = ENDS) -> None:
        """Begin to connect, with further socket options, and to hear of these monitor events."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._ended = False
        prepare(self._socket, options)
        self._monitor = self._socket.get_monitor_socket(events)
        self._socket.connect(url)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def send(self, message: bytes, *, deadline: float) -> None:
        """Send one message; libzmq queues it, so the deadline is kept by `receive`."""
        if deadline <= time.monotonic():
            raise TimeoutError
        self._socket.send(message, zmq.DONTWAIT)

    def receive(self, *, deadline: float) -> bytes:
        """Return the next message."""
        while True:
            message = self._read()
            if message is not None:
                return message
            if self._ended:
                raise EOFError
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready = dict(self._poller.poll(None if left == float("inf") else int(left * 1000) + 1))
            if self._monitor in ready:
                self._hear_monitor()

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer is gone."""
        while not self._ended and self._monitor.poll(0):
            self._hear_monitor()
        return self._ended

    def departure(self) -> Watcher:
        """Watch its process, or where that cannot be seen the socket."""
        return Departure(self.path, self.pid)

    def close(self) -> None:
        """Close the connection; what was not sent is dropped."""
        if self._context.closed:
            return
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._context.term()

    def _read(self) -> bytes | None:
        try:
            frames = self._socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        return frames[-1]

    def _hear_monitor(self) -> int:
        event = int(parse_monitor_message(self._monitor.recv_multipart())["event"])
        self._ended = self._ended or bool(event & ENDS)
        return event


def probe(path: str, *, deadline: float) -> int | None:
    """Find out that somebody listens at `path`, and the pid; raise as `unix_socket.connect` does."""
    with connect(path, deadline=deadline) as link:
        return peer_pid(link)


def prepare(socket: "zmq.Socket[bytes]", options: Iterable[tuple[int, Any]] = ()) -> None:
    """Set the options: no second connection, nothing lingers, no message beyond the protocol's size; and further ones."""
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RECONNECT_IVL, NEVER_MS)
    socket.set(zmq.MAXMSGSIZE, MAX_MESSAGE)
    for option, value in options:
        socket.setsockopt(option, value)
