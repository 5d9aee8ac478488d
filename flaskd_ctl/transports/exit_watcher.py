"""The watcher of an instance's end; each transport has its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class ExitWatcher(ABC):
    """Watches one instance from before it is asked to end; a context manager.

    `subject` is what is watched, for messages. `sees_process`: the end of the process itself can be seen.
    """

    def __init__(self, subject: str, *, pid: int | None = None, sees_process: bool = False) -> None:
        self.subject = subject
        self.pid = pid
        self.sees_process = sees_process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Stop watching."""

    def has_descriptor(self, *, process_exits: bool) -> bool:
        """Tell whether a descriptor of this host shows the end; otherwise let the connection end before you `wait`."""
        return False

    @abstractmethod
    async def wait(self, *, process_exits: bool, deadline: float) -> bool:
        """Wait until the instance has gone; return False if it is still there at the deadline."""
