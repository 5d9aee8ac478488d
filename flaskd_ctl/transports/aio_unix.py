"""The plain stream for asyncio.

The socket calls of the loop are used rather than asyncio's streams: `readline` there stops at 64 KiB, and
closing is at once.
"""

import asyncio
import socket
from collections import deque
from typing import Self

from flaskd_ctl.contract.conversation import Lines
from flaskd_ctl.errors import TimedOut
from flaskd_ctl.transports.process_exit import Departure
from flaskd_ctl.transports.unix_socket import CHUNK, connect, is_ended, peer_pid


class AsyncStreamConnection:
    """A connection to an instance's `sock`; raises EOFError when the peer is gone."""

    def __init__(self, link: socket.socket, path: str) -> None:
        link.setblocking(False)
        self._socket = link
        self._lines = Lines()
        self._messages: deque[bytes] = deque()
        self.path = path
        self.pid = peer_pid(link)

    @classmethod
    async def open(cls, path: str, *, deadline: float) -> Self:
        """Connect; raise as `unix_socket.connect` does."""
        try:
            return cls(connect(path, deadline=0.0), path)
        except TimedOut:  # its queue is full: this may take time, which is a thread's to spend
            return cls(await asyncio.to_thread(connect, path, deadline=deadline), path)

    async def send(self, message: bytes) -> None:
        """Send one message."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, message + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    async def receive(self) -> bytes:
        """Return the next message."""
        while not self._messages:
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, CHUNK)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError(self._lines.cut_off)
            self._messages.extend(self._lines.feed(data))
        return self._messages.popleft()

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer is gone."""
        return is_ended(self._socket)

    def departure(self) -> Departure:
        """Watch its process, or where that cannot be seen the socket."""
        return Departure(self.path, self.pid)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
