"""Answers 503 to requests that have waited too long (`--max-queue-time`), before the application sees them.

How long a request has waited is what the engine knows: the time without a free thread. A trusted proxy's `X-Request-Start`
knows of an earlier time, if it is right. A proxy whose clock is behind would have every request answered 503. So the header is
believed only while it lets some requests pass: answering 503 takes no time, so in a real overload the requests that wait are
soon new ones again.
"""

import logging
from collections.abc import Iterable
from math import ceil
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from flaskd.http.queue_time import queue_time, since_proxy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BODY: Final = b"The server is overloaded.\n"

DOUBT_AFTER: Final = 5.0
"""Seconds in which each request was late by the header, after which the header is not believed."""

log = logging.getLogger("flaskd.http")


class ProxyClock:
    """Decides whether X-Request-Start is believed. Pure; times are monotonic seconds."""

    def __init__(self) -> None:
        self._late_since: float | None = None

    def in_time(self) -> None:
        """Note a request that the header lets pass."""
        self._late_since = None

    def believed(self, now: float) -> bool:
        """Note a request that is late by the header; returns whether it is believed."""
        since = self._late_since
        if since is None:
            self._late_since = since = now
        return now - since <= DOUBT_AFTER


class QueueLimit:
    """Finds and answers the requests that have waited `seconds` or longer. For any thread.

    `behind_proxies`: X-Request-Start, which a client may send too, comes from a trusted proxy.
    """

    def __init__(self, seconds: float, *, behind_proxies: bool) -> None:
        self._seconds = seconds
        self._behind_proxies = behind_proxies
        self._clock = ProxyClock()
        self._warned = False
        self._headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(BODY))),
            ("Retry-After", str(max(1, ceil(seconds)))),
            ("Cache-Control", "no-store"),
        ]

    def exceeded(self, environ: "WSGIEnvironment") -> bool:
        """Tell whether the request of this thread has waited too long; its queue time is then known."""
        waited = since_proxy(environ, time()) if self._behind_proxies else None
        late = waited is not None and waited >= self._seconds
        if waited is not None and not late:
            self._clock.in_time()
        if queue_time.expired or queue_time.seconds >= self._seconds:
            return True
        return late and self._believes()

    def answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer in the application's place."""
        start_response("503 Service Unavailable", self._headers.copy())
        return [BODY]

    def _believes(self) -> bool:
        believed = self._clock.believed(monotonic())
        if not believed and not self._warned:
            self._warned = True
            log.warning(
                "by X-Request-Start every request of the last %g s has waited longer than --max-queue-time (%g s): "
                "the header is ignored until it lets one pass; compare the clocks of the proxy and of this host",
                DOUBT_AFTER,
                self._seconds,
            )
        return believed
