"""Shutdown and kill: watch the process, ask, follow the progress, see the process end."""

from __future__ import annotations

import time
from typing import Any, Final

from flaskd_ctl.client.session import RESPONSE_TIMEOUT, OnProgress, Session
from flaskd_ctl.contract.conversation import Note, Patience
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import ConnectionLost, TimedOut
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.exit_watcher import ExitWatcher

EXIT_SECONDS: Final = 0.5
"""Seconds that a process has to exit after its connections have ended."""

REMOTE_EXIT_SECONDS: Final = 5.0
"""The same where another host has to report it."""


async def stop(
    backend: Backend,
    target: Target,
    method: str,
    params: dict[str, Any],
    *,
    first: float = RESPONSE_TIMEOUT,
    whole: float | None = None,
    wait: bool = True,
    on_progress: OnProgress | None = None,
) -> dict[str, Any] | None:
    """Ask for the end and see it: return the result once the instance has gone.

    Without `wait`, return as soon as the end has begun: the result if it is there already, else None. Raises
    TimedOut, ConnectionLost (it ended before it said how), and whatever the daemon refuses with.
    """
    patience = Patience(time.monotonic(), first=first, whole=whole)
    with (
        await Session.open(backend, target, deadline=patience.deadline) as session,
        session.connection.watch_exit() as watcher,
    ):
        latest: dict[str, Any] = {}
        try:
            await session.begin(method, params, patience=patience)
            while isinstance(heard := await session.listen(patience), Note):
                latest |= heard.event
                patience.extend(time.monotonic(), seconds_left(heard.event, params))
                if on_progress:
                    on_progress(heard.event)
                if not wait:
                    return None
        except TimedOut:
            if latest and whole is not None:
                raise still_stopping(target, latest, whole) from None
            raise
        except ConnectionLost as error:
            return await after_loss(error, method, target, watcher)
        if not wait:
            return heard.result
        patience.extend(time.monotonic(), 0)
        if await wait_until_gone(
            session, watcher, process_exits=ends_process(heard.result), deadline=patience.deadline
        ):
            return heard.result
        raise not_gone(target, watcher)


async def wait_until_gone(
    session: Session, watcher: ExitWatcher, *, process_exits: bool, deadline: float
) -> bool:
    """Wait for the end: of the process by its descriptor, else of our connection and then of the socket.

    Our connection ends first, since a daemon ends its connections together with its listener. A new one, made only to see
    whether the daemon still listens, could be the last one that it accepts.
    """
    if not watcher.has_descriptor(process_exits=process_exits):
        await session.until_end(deadline=deadline)
    session.connection.close()
    return await watcher.wait(process_exits=process_exits, deadline=deadline)


def seconds_left(event: dict[str, Any], params: dict[str, Any]) -> float:
    """Return the seconds that the daemon itself may still take, the lame duck time included."""
    left = event.get("deadline_left")
    return (float(left) if isinstance(left, int | float) else 0.0) + float(params.get("lame_duck") or 0.0)


def ends_process(result: dict[str, Any]) -> bool:
    """Tell whether the process ends, and not only the instance in it."""
    return bool(result.get("process_exits", True))


def still_stopping(target: Target, latest: dict[str, Any], seconds: float) -> TimedOut:
    """Make the error for a stop that has begun and takes longer than the caller wants to wait."""
    return TimedOut(
        f"{target.name} is still stopping after {span(seconds)} (seen last: {latest.get('phase')}, "
        f"{latest.get('in_flight')} in flight); it continues",
        hint="wait with `flaskd_ctl wait --for stopped`, or cut the remaining requests with `flaskd_ctl shutdown --grace 0`",
    )


async def after_loss(
    error: ConnectionLost, method: str, target: Target, watcher: ExitWatcher
) -> dict[str, Any]:
    """Handle a connection that was lost during a stop: if the process has ended, a `kill` has succeeded.

    A shutdown without a result has not: raises ConnectionLost, with what is known.
    """
    seconds = EXIT_SECONDS if watcher.has_descriptor(process_exits=True) else REMOTE_EXIT_SECONDS
    deadline = time.monotonic() + seconds
    if not watcher.sees_process or not await watcher.wait(process_exits=True, deadline=deadline):
        raise error
    if method == "kill":
        return {"pid": watcher.pid, "process_exits": True}
    raise ConnectionLost(
        f"{target.name} (pid {watcher.pid}) ended before it said how: requests may have been cut",
        hint="see its log",
    )


def not_gone(target: Target, watcher: ExitWatcher) -> TimedOut:
    """Make the error for a daemon that reported its end and has not ended."""
    return TimedOut(
        f"{target.name} has stopped serving, but {watcher.subject} is still there",
        hint="something in the program may keep it from exiting: see its log",
    )
