"""Commands that take as long as it takes (reload, scale, restart_worker): ask, and follow the progress to the end.

Only the daemon knows how long it may take: workers load, requests finish. So there is no deadline. A silent daemon is pinged:
if it answers, the command goes on; if not, the call times out.
"""

from __future__ import annotations

import time
from typing import Any

from flaskd_ctl.client.session import FIRST_WORD, OnProgress, Session
from flaskd_ctl.contract.conversation import Patience, Reply
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import TimedOut
from flaskd_ctl.transports.backend import Backend


async def follow(
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
    """Ask for it and return the result once it has happened.

    `first` seconds of silence are answered with a ping; `whole` is the caller's own bound. Without `wait`, return as soon as it
    has begun: the result if it is there already, else None. Raises TimedOut, ConnectionLost, and whatever the daemon refuses
    with.
    """
    patience = Patience(time.monotonic(), first=first, whole=whole)
    with await Session.open(backend, target, deadline=patience.deadline) as session:
        number = await session.begin(method, {**params, "progress": True}, patience=patience)
        latest: dict[str, Any] = {}
        while True:
            try:
                heard = await session.listen(patience)
            except TimedOut:
                if patience.nudge(time.monotonic()):
                    await session.ping(patience)
                    continue
                if latest and whole is not None:
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
    """Say that it has begun and takes longer than the caller would wait."""
    return TimedOut(
        f"{target.name} has not finished `{method}` after {span(seconds)} (seen last: worker {latest.get('worker')} "
        f"{latest.get('state')}); it goes on",
        hint="see how far it is with `flaskd_ctl workers`",
    )
