"""Errors while the application reads a request's body, and the timeout for slow clients.

The exceptions are Werkzeug's, so that Flask answers with their status, and OSErrors, which other frameworks expect. If nothing
catches one, the engine answers with its status.
"""

from typing import Final

from werkzeug.exceptions import BadRequest, RequestTimeout

RATE: Final = 500
"""Bytes per second that a client has to send, or to take, on average. Apache's mod_reqtimeout has the same MinRate."""


class BrokenBody(BadRequest, OSError):
    """The body is malformed, or the client left before it was complete."""

    description = "The request's body is not complete."


class SlowBody(RequestTimeout, OSError):
    """The client did not send the body in its time."""

    description = "The request's body did not come in time."


class MinRateTimeout:
    """A timeout for sending a body or taking a response: `seconds`, and one more for each `RATE` bytes that are transferred.

    Only time spent waiting for the client counts. Pure: no clock.
    """

    __slots__ = ("_seconds", "_spent")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._spent = 0.0  # seconds waited, less those that the bytes were good for; never below 0

    @property
    def remaining(self) -> float:
        """Seconds that the next wait may take."""
        return self._seconds - self._spent

    def transferred(self, count: int, waited: float) -> None:
        """Note that `count` bytes came, or were taken, after `waited` seconds."""
        self._spent = max(0.0, self._spent + waited - count / RATE)
