"""The plain-stream transport: one JSON object a line over an AF_UNIX socket.

Where the platform has no SO_PEERCRED (macOS), the peer's pid is not known and `ProcessExit` watches the socket instead.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import Self

from flaskd_ctl.contract.conversation import Lines
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.connection import Connection
from flaskd_ctl.transports.unix_socket import CHUNK, is_ended, open_socket, peer_pid, send_all


class UnixConnection(Connection):
    """A connection to an instance's `sock`."""

    def __init__(self, backend: Backend, path: str, link: socket.socket) -> None:
        super().__init__(backend, path, peer_pid(link))
        link.setblocking(False)
        self._socket = link
        self._lines = Lines()
        self._messages: deque[bytes] = deque()

    @classmethod
    async def open(cls, backend: Backend, target: Target, *, deadline: float) -> Self:
        """Connect; raise as `unix_socket.connect` does."""
        path = target.endpoint.path
        return cls(backend, path, await open_socket(backend, path, deadline=deadline))

    async def send(self, message: bytes, *, deadline: float) -> None:
        """Send one message."""
        await send_all(self.backend, self._socket, message + b"\n", deadline=deadline)

    def read(self) -> bytes | None:
        """Return the next message if it has arrived; raise EOFError when there will be none."""
        if not self._messages:
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError(self._lines.cut_off)
            self._messages.extend(self._lines.feed(data))
        return self._messages.popleft() if self._messages else None

    def descriptors(self) -> Sequence[int]:
        """Return the socket's descriptor."""
        return (self._socket.fileno(),)

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer has closed the connection."""
        return is_ended(self._socket)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
