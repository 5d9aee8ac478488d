"""Ending one request."""

from flaskd.tasks.base import Reply, Task


class CancelRequest(Task, frozen=True, tag="cancel_request"):
    """Have request number `request` end with an exception."""

    request: int


class CancelOutcome(Reply, frozen=True, tag="cancel_outcome"):
    """What became of the request after `took` seconds.

    "cancelled": the exception has left the application. "answered": the request ended otherwise. "unknown": there is no such
    request. The request goes on: "in C" without the exception, which arrives when the thread returns to Python; "handling"
    the exception in the application; "elsewhere" outside the application, which reads, sends or closes.
    """

    outcome: str
    took: float = 0.0
