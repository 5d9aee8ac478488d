"""Wait until an instance is ready, running, idle or stopped.

Changes of state come on the event stream, the end is seen as in `stopping`. Two things nobody announces, so they are polled:
that an instance has been started, and that no request is in flight.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.client.session import RESPONSE_TIMEOUT, Session
from flaskd_ctl.client.stopping import ends_process, wait_until_gone
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.errors import ConnectionLost, InvalidParams, NotRunning, TimedOut, WrongState
from flaskd_ctl.transports.backend import Backend

RECHECK: Final = 0.1
"""Seconds between two looks for an instance that has not been started yet."""

REMOTE: Final = ("ssh", "tcp")
REMOTE_RECHECK: Final = 1.0
"""The same for one on another host, where a look is a login."""

IDLE_RECHECK: Final = 0.2
"""Seconds between two questions whether requests are in flight."""

GOALS: Final[dict[str, Callable[[dict[str, Any]], bool]]] = {
    "ready": lambda status: bool(status.get("ready")),
    "running": lambda status: status.get("state") in {"running", "degraded"},
    "stopped": lambda status: status.get("state") == "stopped",
    "idle": lambda status: status.get("in_flight") == 0,
}


class Wait:
    """One wait for one goal; `find` chooses the target anew each time, since an instance may come and go."""

    def __init__(
        self, backend: Backend, find: Callable[[], Target], goal: str, *, timeout: float | None
    ) -> None:
        if goal not in GOALS:
            raise InvalidParams(f"{goal!r} is not a state to wait for", hint=f"wait for {', '.join(GOALS)}")
        self._backend = backend
        self._find = find
        self._goal = goal
        self._timeout = timeout
        self._deadline = float("inf") if timeout is None else time.monotonic() + timeout
        self._seen = "not running"
        self._recheck = RECHECK

    async def until_reached(self) -> dict[str, Any]:
        """Wait; return the last status seen ({} when there is nothing to ask). Raises TimedOut with what was seen last."""
        ways = {"stopped": self._until_gone, "idle": self._until_idle}
        wait = ways.get(self._goal, self._until_announced)
        while True:
            try:
                return await wait()
            except (NotRunning, ConnectionLost):
                self._seen = "not running"
                await self._pause(self._recheck)
            except TimedOut as error:
                # Of a step: what was too short for it may be the rest of the time for the whole wait.
                raise (error if time.monotonic() < self._deadline else self._too_late()) from None

    async def _until_announced(self) -> dict[str, Any]:
        target = self._choose()
        patience = self._patience()
        with (
            await self._open(target, patience) as events,
            await self._open(target, patience) as asking,
        ):
            self._seen = "no answer"
            await events.subscribe(patience)
            while not GOALS[self._goal](status := await self._status(asking)):
                if await events.next_event(patience) is None:
                    raise NotRunning(f"{target.name} has stopped")
            return status

    async def _until_idle(self) -> dict[str, Any]:
        with await self._open(self._choose(), self._patience()) as session:
            self._seen = "no answer"
            while not GOALS["idle"](status := await self._status(session)):
                if status.get("in_flight", 0) is None:
                    raise WrongState(
                        f"{session.target.name} cannot tell when it is idle: its ledger of requests is off (--no-ledger)"
                    )
                self._seen = f"{status.get('in_flight')} in flight"
                await self._pause(IDLE_RECHECK)
            return status

    async def _until_gone(self) -> dict[str, Any]:
        try:
            patience = self._patience()
            with (
                await self._open(self._choose(), patience) as session,
                session.connection.watch_exit() as watcher,
            ):
                self._seen = "no answer"
                status = await session.call("status", patience=patience)
                self._seen = str(status.get("state"))
                if await wait_until_gone(
                    session, watcher, process_exits=ends_process(status), deadline=self._deadline
                ):
                    return status
        except NotRunning:
            return {}
        raise self._too_late()

    async def _open(self, target: Target, patience: Patience) -> Session:
        return await Session.open(self._backend, target, deadline=patience.deadline)

    def _choose(self) -> Target:
        target = self._find()
        self._recheck = REMOTE_RECHECK if target.endpoint.scheme in REMOTE else RECHECK
        return target

    async def _status(self, session: Session) -> dict[str, Any]:
        patience = Patience(time.monotonic(), first=min(RESPONSE_TIMEOUT, self._left()))
        status = await session.call("status", patience=patience)
        self._seen = str(status.get("state"))
        return status

    def _patience(self) -> Patience:
        whole = None if self._timeout is None else self._left()
        return Patience(time.monotonic(), first=RESPONSE_TIMEOUT, whole=whole)

    async def _pause(self, seconds: float) -> None:
        await self._backend.wait(deadline=time.monotonic() + min(seconds, self._left()))

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
