"""Seeing that an instance on another host has gone: nothing listens at its endpoint, or a successor does.

No descriptor shows the end of a process on another host. A daemon closes its TCP listener before it ends its connections, and
both when there is nothing left to answer. So once our connection has ended, a new one is refused. A successor is known by its
age: it started after we had connected to the one before. Ages are durations, so the clocks need not agree.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.errors import ControlError, NotRunning
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.exit_watcher import ExitWatcher

PATIENCE: Final = 5.0
"""Seconds for one answer of what still listens."""

PAUSE: Final = 0.1
"""Seconds between two questions."""

AskStatus = Callable[[float], Awaitable[dict[str, Any]]]
"""Asks the target for its status, in at most so many seconds."""


class RemoteExit(ExitWatcher):
    """Watch an instance of another host."""

    def __init__(self, backend: Backend, target: Target, ask_status: AskStatus) -> None:
        super().__init__(f"what listens at {target.endpoint.url}")
        self._backend = backend
        self._ask_status = ask_status
        self._since = time.monotonic()

    async def wait(self, *, process_exits: bool, deadline: float) -> bool:
        """Wait until nothing listens, or a successor; return False if the instance is still there at the deadline."""
        while not await self._is_gone(min(PATIENCE, deadline - time.monotonic())):
            again = time.monotonic() + PAUSE
            if again >= deadline:
                return False
            await self._backend.wait(deadline=again)
        return True

    async def _is_gone(self, seconds: float) -> bool:
        """Ask once; of an answer only the age counts."""
        try:
            status = await self._ask_status(max(seconds, 0.001))
        except NotRunning:
            return True
        except ControlError:  # it is ending, or there is no way to know
            return False
        uptime = status.get("uptime")
        return isinstance(uptime, int | float) and uptime < time.monotonic() - self._since
