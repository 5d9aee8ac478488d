"""Numbers of finished requests, of the queue and of workers."""

from typing import Annotated

import msgspec

from flaskd_ctl.protocol.wire import Params, Positive


class StatsParams(Params, frozen=True, forbid_unknown_fields=True):
    """`endpoint` and `worker` limit what is counted; `limit` is the number of endpoints to show, the busiest ones.

    `step` is the length of the steps of the history in seconds, a multiple of 10.
    """

    endpoint: str | None = None
    worker: Positive | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    step: Annotated[int, msgspec.Meta(ge=10, le=300, multiple_of=10)] = 300


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Finished requests and how long they took in the application, in seconds, at most 5 % off.

    `errors` are answers of 500 or above, and requests that the application did not complete. The percentiles are null if
    there was no request.
    """

    requests: int = 0
    errors: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class EndpointStats(msgspec.Struct, frozen=True, kw_only=True):
    """The finished requests of one endpoint.

    `endpoint` is "" for requests without a route, null for all endpoints together or all that are not counted by name (more
    than 512). `served` counts them by status class since the start, as in `status`. `seconds` is the time that they spent in
    the application, `bytes` the size of the response bodies, both in all. The percentiles are those since the start, of the
    last minute, five minutes and hour.
    """

    endpoint: str | None
    rule: str = ""
    served: dict[str, int]
    seconds: float
    bytes: int
    start: Latency
    minute: Latency
    five_minutes: Latency
    hour: Latency


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What finished in the `seconds` from `at` on; the step under way is shorter than the others.

    `queue` is the time before the application, of all endpoints together, as in `QueueStats`. It is null from an instance of
    an older version.
    """

    at: float
    latency: Latency
    queue: Latency | None = None
    seconds: float = 300.0


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """The time before the application.

    `waiting` requests wait for a free thread now. `waited` requests have waited since the start, `seconds` in all. The
    percentiles are those of all requests, also of those that did not wait. `rejected` requests were answered 503 because they
    had waited too long (`max_queue_time`); in the windows of time they are the `errors`. No other number of `stats` has them.
    """

    waiting: int
    waited: int
    seconds: float
    rejected: int = 0
    start: Latency
    minute: Latency
    five_minutes: Latency
    hour: Latency


class ListenerStats(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that wait in a listener's accept queue: now, and at most since the last `stats`; null if unknown."""

    listener: str
    queue: int | None
    most: int | None


class Collections(msgspec.Struct, frozen=True, kw_only=True):
    """Garbage collections of one generation, as counted up to 10 s ago."""

    generation: int
    count: int


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """One worker; `worker` is 0 if the instance is one process. `cpu`: seconds of CPU time; `rss`, `pss`: bytes."""

    worker: int
    pid: int
    state: str
    age: float
    in_flight: int | None
    waiting: int
    served: dict[str, int]
    minute: Latency
    cpu: float | None
    rss: int | None
    pss: int | None
    collections: list[Collections]


class MetricsResult(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers as text in the OpenMetrics format, and its media type."""

    media_type: str
    text: str


class StatsResult(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of an instance since `since`, also of the workers that are gone.

    `threads` is how many requests all workers together can have in the application, `in_flight` how many they have. `cpu` is
    the CPU time of all workers, in seconds. `endpoints` has the ones that took most time; `not_shown` counts the others.
    `history` has the last hour in steps of `step` seconds, oldest first, and ends with the step under way; a step in which no
    request finished is left out. `starts` and `ends` count workers by the reason why they were started or ended.
    """

    since: float
    threads: int
    in_flight: int | None
    total: EndpointStats
    endpoints: list[EndpointStats]
    not_shown: int
    history: list[Moment]
    queue: QueueStats
    listeners: list[ListenerStats]
    workers: list[WorkerStats]
    cpu: float | None
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    step: float = 300.0
