"""`Client`: operate an instance from Python, blocking, with typed results.

    with Client("shop") as shop:
        if shop.status().ready:
            result = shop.shutdown(grace=10)
            print(result.clean, result.took)

The plain stream is the default; `endpoint="ipc:///…/zmq"` uses ZeroMQ, `"ssh://host/shop"` another host
(docs/other-hosts.md). Every failure is a `ControlError`.
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Literal, Self, overload

from flaskd_ctl.client.application import BlockingApplicationMethods
from flaskd_ctl.client.base import BaseClient
from flaskd_ctl.client.diagnosis import BlockingDiagnosisMethods
from flaskd_ctl.client.listing import LIST_PATIENCE
from flaskd_ctl.client.logs import BlockingLogMethods
from flaskd_ctl.client.metrics import BlockingMetricsMethods
from flaskd_ctl.client.problems import BlockingProblemMethods
from flaskd_ctl.client.session import RESPONSE_TIMEOUT
from flaskd_ctl.client.shapes import Goal, InstanceInfo
from flaskd_ctl.client.tuning import BlockingTuningMethods
from flaskd_ctl.protocol import (
    AuditEntry,
    Event,
    Incident,
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
)
from flaskd_ctl.transports.backend import iterate, run


class Client(
    BlockingApplicationMethods,
    BlockingDiagnosisMethods,
    BlockingLogMethods,
    BlockingMetricsMethods,
    BlockingProblemMethods,
    BlockingTuningMethods,
):
    """A blocking client of one instance.

    `name` is needed only if several instances are running; `endpoint` is a URL instead. For `tcp://HOST:PORT`, `key` is the
    file with your secret key and `server_key` the file with the instance's public key. `timeout` is the time in seconds for
    the daemon's first response. The first call connects; the connection is kept, and made again if the daemon has closed it.
    Calls from several threads take turns. `events` and commands that take longer have connections of their own.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        endpoint: str | None = None,
        runtime_dir: str | None = None,
        key: str | None = None,
        server_key: str | None = None,
        timeout: float = RESPONSE_TIMEOUT,
    ) -> None:
        self._client: BaseClient = BaseClient(
            name,
            endpoint=endpoint,
            runtime_dir=runtime_dir,
            key=key,
            server_key=server_key,
            timeout=timeout,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later call makes a new one."""
        return run(self._client.close())

    def ping(self) -> PingResult:
        """Check that the daemon responds."""
        return run(self._client.ping())

    def status(self) -> StatusResult:
        """Return the state, the application, its listeners and the requests in flight."""
        return run(self._client.status())

    def describe(self) -> dict[str, Any]:
        """Return the protocol as an OpenRPC document."""
        return run(self._client.describe())

    def drain(self) -> StateResult:
        """Take the instance out of rotation; it keeps serving."""
        return run(self._client.drain())

    def resume(self) -> StateResult:
        """Put a draining instance back into rotation."""
        return run(self._client.resume())

    def workers(self) -> list[WorkerInfo]:
        """Return the workers, oldest first. Raises WrongState if the instance is one process."""
        return run(self._client.workers())

    def incidents(self, id: int | None = None) -> list[Incident]:  # noqa: A002 - the parameter's name on the wire
        """Return the workers that crashed or hung, newest last; with `id`, one of them in full."""
        return run(self._client.incidents(id))

    def history(self, limit: int = 50) -> list[AuditEntry]:
        """Return who changed what and the outcome, newest last. Raises WrongState if no audit log is kept."""
        return run(self._client.history(limit))

    @overload
    def reload(
        self,
        check: str | None = None,
        *,
        wait: Literal[True] = True,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ReloadResult: ...

    @overload
    def reload(
        self,
        check: str | None = None,
        *,
        wait: bool,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ReloadResult | None: ...

    def reload(
        self,
        check: str | None = None,
        *,
        wait: bool = True,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ReloadResult | None:
        """Replace all workers, new before old; return when no old one accepts connections.

        `check` is a path that each new worker must answer before it accepts connections. Without `wait`, return when the
        reload has begun (None, or the result if it is over already). `timeout` limits the whole call; without it the daemon
        may take as long as it answers pings. Raises Failed (`data["traceback"]`: the application's) if a new worker cannot
        start: the workers not yet replaced keep serving.
        """
        return run(self._client.reload(check, wait=wait, on_progress=on_progress, timeout=timeout))

    def scale(
        self,
        to: int | None = None,
        *,
        by: int | None = None,
        auto: bool = False,
        for_: float | None = None,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ScaleResult:
        """Set the number of workers (`to`) or change it (`by`); return when that many serve.

        After `for_` seconds the setting `workers` decides again; None: after --scale-hold if that is a range, else never.
        `auto` lets it decide at once.
        """
        return run(
            self._client.scale(to, by=by, auto=auto, for_=for_, on_progress=on_progress, timeout=timeout)
        )

    def restart_worker(
        self,
        worker: int,
        *,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> RestartResult:
        """Replace one worker, new before old; return when the old one accepts nothing. Raises NotFound for an unknown id."""
        return run(self._client.restart_worker(worker, on_progress=on_progress, timeout=timeout))

    @overload
    def shutdown(
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
    def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float | None = None,
        *,
        wait_unrouted: float | None = None,
        wait: bool,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult | None: ...

    def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float | None = None,
        *,
        wait_unrouted: float | None = None,
        wait: bool = True,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult | None:
        """Stop without losing a request; return the outcome when the process has exited.

        All times are seconds; None is the daemon's own setting. `grace` 0 cuts requests at once. The instance keeps serving
        for `lame_duck` after readiness goes off, or until no new request has come for `wait_unrouted`. Without `wait`, return
        when the stop has begun (None, or the result if it is over already). `on_progress` is called whenever something has
        changed. `timeout` limits the whole call; without it the daemon has its own deadline and 15 s more. Raises TimedOut,
        ConnectionLost.
        """
        return run(
            self._client.shutdown(
                grace,
                lame_duck,
                wait_unrouted=wait_unrouted,
                wait=wait,
                on_progress=on_progress,
                timeout=timeout,
            )
        )

    def kill(self, *, wait: bool = True) -> KillResult:
        """Stop at once, without waiting for requests; return when the process has exited."""
        return run(self._client.kill(wait=wait))

    def events(self) -> Iterator[Event]:
        """Yield events until the instance has stopped. Raises ConnectionLost if it ends without saying so.

        The subscription begins with the first `next()` and ends when the iterator is closed or collected.
        """
        return iterate(self._client.events())

    def wait(self, state: Goal, timeout: float | None = None) -> StatusResult | None:
        """Wait until the instance is "ready", "running" (or degraded), "idle" (no request in flight) or "stopped".

        An instance that is not running yet may start meanwhile. Returns the last status; None if the instance did not run, so
        that there was nothing to ask ("stopped" only). Raises TimedOut, with what was seen last, after `timeout` seconds.
        """
        return run(self._client.wait(state, timeout))

    def list_instances(self, timeout: float = LIST_PATIENCE) -> list[InstanceInfo]:
        """Return all instances of this host that this user can see, also stopped, stale and unreachable ones.

        Each has `timeout` seconds to tell its state.
        """
        return run(self._client.list_instances(timeout))
