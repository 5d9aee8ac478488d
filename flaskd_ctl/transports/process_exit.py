"""Seeing that an instance is gone.

"Gone" is the end of the process, which a pidfd tells (pidfd_open(2): it becomes readable when the process
ends, reaped or not). The pidfd must be opened while the daemon still answers, that is *before* shutdown is
asked: a pid read from a reply may belong to somebody else by the time it is used, a descriptor cannot.

There is no such descriptor where the platform has none (macOS), where the pid is not visible (another pid
namespace), and it is no help where the instance lives in a program that goes on (`process_exits` false).
"Gone" then means that nothing listens any more: connect; if that succeeds, the kernel ends our connection
when the listener closes, so wait for that and connect again. A socket which a successor has put at the same
path counts as gone. The `lock` file goes a moment after the sockets and is waited for
too, so that the name is free when "gone" has been said.
"""

from __future__ import annotations

import os
import select
import socket
import time
from types import TracebackType
from typing import Final, Protocol, Self

from flaskd_ctl.errors import NotRunning, TimedOut
from flaskd_ctl.transports.unix_socket import connect

LOOK_AGAIN: Final = 1.0
"""Seconds for which one connection is trusted to be ended with the listener: one accepted at the very last may be forgotten."""

BREATH: Final = 0.01
"""Seconds between two looks at a daemon that is just ending."""


class Watcher(Protocol):
    """Watches one instance from before its end is asked; a context manager. Each transport has its own way."""

    pid: int | None

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def who(self) -> str:
        """Who is watched, for a sentence."""

    @property
    def sees_process(self) -> bool:
        """Whether the end of the process itself can be seen."""

    def watches(self, *, process_exits: bool) -> int | None:
        """Return the descriptor that becomes readable at the end; None where `wait` alone can tell."""

    def wait(self, *, process_exits: bool, deadline: float) -> bool:
        """Block until the instance is gone; False if it is still there at the deadline."""


class Departure:
    """Watch an instance of this host; it holds the descriptor."""

    def __init__(self, path: str, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        self._was = _identity(path)
        self._lock = os.path.join(os.path.dirname(path), "lock")
        self._lock_was = _identity(self._lock)
        self.pidfd = _pidfd(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    @property
    def who(self) -> str:
        """The process where it can be seen, else what it listens on."""
        return f"pid {self.pid}" if self.sees_process else f"what listens at {self.path}"

    @property
    def sees_process(self) -> bool:
        """Whether there is a descriptor for it."""
        return self.pidfd is not None

    def watches(self, *, process_exits: bool) -> int | None:
        """Return the descriptor that becomes readable at the end; None where the socket must tell it."""
        return self.pidfd if process_exits else None

    def wait(self, *, process_exits: bool, deadline: float) -> bool:
        """Block until the instance is gone; False if it is still there at the deadline."""
        pidfd = self.watches(process_exits=process_exits)
        if pidfd is None:
            return self.wait_for_socket(deadline=deadline)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        left = deadline - time.monotonic()
        return bool(poller.poll(None if left == float("inf") else max(0.0, left) * 1000))

    def wait_for_socket(self, *, deadline: float) -> bool:
        """Block until nothing, or another instance, listens at the path; False if the deadline is first."""
        if not self._until_silent(deadline):
            return False
        # One that was killed leaves its lock file behind, which the kernel has unlocked: hence a bound.
        released = min(deadline, time.monotonic() + LOOK_AGAIN)
        while self._lock_was and _identity(self._lock) == self._lock_was and time.monotonic() < released:
            time.sleep(BREATH)
        return True

    def _until_silent(self, deadline: float) -> bool:
        while True:
            if _identity(self.path) != self._was:
                return True
            try:
                link = connect(self.path, deadline=deadline)
            except NotRunning:
                return True
            except TimedOut:
                return False
            with link:
                _wait_for_end(link, deadline=min(deadline, time.monotonic() + LOOK_AGAIN))
            if time.monotonic() >= deadline:
                return False
            time.sleep(BREATH)


def _wait_for_end(link: socket.socket, *, deadline: float) -> None:
    """Read until the peer closes or the deadline; what it says (ZeroMQ greets) does not matter."""
    while (left := deadline - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            if not link.recv(4096):
                return
        except OSError:
            return


def _pidfd(pid: int | None) -> int | None:
    """Open a pidfd, or return None where the platform, the kernel or the sandbox has none for us."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None or pid is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None


def _identity(path: str) -> tuple[int, int] | None:
    """Tell one socket file from the next at the same path (an inode number alone may be used again)."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_ctime_ns
