"""Shutdown and kill: watch the process, ask, follow the progress, see the process end."""

from __future__ import annotations

import time
from typing import Any, Final

from flaskd_ctl.client.session import FIRST_WORD, OnProgress, Session
from flaskd_ctl.contract.conversation import Note, Patience
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import ConnectionLost, TimedOut
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.connection import ExitWatcher

LAST_BREATH: Final = 0.5
"""Seconds that a process has to end after its connections have."""

REMOTE_BREATH: Final = 5.0
"""The same where another host has to report it."""


async def stop(
    backend: Backend,
    target: Target,
    method: str,
    params: dict[str, Any],
    *,
    first: float = FIRST_WORD,
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
                patience.extend(time.monotonic(), slack(heard.event, params))
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
        if await see_gone(session, watcher, process_exits=exits(heard.result), deadline=patience.deadline):
            return heard.result
        raise not_gone(target, watcher)


async def see_gone(session: Session, watcher: ExitWatcher, *, process_exits: bool, deadline: float) -> bool:
    """Wait for the end: of the process by its descriptor, else of our connection and then of the socket.

    Our connection ends first, since a daemon ends its connections together with its listener. A new one, made only to see
    whether the daemon still listens, could be the last one that it accepts.
    """
    if not watcher.has_descriptor(process_exits=process_exits):
        await session.until_end(deadline=deadline)
    session.connection.close()
    return await watcher.wait(process_exits=process_exits, deadline=deadline)


def slack(event: dict[str, Any], params: dict[str, Any]) -> float:
    """Seconds that the daemon itself says it may still take, the lame duck included."""
    left = event.get("deadline_left")
    return (float(left) if isinstance(left, int | float) else 0.0) + float(params.get("lame_duck") or 0.0)


def exits(result: dict[str, Any]) -> bool:
    """Tell whether the process ends, rather than only the instance in it."""
    return bool(result.get("process_exits", True))


def still_stopping(target: Target, latest: dict[str, Any], seconds: float) -> TimedOut:
    """Say that the end has begun and takes longer than the caller would wait."""
    return TimedOut(
        f"{target.name} is still stopping after {span(seconds)} (seen last: {latest.get('phase')}, "
        f"{latest.get('in_flight')} in flight); it goes on",
        hint="wait for it with `flaskd_ctl wait --for stopped`, or cut what is left with `flaskd_ctl shutdown --grace 0`",
    )


async def after_loss(
    error: ConnectionLost, method: str, target: Target, watcher: ExitWatcher
) -> dict[str, Any]:
    """Make the best of a connection lost while the end was awaited: if the process has ended, that is all `kill` wanted.

    A shutdown of which nobody told how it went is no success: raises ConnectionLost, saying what is known.
    """
    seconds = LAST_BREATH if watcher.has_descriptor(process_exits=True) else REMOTE_BREATH
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
    """Say that the daemon reported its end and yet is there."""
    return TimedOut(
        f"{target.name} has stopped serving, but {watcher.who} is still there",
        hint="something in the program may keep it from ending: see its log",
    )
