"""Notify the service manager: sd_notify(3) datagrams to NOTIFY_SOCKET, nothing if it is not set."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, MutableMapping
from typing import Final, Protocol

MICROSECONDS: Final = 1_000_000

AWAITED: Final = {"READY=1", "RELOADING=1", "STOPPING=1"}
WAIT: Final = 1.0
"""Seconds to wait for a manager that has not read its messages."""


class Timers(Protocol):
    """The timers of an asyncio loop."""

    def time(self) -> float:
        """Return the time of the loop's clock, in seconds."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        """Call `callback` after `delay` seconds, unless cancelled."""


class ServiceManager:
    """The service manager that started us, if any. `watchdog` is the WatchdogSec= of the unit; 0: none."""

    def __init__(self, address: str = "", *, watchdog: float = 0.0) -> None:
        self.watchdog = watchdog if address else 0.0
        self._address = (
            "\0" + address[1:] if address.startswith("@") else address
        )  # abstract namespace, unix(7)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> "ServiceManager":
        """Find the manager of this process, and remove its variables from `environ`, so that no child can notify it."""
        address = environ.pop("NOTIFY_SOCKET", "")
        interval, meant = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(pid))
        wanted = meant == str(pid) and interval.isascii() and interval.isdigit()
        return cls(address, watchdog=int(interval) / MICROSECONDS if wanted else 0.0)

    def __bool__(self) -> bool:
        return bool(self._address)

    def notify(self, *lines: str) -> None:
        """Send `lines` (READY=1, STATUS=…) as one message. Errors are ignored.

        If the manager does not read, a message that it waits for is retried for a moment; other messages are dropped.
        """
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # Waiting here would block the loop that serves the control plane.
            sock.settimeout(WAIT if any(line in AWAITED for line in lines) else 0.0)
            sock.sendto("\n".join(lines).encode(), self._address)


def microseconds(seconds: float) -> int:
    """Return `seconds` in microseconds, the unit of systemd."""
    return round(seconds * MICROSECONDS)
