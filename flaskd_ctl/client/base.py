"""Everything that `Client` and `AsyncClient` do, written once.

The methods are coroutines; a subclass chooses the backend that they wait with (`transports.backend`). `AsyncClient` is this
class with asyncio, `Client` calls it in the thread of its caller.
"""

import time
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Literal, Self, overload

from flaskd_ctl.client.application import ApplicationMethods
from flaskd_ctl.client.diagnosis import DiagnosisMethods
from flaskd_ctl.client.listing import LIST_PATIENCE, list_instances
from flaskd_ctl.client.logs import LogMethods
from flaskd_ctl.client.metrics import MetricsMethods
from flaskd_ctl.client.problems import ProblemMethods
from flaskd_ctl.client.session import Session, given
from flaskd_ctl.client.shapes import (
    Goal,
    InstanceInfo,
    instance_info,
    shutdown_params,
    typed,
    typed_event,
    typed_progress,
)
from flaskd_ctl.client.stopping import stop
from flaskd_ctl.client.tuning import TuningMethods
from flaskd_ctl.client.waiting import Wait
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.protocol import (
    AuditEntry,
    Event,
    EventsResult,
    HistoryResult,
    Incident,
    IncidentsResult,
    KillResult,
    PingResult,
    ProgressEvent,
    ReloadResult,
    RestartResult,
    ScaleResult,
    ShutdownResult,
    StateResult,
    StatusResult,
    WorkerEvent,
    WorkerInfo,
    WorkersResult,
)


class BaseClient(
    ApplicationMethods, DiagnosisMethods, LogMethods, MetricsMethods, ProblemMethods, TuningMethods
):
    """A client of one instance; `Client` explains the parameters."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; a later call makes a new one."""
        await self._session.close()

    async def ping(self) -> PingResult:
        """Check that the daemon responds."""
        return await self._typed("ping", PingResult)

    async def status(self) -> StatusResult:
        """Return the state, the application, its listeners and the requests in flight."""
        return await self._typed("status", StatusResult)

    async def describe(self) -> dict[str, Any]:
        """Return the protocol as an OpenRPC document."""
        return await self._session.call("describe")

    async def drain(self) -> StateResult:
        """Take the instance out of rotation; it keeps serving."""
        return await self._typed("drain", StateResult)

    async def resume(self) -> StateResult:
        """Put a draining instance back into rotation."""
        return await self._typed("resume", StateResult)

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers, oldest first. Raises WrongState if the instance is one process."""
        return (await self._typed("workers", WorkersResult)).workers

    async def incidents(self, id: int | None = None) -> list[Incident]:  # noqa: A002 - the parameter's name on the wire
        """Return the workers that crashed or hung, newest last; with `id`, one of them in full."""
        return (await self._typed("incidents", IncidentsResult, given(id=id))).incidents

    async def history(self, limit: int = 50) -> list[AuditEntry]:
        """Return who changed what and the outcome, newest last. Raises WrongState if no audit log is kept."""
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
        """Replace all workers; return when no old one accepts connections (see `Client`)."""
        result = await self._follow(
            "reload",
            given(check=check),
            wait=wait,
            on_progress=typed_progress(on_progress, WorkerEvent),
            timeout=timeout,
        )
        return None if result is None else typed("reload", result, ReloadResult)

    async def scale(
        self,
        to: int | None = None,
        *,
        by: int | None = None,
        auto: bool = False,
        for_: float | None = None,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ScaleResult:
        """Set the number of workers, or let the setting `workers` decide again (see `Client`)."""
        result = await self._follow(
            "scale",
            given(to=to, by=by, auto=auto or None, **{"for": for_}),
            on_progress=typed_progress(on_progress, WorkerEvent),
            timeout=timeout,
        )
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
            "restart_worker",
            {"worker": worker},
            on_progress=typed_progress(on_progress, WorkerEvent),
            timeout=timeout,
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
        """Stop without losing a request; return the outcome when the process has exited (see `Client`)."""
        result = await stop(
            self._backend,
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
        """Stop at once, without waiting for requests; return when the process has exited."""
        result = await stop(self._backend, self._target(), "kill", {}, first=self._timeout, wait=wait)
        return typed("kill", result, KillResult)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield events until the instance has stopped. Raises ConnectionLost if it ends without saying so."""
        patience = Patience(time.monotonic(), first=self._timeout)
        with await Session.open(self._backend, self._target(), deadline=patience.deadline) as session:
            typed("events", await session.subscribe(patience), EventsResult)
            while (event := await session.next_event(patience)) is not None:
                known = typed_event(event)
                if known is not None:
                    yield known

    async def wait(self, state: Goal, timeout: float | None = None) -> StatusResult | None:
        """Wait until the instance is `state`; return its last status, or None (see `Client`)."""
        status = await Wait(self._backend, self._target, state, timeout=timeout).until_reached()
        return typed("status", status, StatusResult) if status else None

    async def list_instances(self, timeout: float = LIST_PATIENCE) -> list[InstanceInfo]:
        """Return all instances of this host that you can see, including stopped ones (see `Client`)."""
        rows = await list_instances(self._backend, Instances(self._runtime_dir), patience=timeout)
        return [instance_info(row) for row in rows]
