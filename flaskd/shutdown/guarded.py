"""What an owner stops, with each call guarded: one that raises is logged, and the stop takes the next step.

If nothing can be seen, everything counts as open, up to the deadline.
"""

import time
from typing import Final

from flaskd.guard import log_failure
from flaskd.shutdown.phases import Action, Snapshot, Stop
from flaskd.shutdown.stoppable import Losses, Stoppable
from flaskd_ctl.protocol import InFlight

LOOK_AGAIN: Final = 0.1
"""Seconds until the next snapshot if one has failed."""


class Guarded:
    """See `Stoppable`; nothing here raises.

    `uncounted` says that something may have been lost that `losses` does not have, `look_again` when a snapshot that failed is
    due again (monotonic).
    """

    def __init__(self, inner: Stoppable) -> None:
        self.notifies = inner.notifies
        self.report_time = inner.report_time
        self.uncounted = False
        self.look_again: float | None = None
        self._inner = inner
        self._finished = 0
        self._said: set[str] = set()

    def snapshot(self, stop: Stop) -> Snapshot:
        """See `Stoppable.snapshot`."""
        self.look_again = None
        with log_failure("see what is open", said=self._said):
            return self._inner.snapshot(stop)
        now = time.monotonic()
        self.look_again = now + LOOK_AGAIN
        return Snapshot(now, in_flight=1, connections=1, accepting=True)

    def carry_out(self, action: Action, stop: Stop) -> None:
        """See `Stoppable.carry_out`."""
        with log_failure(action.value):
            self._inner.carry_out(action, stop)
            return
        self.uncounted |= action is Action.CUT

    def announce_close(self, *, closing: bool) -> None:
        """See `Stoppable.announce_close`."""
        with log_failure("announce that connections close"):
            self._inner.announce_close(closing=closing)

    def requests(self) -> list[InFlight]:
        """See `Stoppable.requests`."""
        with log_failure("list the requests", said=self._said):
            return self._inner.requests()
        return []

    def finished(self) -> int:
        """See `Stoppable.finished`."""
        with log_failure("count the requests", said=self._said):
            self._finished = self._inner.finished()
        return self._finished

    def losses(self) -> Losses:
        """See `Stoppable.losses`."""
        with log_failure("count what was lost"):
            return self._inner.losses()
        self.uncounted = True
        return Losses([], 0, 0)
