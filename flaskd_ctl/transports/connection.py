"""What every transport offers: messages both ways, and the news that the instance has gone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.exit_watcher import ExitWatcher


class Connection(ABC):
    """A connection to one instance.

    Deadlines are monotonic seconds. At a deadline `send` and `receive` raise TimeoutError; when the peer has gone, EOFError.
    """

    def __init__(self, backend: Backend, path: str, pid: int | None) -> None:
        self.backend = backend
        self.path = path
        self.pid = pid

    @abstractmethod
    async def send(self, message: bytes, *, deadline: float) -> None:
        """Send one message."""

    async def receive(self, *, deadline: float) -> bytes:
        """Return the next message."""
        while (message := self.read()) is None:
            if not await self.backend.wait(*self.descriptors(), deadline=deadline):
                raise TimeoutError
        return message

    @abstractmethod
    def read(self) -> bytes | None:
        """Return the next message if it has arrived; raise EOFError when there will be none."""

    @abstractmethod
    def descriptors(self) -> Sequence[int]:
        """Return the descriptors that become readable when `read` may return or raise something new."""

    @abstractmethod
    def ended(self) -> bool:
        """Tell, without waiting, whether the peer of a connection without open calls has gone."""

    def watch_exit(self) -> ExitWatcher:
        """Begin to watch for the end of the instance; call this before you ask for the end."""
        from flaskd_ctl.transports.process_exit import ProcessExit  # only a stop needs it

        return ProcessExit(self.backend, self.path, self.pid)

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""
