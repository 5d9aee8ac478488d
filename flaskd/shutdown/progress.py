"""The progress of a stop, as events on the bus."""

import time
from typing import Final

from flaskd.events import Bus
from flaskd.shutdown.phases import Snapshot, Stop
from flaskd.shutdown.stoppable import Stoppable
from flaskd_ctl.protocol import ProgressEvent

PAUSE: Final = 0.1
"""Seconds between progress events of one phase."""


class Progress:
    """Publishes how far a stop is: at each new phase, and when its counts have changed, at most once in PAUSE."""

    def __init__(self, bus: Bus, serving: Stoppable) -> None:
        self._bus = bus
        self._serving = serving
        self._at = 0.0
        self._counts: tuple[int, int] | None = None

    def repeat(self) -> None:
        """Publish the next progress in any case: somebody has just asked."""
        self._at, self._counts = 0.0, None

    def publish(self, stop: Stop, seen: Snapshot, *, phase_changed: bool) -> float | None:
        """Publish the progress if it is due; returns when it is, if later (monotonic)."""
        counts = (seen.in_flight, seen.connections)
        if not phase_changed and counts == self._counts:
            return None
        if not phase_changed and seen.now < self._at + PAUSE:
            return self._at + PAUSE
        self._at, self._counts = seen.now, counts
        requests = self._serving.requests()
        self._bus.publish(
            ProgressEvent(
                at=time.time(),
                phase=stop.phase.value,
                in_flight=seen.in_flight,
                connections=seen.connections,
                deadline_left=round(max(0.0, stop.deadline - seen.now), 3),
                slowest=requests[0] if requests else None,
            )
        )
        return None
