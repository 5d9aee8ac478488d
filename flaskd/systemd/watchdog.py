"""Watchdog notifications for WatchdogSec=, sent by the loop that serves the control plane, and only while it does.

A timer thread would continue while nothing is answered. A timer of the loop itself stops with it: if the loop hangs or is
stopped, systemd does what the unit says (Restart=on-watchdog). Without WatchdogSec= there is no timer.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from flaskd.systemd.notify import ServiceManager, Timers

SHARE: Final = 0.5
"""Time between two notifications, as a share of WatchdogSec= (sd_watchdog_enabled(3) recommends half)."""


class Watchdog:
    """Notifies `manager` from `start` to `stop`, on `loop`, while `serving` returns True."""

    def __init__(self, manager: ServiceManager, serving: Callable[[], bool], loop: Timers) -> None:
        self._manager = manager
        self._serving = serving
        self._loop = loop
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send the first notification, if the manager wants any."""
        if self._manager.watchdog:
            self._ping()

    def stop(self) -> None:
        """Send no more."""
        if self._next is not None:
            self._next.cancel()

    def _ping(self) -> None:
        if self._serving():
            self._manager.notify("WATCHDOG=1")
        self._next = self._loop.call_later(self._manager.watchdog * SHARE, self._ping)
