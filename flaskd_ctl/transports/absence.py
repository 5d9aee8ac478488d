"""Seeing that an instance of another host is gone: nothing listens at its endpoint, or a successor does.

No descriptor tells of a process on another host. A daemon closes its TCP listener before it ends the connections that it
has, and both when nothing is left to be answered: so once ours has ended, who knocks is refused. A successor is known by its
age: it began after we had connected to the one before. Ages are durations, so clocks need not agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.errors import ControlError, NotRunning

PATIENCE: Final = 5.0
"""Seconds for one answer of what still listens."""

PAUSE: Final = 0.1
"""Seconds between two questions."""


Ask = Callable[..., dict[str, Any]]


class Absence:
    """Watch an instance of another host from before its end is asked."""

    def __init__(self, target: Target, ask: Ask) -> None:
        self._ask = ask
        self.pid: int | None = None
        self._target = target
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def who(self) -> str:
        """What listens there."""
        return f"what listens at {self._target.endpoint.url}"

    @property
    def sees_process(self) -> bool:
        """Never."""
        return False

    def watches(self, *, process_exits: bool) -> int | None:
        """Return None: there is no descriptor."""
        return None

    def wait(self, *, process_exits: bool, deadline: float) -> bool:
        """Block until nothing listens, or a successor; False if the instance is still there at the deadline."""
        while not self._is_gone(min(PATIENCE, deadline - time.monotonic())):
            if time.monotonic() + PAUSE >= deadline:
                return False
            time.sleep(PAUSE)
        return True

    def _is_gone(self, patience: float) -> bool:
        """Ask once; of an answer only the age counts."""
        try:
            status = self._ask(self._target, "status", whole=max(patience, 0.001))
        except NotRunning:
            return True
        except ControlError:  # it ends just now, or nobody can tell
            return False
        uptime = status.get("uptime")
        return isinstance(uptime, int | float) and uptime < time.monotonic() - self._since
