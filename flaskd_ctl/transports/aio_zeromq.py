"""The ZeroMQ transport for asyncio; `zeromq` says what its options and its monitor are for."""

import asyncio
from collections.abc import Iterable
from typing import Any, Self

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from flaskd_ctl.errors import TimedOut
from flaskd_ctl.transports.process_exit import Departure, Watcher
from flaskd_ctl.transports.zeromq import ENDS, prepare, probe


class AsyncZeroMQConnection:
    """A connection to an instance's `zmq`; raises EOFError when the peer is gone."""

    def __init__(
        self,
        path: str,
        pid: int | None,
        *,
        url: str = "",
        options: Iterable[tuple[int, Any]] = (),
        events: int = ENDS,
    ) -> None:
        self.path = path
        self.pid = pid
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._plain = self._context.socket(zmq.DEALER)
        prepare(self._plain, options)
        self._plain_monitor = self._plain.get_monitor_socket(events)
        self._socket = zmq.asyncio.Socket.from_socket(self._plain)
        self._monitor = zmq.asyncio.Socket.from_socket(self._plain_monitor)
        self._plain.connect(url or f"ipc://{path}")
        self._ended = False

    @classmethod
    async def open(cls, path: str, *, deadline: float) -> Self:
        """Connect; raise as `unix_socket.connect` does."""
        try:
            return cls(path, probe(path, deadline=0.0))
        except TimedOut:  # its queue is full: this may take time, which is a thread's to spend
            return cls(path, await asyncio.to_thread(probe, path, deadline=deadline))

    async def send(self, message: bytes) -> None:
        """Send one message."""
        self._plain.send(message, zmq.DONTWAIT)

    async def receive(self) -> bytes:
        """Return the next message."""
        poller = zmq.asyncio.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        while True:
            try:
                return self._plain.recv_multipart(zmq.DONTWAIT)[-1]
            except zmq.Again:
                pass
            if self.ended():
                # The end may have been told just after the look above.
                try:
                    return self._plain.recv_multipart(zmq.DONTWAIT)[-1]
                except zmq.Again:
                    raise EOFError from None
            await poller.poll()

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer is gone."""
        while not self._ended and self._plain_monitor.poll(0):
            self._hear_monitor()
        return self._ended

    def _hear_monitor(self) -> int:
        event = int(parse_monitor_message(self._plain_monitor.recv_multipart())["event"])
        self._ended = self._ended or bool(event & ENDS)
        return event

    def departure(self) -> Watcher:
        """Watch its process, or where that cannot be seen the socket."""
        return Departure(self.path, self.pid)

    def close(self) -> None:
        """Close the connection; what was not sent is dropped."""
        if self._context.closed:
            return
        self._plain.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._plain_monitor.close(linger=0)
        self._plain.close(linger=0)
        self._context.term()
