"""Waiting until an instance is ready, running, idle or stopped.

What the daemon announces is waited for on its event stream, the end on the pidfd (`departure`). Two things nobody
announces, so they are looked at again and again: that an instance has come into being, and that no request is in flight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from flaskd_ctl.client.session import FIRST_WORD, Session
from flaskd_ctl.client.stopping import exits, see_gone
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.errors import ConnectionLost, NotRunning, TimedOut, WrongState

RECHECK: Final = 0.1
"""Seconds between two looks for an instance that is not there yet."""

FAR: Final = ("ssh", "tcp")
FAR_RECHECK: Final = 1.0
"""The same for one on another host, where a look is a login."""

IDLE_RECHECK: Final = 0.2
"""Seconds between two questions whether requests are in flight."""

GOALS: Final[dict[str, Callable[[dict[str, Any]], bool]]] = {
    "ready": lambda status: bool(status.get("ready")),
    "running": lambda status: status.get("state") in {"running", "degraded"},
    "stopped": lambda status: status.get("state") == "stopped",
    "idle": lambda status: status.get("in_flight") == 0,
}


class Vigil:
    """One wait for one goal; `find` chooses the target each time anew, since an instance may come and go."""

    def __init__(self, find: Callable[[], Target], goal: str, *, timeout: float | None) -> None:
        self._find = find
        self._goal = goal
        self._timeout = timeout
        self._deadline = float("inf") if timeout is None else time.monotonic() + timeout
        self._seen = "not running"
        self._far = False

    def keep(self) -> dict[str, Any]:
        """Wait; return the last status seen ({} when there is nothing to ask). Raises TimedOut with what was seen last."""
        if self._goal == "stopped":
            return self._until_gone()
        while True:
            try:
                return self._until_idle() if self._goal == "idle" else self._until_told()
            except (NotRunning, ConnectionLost):
                self._seen = "not running"
                self._pause(FAR_RECHECK if self._far else RECHECK)

    def _until_told(self) -> dict[str, Any]:
        target = self._choose()
        patience = self._patience()
        with (
            Session(target, deadline=patience.deadline) as session,
            Session(target, deadline=patience.deadline) as asking,
        ):
            self._seen = "no answer"
            for _ in self._events(session, patience):
                status = self._status(asking)
                if GOALS[self._goal](status):
                    return status
        raise NotRunning(f"{target.name} has stopped")

    def _events(self, session: Session, patience: Patience) -> Iterator[dict[str, Any]]:
        try:
            yield from session.events(patience=patience)
        except TimedOut:
            if time.monotonic() < self._deadline:
                raise
            raise self._too_late() from None

    def _until_idle(self) -> dict[str, Any]:
        target = self._choose()
        with Session(target, deadline=self._patience().deadline) as session:
            while not GOALS["idle"](status := self._status(session)):
                if status.get("in_flight", 0) is None:
                    raise WrongState(
                        f"{target.name} cannot tell when it is idle: its ledger of requests is off (--no-ledger)"
                    )
                self._seen = f"{status.get('in_flight')} in flight"
                self._pause(IDLE_RECHECK)
            return status

    def _until_gone(self) -> dict[str, Any]:
        try:
            target = self._choose()
            patience = self._patience()
            with (
                Session(target, deadline=patience.deadline) as session,
                session.connection.departure() as departure,
            ):
                self._seen = "no answer"
                status = session.call("status", patience=patience)
                self._seen = str(status.get("state"))
                if see_gone(session, departure, process_exits=exits(status), deadline=self._deadline):
                    return status
        except (NotRunning, ConnectionLost):
            return {}
        raise self._too_late()

    def _choose(self) -> Target:
        target = self._find()
        self._far = target.endpoint.scheme in FAR
        return target

    def _status(self, session: Session) -> dict[str, Any]:
        patience = Patience(time.monotonic(), first=min(FIRST_WORD, self._left()))
        status = session.call("status", patience=patience)
        self._seen = str(status.get("state"))
        return status

    def _patience(self) -> Patience:
        whole = None if self._timeout is None else self._left()
        return Patience(time.monotonic(), first=FIRST_WORD, whole=whole)

    def _pause(self, seconds: float) -> None:
        time.sleep(min(seconds, self._left()))

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._too_late()
        return left

    def _too_late(self) -> TimedOut:
        return TimedOut(
            f"not {self._goal} after {self._timeout:.3g} s (seen last: {self._seen})",
            hint="try `flaskd_ctl status`, or a longer --timeout",
        )
