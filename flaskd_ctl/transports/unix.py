"""The plain-stream transport: one JSON object a line over an AF_UNIX socket, blocking, with deadlines.

Where the platform has no SO_PEERCRED (macOS), the peer's pid is not known and `departure` waits for the socket instead.
"""

from __future__ import annotations

import time
from collections import deque

from flaskd_ctl.contract.conversation import Lines
from flaskd_ctl.transports.process_exit import Departure
from flaskd_ctl.transports.unix_socket import CHUNK, connect, is_ended, peer_pid


class StreamConnection:
    """A connection to an instance's `sock`; TimeoutError at a deadline, EOFError when the peer is gone."""

    def __init__(self, path: str, *, deadline: float) -> None:
        self._socket = connect(path, deadline=deadline)
        self._lines = Lines()
        self._messages: deque[bytes] = deque()
        self.path = path
        self.pid = peer_pid(self._socket)

    def send(self, message: bytes, *, deadline: float) -> None:
        """Send one message."""
        try:
            self._until(deadline)
            self._socket.sendall(message + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def receive(self, *, deadline: float) -> bytes:
        """Return the next message."""
        while not self._messages:
            try:
                self._until(deadline)
                data = self._socket.recv(CHUNK)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError(self._lines.cut_off)
            self._messages.extend(self._lines.feed(data))
        return self._messages.popleft()

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer has closed a connection on which nothing is awaited."""
        self._socket.setblocking(False)
        return is_ended(self._socket)

    def departure(self) -> Departure:
        """Watch its process, or where that cannot be seen the socket."""
        return Departure(self.path, self.pid)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(None if left == float("inf") else left)
