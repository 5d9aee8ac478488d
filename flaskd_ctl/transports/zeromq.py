"""The ZeroMQ transport: a DEALER on `ipc://`.

zmq_connect never fails, so a plain connect(2) goes first: it tells at once that nothing is there, and whose process listens
(SO_PEERCRED). libzmq would also hide the death of the daemon by connecting again. The options put that off for longer than
anybody waits, and a socket monitor reports the end of the one connection there is.

Messages that came before the end are still read. That is why connecting again is put off and not switched off: with
ZMQ_RECONNECT_IVL -1 libzmq 4.3.5 ends the pipe with the connection, and discards a reply that nobody has read by then, such as
a daemon's last one.

The descriptor of a ZeroMQ socket (ZMQ_FD) reports a change once. So `read` reads until there is nothing more before anybody
waits for the descriptor.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from flaskd_ctl.contract.conversation import MAX_MESSAGE
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.connection import Connection
from flaskd_ctl.transports.unix_socket import open_socket, peer_pid

NEVER_MS: Final = 24 * 3600 * 1000

ENDS: Final = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""Monitor events after which no message will come."""


class ZeroMQConnection(Connection):
    """A connection to an instance's `zmq`."""

    def __init__(
        self,
        backend: Backend,
        path: str,
        pid: int | None,
        *,
        url: str,
        options: Iterable[tuple[int, Any]] = (),
        events: int = ENDS,
    ) -> None:
        super().__init__(backend, path, pid)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RECONNECT_IVL, NEVER_MS)
        self._socket.set(zmq.MAXMSGSIZE, MAX_MESSAGE)
        for option, value in options:
            self._socket.setsockopt(option, value)
        self._monitor = self._socket.get_monitor_socket(events)
        self._ended = False
        self._socket.connect(url)

    @classmethod
    async def open(cls, backend: Backend, target: Target, *, deadline: float) -> Self:
        """Connect; raise as `unix_socket.connect` does."""
        path = target.endpoint.path
        with await open_socket(backend, path, deadline=deadline) as link:
            pid = peer_pid(link)
        return cls(backend, path, pid, url=f"ipc://{path}")

    async def send(self, message: bytes, *, deadline: float) -> None:
        """Send one message; libzmq queues it, so `receive` keeps the deadline."""
        if deadline <= time.monotonic():
            raise TimeoutError
        self._socket.send(message, zmq.DONTWAIT)

    def read(self) -> bytes | None:
        """Return the next message if it has arrived; raise EOFError when there will be none."""
        message = self._receive()
        if message is None and self.ended():
            message = self._receive()  # it may have come just before the end
            if message is None:
                raise EOFError
        return message

    def descriptors(self) -> Sequence[int]:
        """Return the descriptors of the socket and of its monitor."""
        return self._socket.FD, self._monitor.FD

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer has gone."""
        while not self._ended and self._monitor.poll(0):
            self.monitor_event()
        return self._ended

    def close(self) -> None:
        """Close the connection; what was not sent is dropped."""
        if self._context.closed:
            return
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._context.term()

    def monitor_event(self) -> int:
        """Read one event of the monitor."""
        event = int(parse_monitor_message(self._monitor.recv_multipart())["event"])
        self._ended = self._ended or bool(event & ENDS)
        return event

    def _receive(self) -> bytes | None:
        try:
            return self._socket.recv_multipart(zmq.DONTWAIT)[-1]
        except zmq.Again:
            return None
