"""Errors of the application, slow requests, and requests that an operator ends."""

from typing import Annotated

import msgspec

from flaskd_ctl.protocol.wire import Params, Positive

MOST_SLOW = 100
"""Slow requests that one reply lists."""


class ErrorsParams(Params, frozen=True, forbid_unknown_fields=True):
    """The id of the error to show in full; None lists all."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class ErrorGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of one kind: exceptions of one type from one place, or responses of one endpoint with one status.

    `id` is made of what they have in common, so it stays the same after a restart. `exception` is the type, "" for a response
    of 500 or above without an exception. `file`, `line` and `function` are the innermost frame of the application's own code.
    `count` says how many there were from `first` to `last`; the other fields describe the last one: its message, its request
    (without query), the `status` that answered it, its worker (0 if the instance is one process). Lists have no `traceback`.
    """

    id: str
    exception: str
    message: str
    file: str
    line: int
    function: str
    status: int
    count: int
    first: float
    last: float
    method: str
    path: str
    endpoint: str
    request_id: str
    request: int
    worker: int = 0
    traceback: str = ""


class ErrorsResult(msgspec.Struct, frozen=True):
    """The newest errors, newest last. `dropped` says how many older kinds of errors are not kept any more."""

    errors: list[ErrorGroup]
    dropped: int = 0


class SlowParams(Params, frozen=True, forbid_unknown_fields=True):
    """The number of requests to list, the slowest ones."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_SLOW)] = 20


class SlowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has ended. `at` is when, `seconds` how long it took to the last byte; `path` has no query."""

    id: int
    at: float
    seconds: float
    method: str
    path: str
    endpoint: str
    status: int
    request_id: str
    worker: int = 0


class SlowResult(msgspec.Struct, frozen=True):
    """The slowest requests that ended within the last hour, slowest first."""

    requests: list[SlowRequest]


class CancelParams(Params, frozen=True, forbid_unknown_fields=True):
    """The request to cancel: its number in `requests`, or its X-Request-ID. `worker` tells two of one number apart."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    worker: Positive | None = None


class CancelResult(msgspec.Struct, frozen=True):
    """The request that was cancelled; its exception has left the application after `took` seconds."""

    id: int
    worker: int
    request_id: str
    method: str
    path: str
    took: float
