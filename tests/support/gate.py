"""The test's side of `gated`: who waits at the gate, and letting them go."""

import os
import socket
from types import TracebackType
from typing import Self

from tests.support.daemons import PATIENCE


class Held:
    """One request, or child process, that waits."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(PATIENCE)
        label, pid = connection.recv(4096).decode().split()
        self.label = label
        self.pid = int(pid)

    def let_go(self) -> None:
        """Let it go on. Harmless twice."""
        self._connection.close()


class Gate:
    """A Unix socket at which the application's requests wait; as a context manager it lets all go at the end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._held: list[Held] = []
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        self._listener.settimeout(PATIENCE)
        self._listener.bind(self.path)
        self._listener.listen(128)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        os.unlink(self.path)
        for held in self._held:
            held.let_go()

    def wait_for(self, label: str) -> Held:
        """Return the next that arrives, which must be of this label; fail if none comes."""
        held = Held(self._listener.accept()[0])
        self._held.append(held)
        assert held.label == label
        return held
