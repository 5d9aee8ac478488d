"""The log: lines that the supervisor and the workers wrote."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from flaskd_ctl.protocol.wire import Params, Positive

Level = Literal["debug", "info", "warning", "error", "critical"]
Process = Literal["supervisor", "template", "worker"]


class LogsParams(Params, frozen=True, forbid_unknown_fields=True):
    """Which lines to return: the newest `limit` of those that fit. `level` is the lowest one, `process` a kind of process.

    With `follow`, notifications with later lines come after the reply.
    """

    follow: bool = False
    worker: Positive | None = None
    process: Process | None = None
    level: Level | None = None
    request: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class LogLine(msgspec.Struct, frozen=True):
    """One record of `logging`, or one line that was printed.

    `at`: Unix time. `level` is null for a printed line, whose `stream` is "stdout" or "stderr". `worker` is null for the
    supervisor and for a template that workers are forked from (--preload); `process` says which. It is 0 if the instance is one
    process. A record's message may have several lines.
    """

    at: float
    level: str | None
    worker: int | None
    message: str
    request_id: str = ""
    logger: str = ""
    stream: str = ""
    process: str = "worker"


class LogsResult(msgspec.Struct, frozen=True):
    """The newest lines that fit, oldest first.

    `left_out` older ones fit too; `dropped` lines, which may have fitted, are not kept any more.
    """

    lines: list[LogLine]
    left_out: int = 0
    dropped: int = 0


class ReopenResult(msgspec.Struct, frozen=True):
    """The log files that were opened again."""

    files: list[str]
