"""The line to the service manager: sd_notify(3) datagrams, sent where NOTIFY_SOCKET says, nothing elsewhere."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, MutableMapping
from typing import Final, Protocol

MICROSECONDS: Final = 1_000_000

AWAITED: Final = {"READY=1", "RELOADING=1", "STOPPING=1"}
WAIT: Final = 1.0
"""Seconds for a manager that has too much to read."""


class Timers(Protocol):
    """What is used of a loop."""

    def time(self) -> float:
        """Return its clock, in seconds."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        """Call after so many seconds, unless cancelled."""


class ServiceManager:
    """Whoever started us and wants to be told. `watchdog` is the seconds within which it wants a sign of life; 0: none."""

    def __init__(self, address: str = "", *, watchdog: float = 0.0) -> None:
        self.watchdog = watchdog if address else 0.0
        self._address = (
            "\0" + address[1:] if address.startswith("@") else address
        )  # abstract namespace, unix(7)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> "ServiceManager":
        """Find the manager of this process, and take its variables out of `environ`: no child speaks for us."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, meant = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(pid))
        wanted = meant == str(pid) and microseconds.isascii() and microseconds.isdigit()
        return cls(address, watchdog=int(microseconds) / MICROSECONDS if wanted else 0.0)

    def __bool__(self) -> bool:
        return bool(self._address)

    def notify(self, *lines: str) -> None:
        """Send `lines` (READY=1, STATUS=…) as one message. A manager that does not listen is no error.

        One that does not read is waited for a little, where it waits for this message itself; else the message is dropped.
        """
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # The loop that would wait here serves the control plane.
            sock.settimeout(WAIT if any(line in AWAITED for line in lines) else 0.0)
            sock.sendto("\n".join(lines).encode(), self._address)


def microseconds(seconds: float) -> int:
    """Return what systemd counts in."""
    return round(seconds * MICROSECONDS)
