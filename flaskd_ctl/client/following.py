"""Commands that take as long as it takes (reload, scale, restart_worker): ask, and follow the progress to the end.

Only the daemon knows how long it may take: workers load, requests finish. So there is no deadline. A silent daemon is pinged:
if it answers, the command goes on; if not, the call times out.
"""

from __future__ import annotations

import time
from typing import Any, Final

from flaskd_ctl.client.session import RESPONSE_TIMEOUT, OnProgress, Session
from flaskd_ctl.contract.commands import COMMANDS, PROGRESS
from flaskd_ctl.contract.conversation import Patience, Reply
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import TimedOut
from flaskd_ctl.transports.backend import Backend

REPLY_TIME: Final = 2.0
"""Seconds that a daemon has, after the time that a command may take, to say that it did not end."""


async def follow(
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
    """Ask for a change and return the result once it is done.

    After `first` seconds of silence the daemon is pinged; `whole` is the caller's limit. Without `wait`, return as soon as the
    change has begun: the result if it is there already, else None. Raises TimedOut, ConnectionLost, and the daemon's refusals.
    """
    patience = Patience(time.monotonic(), first=first, whole=whole)
    with await Session.open(backend, target, deadline=patience.deadline) as session:
        asked = params | ({"progress": True} if PROGRESS in COMMANDS[method].params else {})
        number = await session.begin(method, asked, patience=patience)
        latest: dict[str, Any] = {}
        while True:
            try:
                heard = await session.listen(patience)
            except TimedOut:
                if not session.waits_for(number):
                    raise  # the daemon's own reply: what it was asked for took too long
                if patience.extend_for_ping(time.monotonic()):
                    await session.ping(patience)
                    continue
                if latest.get("state") and whole is not None:
                    raise unfinished(target, method, latest, whole) from None
                raise
            patience.heard(time.monotonic())
            if not isinstance(heard, Reply):
                latest = heard.event
                if on_progress:
                    on_progress(latest)
                if not wait:
                    return None
            elif heard.id == number:
                return heard.result


def unfinished(target: Target, method: str, latest: dict[str, Any], seconds: float) -> TimedOut:
    """Make the error for a change that has begun and takes longer than the caller wants to wait."""
    return TimedOut(
        f"{target.name} has not finished `{method}` after {span(seconds)} (seen last: worker {latest.get('worker')} "
        f"{latest.get('state')}); it continues",
        hint="see its progress with `flaskd_ctl workers`",
    )
