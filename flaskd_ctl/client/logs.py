"""The log, for `Client` and `AsyncClient`."""

import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from flaskd_ctl.client.asking import Asking
from flaskd_ctl.client.session import Session, given
from flaskd_ctl.client.shapes import typed, typed_event
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.protocol import LogEvent, LogLine, LogsResult, LostEvent, ReopenResult
from flaskd_ctl.transports.backend import iterate, run


class LogMethods(Asking):
    """The coroutines of `BaseClient` about the log."""

    async def logs(
        self,
        worker: int | None = None,
        *,
        process: str | None = None,
        level: str | None = None,
        request: str | None = None,
        limit: int = 100,
    ) -> LogsResult:
        """Return the newest lines of the log (see `Client`)."""
        params = given(worker=worker, process=process, level=level, request=request, limit=limit)
        return await self._typed("logs", LogsResult, params)

    async def follow_logs(
        self,
        worker: int | None = None,
        *,
        process: str | None = None,
        level: str | None = None,
        request: str | None = None,
        limit: int = 1,
    ) -> AsyncGenerator[LogLine | LostEvent, None]:
        """Yield lines of the log until the instance has stopped (see `Client`)."""
        params: dict[str, Any] = given(
            worker=worker, process=process, level=level, request=request, limit=limit, follow=True
        )
        patience = Patience(time.monotonic(), first=self._timeout)
        with await Session.open(self._backend, self._target(), deadline=patience.deadline) as session:
            begun = typed("logs", await session.subscribe(patience, "logs", params), LogsResult)
            for line in begun.lines:
                yield line
            while (event := await session.next_event(patience)) is not None:
                match typed_event(event):
                    case LogEvent(lines=lines):
                        for line in lines:
                            yield line
                    case LostEvent(count=count) as lost if count:
                        yield lost

    async def reopen_logs(self) -> list[str]:
        """Open the log files again; return their paths (see `Client`)."""
        return (await self._typed("reopen_logs", ReopenResult)).files


class BlockingLogMethods:
    """The methods of `Client` about the log."""

    _client: LogMethods

    def logs(
        self,
        worker: int | None = None,
        *,
        process: str | None = None,
        level: str | None = None,
        request: str | None = None,
        limit: int = 100,
    ) -> LogsResult:
        """Return the newest lines of the log, oldest first.

        `worker`, `process` ("supervisor", "template" or "worker"), `level` (the lowest) and `request` (the request's ID) choose
        among them; at most `limit`, up to 1000.
        """
        return run(self._client.logs(worker, process=process, level=level, request=request, limit=limit))

    def follow_logs(
        self,
        worker: int | None = None,
        *,
        process: str | None = None,
        level: str | None = None,
        request: str | None = None,
        limit: int = 1,
    ) -> Iterator[LogLine | LostEvent]:
        """Yield the newest `limit` lines of the log, and each later one, until the instance has stopped.

        A `LostEvent` says how many lines are missing where this program reads too slowly. Raises ConnectionLost if the instance
        ends without saying so. It begins with the first `next()`, and ends when the iterator is closed or collected.
        """
        return iterate(
            self._client.follow_logs(worker, process=process, level=level, request=request, limit=limit)
        )

    def reopen_logs(self) -> list[str]:
        """Open the log files again, after another program has renamed them; return their paths.

        Returns when new lines go to the new files. Raises WrongState if there is no log file, Failed if one cannot be opened:
        lines still go to the old one.
        """
        return run(self._client.reopen_logs())
