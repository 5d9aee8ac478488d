"""`AsyncClient`: the same surface as `Client` for asyncio.

    async with AsyncClient("shop") as shop:
        async for event in shop.events():
            print(event)

`unix://` uses asyncio's own socket calls, `ipc://` zmq.asyncio. A call that is cancelled closes its
connection; a shutdown that has begun goes on in the daemon.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from flaskd_ctl.client.aio_session import AsyncSession, follow, stop
from flaskd_ctl.client.session import FIRST_WORD, is_last
from flaskd_ctl.client.shapes import shutdown_params, typed, typed_event, typed_progress
from flaskd_ctl.contract.conversation import Note, Patience
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import ControlError
from flaskd_ctl.protocol import (
    AuditEntry,
    Event,
    EventsResult,
    HistoryResult,
    Incident,
    IncidentsResult,
    InFlight,
    KillResult,
    PingResult,
    ProgressEvent,
    ReloadResult,
    RequestsResult,
    RestartResult,
    ScaleResult,
    ShutdownResult,
    StateResult,
    StatusResult,
    WorkerEvent,
    WorkerInfo,
    WorkersResult,
)

T = TypeVar("T")


class AsyncClient:
    """A client of one instance for asyncio; see `Client` for what the parameters mean.

    Calls of several tasks take turns on one connection; `events` and what takes longer than an answer use
    connections of their own.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        endpoint: str | None = None,
        runtime_dir: str | None = None,
        key: str | None = None,
        server_key: str | None = None,
        timeout: float = FIRST_WORD,
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._runtime_dir = runtime_dir
        self._key = key
        self._server_key = server_key
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._session: AsyncSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; a later call makes a new one."""
        async with self._turn:
            self._drop()

    async def ping(self) -> PingResult:
        """Ask whether the daemon answers at all."""
        return await self._typed("ping", PingResult)

    async def status(self) -> StatusResult:
        """Return the state, what is served and where, and what is in flight."""
        return await self._typed("status", StatusResult)

    async def describe(self) -> dict[str, Any]:
        """Return the protocol as an OpenRPC document."""
        return await self._call("describe")

    async def drain(self) -> StateResult:
        """Take the instance out of rotation; it goes on serving."""
        return await self._typed("drain", StateResult)

    async def resume(self) -> StateResult:
        """Put a draining instance back into rotation."""
        return await self._typed("resume", StateResult)

    async def requests(self) -> list[InFlight]:
        """Return the requests in flight, oldest first."""
        return (await self._typed("requests", RequestsResult)).requests

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers, oldest first. Raises WrongState where the instance is one process."""
        return (await self._typed("workers", WorkersResult)).workers

    async def incidents(self, id: int | None = None) -> list[Incident]:  # noqa: A002 - the parameter's name on the wire
        """Return the workers' crashes and hang-ups in short, newest last; with `id`, this one in full."""
        params = {} if id is None else {"id": id}
        return (await self._typed("incidents", IncidentsResult, params)).incidents

    async def history(self, limit: int = 50) -> list[AuditEntry]:
        """Return who asked for which change and what became of it, newest last. Raises WrongState where no log is kept."""
        return (await self._typed("history", HistoryResult, {"limit": limit})).entries

    @overload
    async def reload(
        self,
        check: str | None = None,
        *,
        wait: Literal[True] = True,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ReloadResult: ...

    @overload
    async def reload(
        self,
        check: str | None = None,
        *,
        wait: bool,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ReloadResult | None: ...

    async def reload(
        self,
        check: str | None = None,
        *,
        wait: bool = True,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ReloadResult | None:
        """Replace each worker by a new one; return when no old one accepts anything (see `Client`)."""
        params = {} if check is None else {"check": check}
        result = await self._follow("reload", params, wait=wait, on_progress=on_progress, timeout=timeout)
        return None if result is None else typed("reload", result, ReloadResult)

    async def scale(
        self,
        to: int | None = None,
        *,
        by: int | None = None,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ScaleResult:
        """Set the number of workers `to` so many, or change it `by` some; return when so many serve."""
        params = {key: value for key, value in (("to", to), ("by", by)) if value is not None}
        result = await self._follow("scale", params, on_progress=on_progress, timeout=timeout)
        return typed("scale", result, ScaleResult)

    async def restart_worker(
        self,
        worker: int,
        *,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> RestartResult:
        """Replace one worker, new before old; return when the old one accepts nothing. Raises NotFound for an unknown id."""
        result = await self._follow(
            "restart_worker", {"worker": worker}, on_progress=on_progress, timeout=timeout
        )
        return typed("restart_worker", result, RestartResult)

    @overload
    async def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float | None = None,
        *,
        wait_unrouted: float | None = None,
        wait: Literal[True] = True,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult: ...

    @overload
    async def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float | None = None,
        *,
        wait_unrouted: float | None = None,
        wait: bool,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult | None: ...

    async def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float | None = None,
        *,
        wait_unrouted: float | None = None,
        wait: bool = True,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult | None:
        """Stop without losing a request; return when the process is gone, with how it went (see `Client`)."""
        result = await stop(
            self._target(),
            "shutdown",
            shutdown_params(grace, lame_duck, wait_unrouted),
            first=self._timeout,
            whole=timeout,
            wait=wait,
            on_progress=typed_progress(on_progress, ProgressEvent),
        )
        return None if result is None else typed("shutdown", result, ShutdownResult)

    async def kill(self, *, wait: bool = True) -> KillResult:
        """End the instance now, waiting for no request; return when the process is gone."""
        result = await stop(self._target(), "kill", {}, first=self._timeout, wait=wait)
        return typed("kill", result, KillResult)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens until the instance has stopped; ConnectionLost if it goes away without a word.

        Use `contextlib.aclosing` where the loop is left early.
        """
        patience = Patience(time.monotonic(), first=self._timeout)
        session = await AsyncSession.open(self._target(), deadline=patience.deadline)
        try:
            typed("events", await session.call("events", patience=patience), EventsResult)
            patience.forever()
            while True:
                heard = await session.listen(patience)
                if not isinstance(heard, Note):
                    continue
                known = typed_event(heard.event)
                if known is not None:
                    yield known
                if is_last(heard.event):
                    return
        finally:
            session.connection.close()

    async def _follow(
        self,
        method: str,
        params: dict[str, Any],
        *,
        wait: bool = True,
        on_progress: Callable[[WorkerEvent], None] | None,
        timeout: float | None,
    ) -> dict[str, Any] | None:
        return await follow(
            self._target(),
            method,
            params,
            first=self._timeout,
            whole=timeout,
            wait=wait,
            on_progress=typed_progress(on_progress, WorkerEvent),
        )

    async def _typed(self, method: str, shape: type[T], params: dict[str, Any] | None = None) -> T:
        return typed(method, await self._call(method, params), shape)

    async def _call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        async with self._turn:
            patience = Patience(time.monotonic(), first=self._timeout)
            if self._session is not None and self._session.connection.ended():
                self._drop()
            if self._session is None:
                self._session = await AsyncSession.open(self._target(), deadline=patience.deadline)
            try:
                return await self._session.call(method, params, patience=patience)
            except BaseException as error:
                if not isinstance(error, ControlError) or self._session.awaits:
                    self._drop()
                raise

    def _drop(self) -> None:
        if self._session is not None:
            self._session.connection.close()
            self._session = None

    def _target(self) -> Target:
        return Instances(self._runtime_dir).target(
            self._name, endpoint=self._endpoint, key=self._key, server_key=self._server_key
        )
