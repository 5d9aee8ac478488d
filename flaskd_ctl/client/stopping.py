"""The whole of a shutdown or kill: watch the process, ask, follow the progress, see it gone; blocking.

What it is made of (how long to go on, what a lost connection means) is used by `aio_session` too.
"""

from __future__ import annotations

import time
from typing import Any, Final

from flaskd_ctl.client.session import FIRST_WORD, OnProgress, Session
from flaskd_ctl.contract.conversation import Patience, Reply
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import ConnectionLost, TimedOut
from flaskd_ctl.transports.process_exit import Watcher

LAST_BREATH: Final = 0.5
"""Seconds that a process has to end after its connections have."""

FAR_BREATH: Final = 5.0
"""The same where another host has to tell of it."""


def stop(
    target: Target,
    method: str,
    params: dict[str, Any],
    *,
    first: float = FIRST_WORD,
    whole: float | None = None,
    wait: bool = True,
    on_progress: OnProgress | None = None,
) -> dict[str, Any] | None:
    """Ask for the end and see it: return the result once the instance is gone.

    Without `wait`, return as soon as the end has begun: the result if it is there already, else None. Raises
    TimedOut, ConnectionLost (it ended before it said how), and whatever the daemon refuses with.
    """
    patience = Patience(time.monotonic(), first=first, whole=whole)
    with (
        Session(target, deadline=patience.deadline) as session,
        session.connection.departure() as departure,
    ):
        latest: dict[str, Any] = {}

        def note(event: dict[str, Any]) -> None:
            latest.update(event)
            if on_progress:
                on_progress(event)

        try:
            result = _hear_end(session, method, params, patience=patience, wait=wait, on_progress=note)
        except TimedOut:
            if latest and whole is not None:
                raise still_stopping(target, latest, whole) from None
            raise
        except ConnectionLost as error:
            return after_loss(error, method, target, departure)
        if result is None or not wait:
            return result
        patience.extend(time.monotonic(), 0)
        if see_gone(session, departure, process_exits=exits(result), deadline=patience.deadline):
            return result
        raise not_gone(target, departure)


def see_gone(session: Session, departure: Watcher, *, process_exits: bool, deadline: float) -> bool:
    """Wait for the end: of the process by its descriptor, else of our connection and then of the socket.

    The connection goes first since a daemon ends those that it has together with its listener; a new one, made only to see
    whether somebody still listens, could be the one that it accepts last.
    """
    if departure.watches(process_exits=process_exits) is None:
        session.until_end(deadline=deadline)
    session.connection.close()
    return departure.wait(process_exits=process_exits, deadline=deadline)


def _hear_end(
    session: Session,
    method: str,
    params: dict[str, Any],
    *,
    patience: Patience,
    wait: bool,
    on_progress: OnProgress | None,
) -> dict[str, Any] | None:
    session.begin(method, params, patience=patience)
    while True:
        heard = session.listen(patience)
        if isinstance(heard, Reply):
            return heard.result
        patience.extend(time.monotonic(), slack(heard.event, params))
        if on_progress:
            on_progress(heard.event)
        if not wait:
            return None


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


def after_loss(error: ConnectionLost, method: str, target: Target, departure: Watcher) -> dict[str, Any]:
    """Make the best of a connection lost while the end was awaited: if the process has ended, that is all `kill` wanted.

    A shutdown of which nobody told how it went is no success: raises ConnectionLost, saying what is known.
    """
    breath = LAST_BREATH if departure.watches(process_exits=True) is not None else FAR_BREATH
    if not departure.sees_process or not departure.wait(
        process_exits=True, deadline=time.monotonic() + breath
    ):
        raise error
    if method == "kill":
        return {"pid": departure.pid, "process_exits": True}
    raise ConnectionLost(
        f"{target.name} (pid {departure.pid}) ended before it said how: requests may have been cut",
        hint="see its log",
    )


def not_gone(target: Target, departure: Watcher) -> TimedOut:
    """Say that the daemon reported its end and yet is there."""
    return TimedOut(
        f"{target.name} has stopped serving, but {departure.who} is still there",
        hint="something in the program may keep it from ending: see its log",
    )
