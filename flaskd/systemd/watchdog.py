"""The sign of life for WatchdogSec=: given by the loop that serves the control plane, and only while it does.

A timer thread would go on although nothing is answered any more. This is a timer of the loop itself: a loop that hangs, or is
stopped, gives no sign, and systemd does what the unit says (Restart=on-watchdog). Without WatchdogSec= there is no timer.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from flaskd.systemd.notify import ServiceManager, Timers

SHARE: Final = 0.5
"""Of the manager's time, between two signs (sd_watchdog_enabled(3) recommends half)."""


class Watchdog:
    """Gives signs to `manager` from `start` to `stop`, on `loop`, while `serving` says that commands are taken."""

    def __init__(self, manager: ServiceManager, serving: Callable[[], bool], loop: Timers) -> None:
        self._manager = manager
        self._serving = serving
        self._loop = loop
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Give the first sign, if any is wanted."""
        if self._manager.watchdog:
            self._ping()

    def stop(self) -> None:
        """Give no more."""
        if self._next is not None:
            self._next.cancel()

    def _ping(self) -> None:
        if self._serving():
            self._manager.notify("WATCHDOG=1")
        self._next = self._loop.call_later(self._manager.watchdog * SHARE, self._ping)
