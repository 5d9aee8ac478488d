"""Follows how many requests are rejected because they waited too long, tells the log and the bus, and rests when none is."""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from flaskd.events import Bus
from flaskd.guard import log_failure
from flaskd.metrics.saturation import LOOK, Saturation
from flaskd_ctl.protocol import SaturationEvent

Cancel = Callable[[], object]

log = logging.getLogger("flaskd")


class Counts(NamedTuple):
    """Requests since the start: those rejected, and all that were answered."""

    rejected: int = 0
    answered: int = 0


class OverloadWatch:
    """Looks at the counters every `LOOK` seconds from the first rejection on, until there have been none for a while.

    `counts` reads them; `later` calls a function after some seconds and returns what cancels that. From any thread.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        counts: Callable[[], Counts],
        later: Callable[[float, Callable[[], None]], Cancel],
    ) -> None:
        self._bus = bus
        self._counts = counts
        self._later = later
        self._lock = threading.Lock()  # protects what follows
        self._known = Saturation()
        self._seen = Counts()
        self._before = Counts()  # when this overload began
        self._cancel: Cancel | None = None
        self._stopped = False

    @property
    def saturated(self) -> bool:
        """Whether many requests are rejected at present."""
        return self._known.saturated

    def rejected(self) -> None:
        """Note that a request was rejected."""
        if self._cancel is not None:
            return
        with log_failure("follow an overload"), self._lock:
            if self._cancel is None and not self._stopped:
                # No request was rejected since the last look; how many were answered meanwhile says nothing of an overload.
                self._seen = self._before = self._seen._replace(answered=self._counts().answered)
                self._cancel = self._later(LOOK, self._look)

    def stop(self) -> None:
        """Look no more."""
        with self._lock:
            self._stopped = True
            if self._cancel is not None:
                self._cancel()

    def _look(self) -> None:
        with self._lock:
            now, seen, was = self._counts(), self._seen, self._known
            rejected, answered = max(0, now.rejected - seen.rejected), max(0, now.answered - seen.answered)
            answered = max(rejected, answered)  # the first ones were counted before the watch began
            known = was.after(rejected=rejected, answered=answered)
            in_all = now.rejected - self._before.rejected
            self._seen = now
            self._known = Saturation() if known.over else known
            self._cancel = None if known.over or self._stopped else self._later(LOOK, self._look)
        if known.saturated and not was.saturated:
            log.warning(
                "saturated: %d of %d requests in %g s waited too long and were answered 503",
                rejected,
                answered,
                LOOK,
            )
        elif was.saturated and not known.saturated:
            log.warning("no longer saturated: %d requests waited too long and were answered 503", in_all)
        elif known.over and in_all:
            what = (
                "1 request waited too long and was"
                if in_all == 1
                else f"{in_all} requests waited too long and were"
            )
            log.info("%s answered 503", what)
        if known.saturated is not was.saturated:
            self._bus.publish(SaturationEvent(at=time.time(), saturated=known.saturated, rejected=in_all))
