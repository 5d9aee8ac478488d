"""What can be wrong with a request's body while the application reads it, and how long its client may take.

The exceptions are Werkzeug's, so that Flask answers with their status, and OSErrors, as which other frameworks know them. Where
nobody catches one, the engine answers with its status.
"""

from typing import Final

from werkzeug.exceptions import BadRequest, RequestTimeout

RATE: Final = 500
"""Bytes a second that a client has to send, or to take, on average. Apache's mod_reqtimeout has the same MinRate."""


class BrokenBody(BadRequest, OSError):
    """The body is malformed, or its client left before it was complete."""

    description = "The request's body is not complete."


class SlowBody(RequestTimeout, OSError):
    """The client did not send the body in its time."""

    description = "The request's body did not come in time."


class Pace:
    """How long a client may take to send a body or to take a response: `timeout` seconds, and one more for each `RATE` bytes.

    Only time that is spent waiting for the client counts. Pure: `left` says how long the next wait may be.
    """

    __slots__ = ("_spent", "_timeout")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._spent = 0.0  # seconds waited, less those that the bytes were good for; never below 0

    @property
    def left(self) -> float:
        """Seconds that may still be waited for the next byte."""
        return self._timeout - self._spent

    def moved(self, count: int, waited: float) -> None:
        """Note that `count` bytes came, or were taken, after `waited` seconds."""
        self._spent = max(0.0, self._spent + waited - count / RATE)
