"""How long requests wait for a free thread.

An engine notes the time only of a request for which no thread was free, so the others cost nothing. The ledger reads it on the
request's thread: at the request's end, and before it where `queue_limit` holds.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

Waiting = Callable[[int], None]
"""Is called with 1 when a request begins to wait for a free thread, and with -1 when it has one; from any thread."""


class _QueueTime(threading.local):
    """`seconds` is the time in the queue of this thread's request; `expired`: no thread became free for it in time."""

    seconds = 0.0
    expired = False


queue_time: Final = _QueueTime()

LONGEST: Final = 86_400.0
"""Seconds. A header that says more is wrong, or its clock is."""


def since_proxy(environ: Mapping[str, Any], now: float) -> float | None:
    """Return the seconds since a proxy received the request, by its X-Request-Start header; None if there is none.

    `now` is Unix time. The header's value is Unix time in seconds, milliseconds or microseconds, with or without "t=" in
    front, as nginx ($msec), HAProxy (%Ts%ms), Apache (%t) and Heroku send it. Of several values the last one counts, which the
    nearest proxy has added.
    """
    text = environ.get("HTTP_X_REQUEST_START")
    if not text:
        return None
    try:
        start = float(text.rpartition(",")[2].strip().removeprefix("t="))
    except ValueError:
        return None
    for unit in (1.0, 1e3, 1e6):
        waited = now - start / unit
        if -1.0 <= waited <= LONGEST:  # two hosts' clocks differ a little
            return max(0.0, waited)
    return None
