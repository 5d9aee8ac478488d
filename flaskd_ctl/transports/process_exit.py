"""Seeing that an instance of this host has gone.

It has gone when its process has ended. A pidfd shows that (pidfd_open(2): it becomes readable when the process ends, reaped or
not). The pidfd must be opened while the daemon still answers, *before* you ask for the shutdown: a pid from a reply may belong
to another process by the time it is used, a descriptor cannot.

There is no pidfd on some platforms (macOS) and for a pid in another namespace, and it is of no use if the instance is part of a
program that continues (`process_exits` false). Then the instance has gone when nothing listens any more. To see that, connect;
the kernel ends our connection when the listener closes, so wait for that and connect again. If a successor has put its own
socket at the path, the instance has gone too. An instance whose socket was removed makes a new one: it has not gone while its
record (`contract.process_record`) is there and its process runs. The `lock` file goes a moment after the sockets; wait for it
too, so that the name is free afterwards.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any, Final

from flaskd_ctl.contract.process_record import running_at
from flaskd_ctl.errors import NotRunning, TimedOut
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.exit_watcher import ExitWatcher
from flaskd_ctl.transports.unix_socket import open_socket

LOOK_AGAIN: Final = 1.0
"""Seconds after which to connect again: a connection accepted at the very last may not be ended with the listener."""

POLL_INTERVAL: Final = 0.01
"""Seconds between two looks at a daemon that is ending."""


class ProcessExit(ExitWatcher):
    """Watch an instance of this host by its pidfd, or by its socket."""

    def __init__(self, backend: Backend, path: str, pid: int | None) -> None:
        self.pidfd = _pidfd(pid)
        seen = self.pidfd is not None
        super().__init__(f"pid {pid}" if seen else f"what listens at {path}", pid=pid, sees_process=seen)
        self.path = path
        self._backend = backend
        self._was = _identity(path)
        self._record = self._recorded()
        self._lock = os.path.join(os.path.dirname(path), "lock")
        self._lock_was = _identity(self._lock)

    def close(self) -> None:
        """Close the pidfd."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def has_descriptor(self, *, process_exits: bool) -> bool:
        """Tell whether the pidfd shows the end; otherwise the socket does."""
        return process_exits and self.sees_process

    async def wait(self, *, process_exits: bool, deadline: float) -> bool:
        """Wait until the instance has gone; return False if it is still there at the deadline."""
        if self.pidfd is not None and process_exits:
            return await self._backend.wait(self.pidfd, deadline=deadline)
        return await self.wait_for_socket(deadline=deadline)

    async def wait_for_socket(self, *, deadline: float) -> bool:
        """Wait until nothing, or another instance, listens at the path; return False if the deadline comes first."""
        while await self._listens(deadline):
            if time.monotonic() >= deadline:
                return False
            await self._pause()
        # An instance that was killed leaves its lock file behind, which the kernel has unlocked: hence a bound.
        released = min(deadline, time.monotonic() + LOOK_AGAIN)
        while self._lock_was and _identity(self._lock) == self._lock_was and time.monotonic() < released:
            await self._pause()
        return True

    async def _listens(self, deadline: float) -> bool:
        """Tell whether the instance still listens, after a connection to it has ended or some time has passed."""
        if _identity(self.path) != self._was:
            return self._still_recorded()
        try:
            link = await open_socket(self._backend, self.path, deadline=deadline)
        except NotRunning:
            return self._still_recorded()
        except TimedOut:
            return True
        with link:
            link.setblocking(False)
            look_again = min(deadline, time.monotonic() + LOOK_AGAIN)
            # What the peer says (ZeroMQ greets) does not matter.
            while not _at_end(link) and await self._backend.wait(link.fileno(), deadline=look_again):
                pass
        return True

    def _still_recorded(self) -> bool:
        return self._record is not None and self._recorded() == self._record

    def _recorded(self) -> dict[str, Any] | None:
        return running_at(os.path.dirname(self.path), os.environ)

    async def _pause(self) -> None:
        await self._backend.wait(deadline=time.monotonic() + POLL_INTERVAL)


def _at_end(link: socket.socket) -> bool:
    """Read what has come; tell whether the peer has closed."""
    try:
        return not link.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _pidfd(pid: int | None) -> int | None:
    """Open a pidfd; None if the platform, the kernel or the sandbox does not allow it."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None or pid is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None


def _identity(path: str) -> tuple[int, int] | None:
    """Identify a socket file: another one at the same path may have the same inode number, but not the same ctime."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_ctime_ns
