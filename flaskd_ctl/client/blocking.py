"""`Client`: operate an instance from Python, blocking, with typed results.

    with Client("shop") as shop:
        if shop.status().ready:
            result = shop.shutdown(grace=10)
            print(result.clean, result.took)

The plain stream is the default; `endpoint="ipc:///…/zmq"` goes over ZeroMQ instead, and `"ssh://host/shop"` to
another host (docs/other-hosts.md). Every failure is a `ControlError`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from flaskd_ctl.client.following import follow
from flaskd_ctl.client.session import FIRST_WORD, Session
from flaskd_ctl.client.shapes import shutdown_params, typed, typed_event, typed_progress
from flaskd_ctl.client.stopping import stop
from flaskd_ctl.contract.conversation import Patience
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


class Client:
    """A blocking client of one instance.

    `name` may be left out when exactly one instance runs; `endpoint` is a URL in its place; for
    `tcp://HOST:PORT`, `key` is the file with our own secret key and `server_key` the one with the instance's public key.
    `timeout` is the time in seconds that the daemon has for its first word. The connection is made by the first call, kept for
    the next ones, and made anew if the daemon has closed it in between. Calls from several threads take
    turns; `events` and what takes longer than an answer use connections of their own.
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
        self._turn = threading.Lock()  # guards _session
        self._session: Session | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later call makes a new one."""
        with self._turn:
            self._drop()

    def ping(self) -> PingResult:
        """Ask whether the daemon answers at all."""
        return self._typed("ping", PingResult)

    def status(self) -> StatusResult:
        """Return the state, what is served and where, and what is in flight."""
        return self._typed("status", StatusResult)

    def describe(self) -> dict[str, Any]:
        """Return the protocol as an OpenRPC document."""
        return self._call("describe")

    def drain(self) -> StateResult:
        """Take the instance out of rotation; it goes on serving."""
        return self._typed("drain", StateResult)

    def resume(self) -> StateResult:
        """Put a draining instance back into rotation."""
        return self._typed("resume", StateResult)

    def requests(self) -> list[InFlight]:
        """Return the requests in flight, oldest first."""
        return self._typed("requests", RequestsResult).requests

    def workers(self) -> list[WorkerInfo]:
        """Return the workers, oldest first. Raises WrongState where the instance is one process."""
        return self._typed("workers", WorkersResult).workers

    def incidents(self, id: int | None = None) -> list[Incident]:  # noqa: A002 - the parameter's name on the wire
        """Return the workers' crashes and hang-ups in short, newest last; with `id`, this one in full."""
        params = {} if id is None else {"id": id}
        return self._typed("incidents", IncidentsResult, params).incidents

    def history(self, limit: int = 50) -> list[AuditEntry]:
        """Return who asked for which change and what became of it, newest last. Raises WrongState where no log is kept."""
        return self._typed("history", HistoryResult, {"limit": limit}).entries

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
        """Replace each worker by a new one, new before old; return when no old one accepts anything.

        `check` is a path that each new worker must answer before it accepts anything. Without `wait`, return when it has begun
        (None, or the result if it is over already). `timeout` bounds the whole; without it the daemon may take as long as it
        answers a ping. Raises Failed (`data["traceback"]`: the application's) when a new worker cannot start: those not yet
        replaced serve on.
        """
        params = {} if check is None else {"check": check}
        result = self._follow("reload", params, wait=wait, on_progress=on_progress, timeout=timeout)
        return None if result is None else typed("reload", result, ReloadResult)

    def scale(
        self,
        to: int | None = None,
        *,
        by: int | None = None,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ScaleResult:
        """Set the number of workers `to` so many, or change it `by` some; return when so many serve."""
        params = {key: value for key, value in (("to", to), ("by", by)) if value is not None}
        result = self._follow("scale", params, on_progress=on_progress, timeout=timeout)
        return typed("scale", result, ScaleResult)

    def restart_worker(
        self,
        worker: int,
        *,
        on_progress: Callable[[WorkerEvent], None] | None = None,
        timeout: float | None = None,
    ) -> RestartResult:
        """Replace one worker, new before old; return when the old one accepts nothing. Raises NotFound for an unknown id."""
        result = self._follow("restart_worker", {"worker": worker}, on_progress=on_progress, timeout=timeout)
        return typed("restart_worker", result, RestartResult)

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
        """Stop without losing a request; return when the process is gone and tell how it went.

        Seconds; None is the daemon's own setting. `grace` 0 cuts at once. With readiness off it serves on for
        `lame_duck`, or until no new request came for `wait_unrouted`. Without `wait`, return when the stop has
        begun (None, or the result if it is over already). `on_progress` is called whenever something has
        changed. `timeout` bounds the whole; without it the daemon has its own deadline and 15 s more. Raises
        TimedOut, ConnectionLost.
        """
        result = stop(
            self._target(),
            "shutdown",
            shutdown_params(grace, lame_duck, wait_unrouted),
            first=self._timeout,
            whole=timeout,
            wait=wait,
            on_progress=typed_progress(on_progress, ProgressEvent),
        )
        return None if result is None else typed("shutdown", result, ShutdownResult)

    def kill(self, *, wait: bool = True) -> KillResult:
        """End the instance now, waiting for no request; return when the process is gone."""
        result = stop(self._target(), "kill", {}, first=self._timeout, wait=wait)
        return typed("kill", result, KillResult)

    def events(self) -> Iterator[Event]:
        """Yield what happens until the instance has stopped; ConnectionLost if it goes away without a word.

        The subscription begins with the first `next()`. Close the iterator (or leave it to the collector) to
        end it.
        """
        patience = Patience(time.monotonic(), first=self._timeout)
        with Session(self._target(), deadline=patience.deadline) as session:
            told = session.events(patience=patience)
            typed("events", next(told), EventsResult)
            for event in told:
                known = typed_event(event)
                if known is not None:
                    yield known

    def _follow(
        self,
        method: str,
        params: dict[str, Any],
        *,
        wait: bool = True,
        on_progress: Callable[[WorkerEvent], None] | None,
        timeout: float | None,
    ) -> dict[str, Any] | None:
        return follow(
            self._target(),
            method,
            params,
            first=self._timeout,
            whole=timeout,
            wait=wait,
            on_progress=typed_progress(on_progress, WorkerEvent),
        )

    def _typed(self, method: str, shape: type[T], params: dict[str, Any] | None = None) -> T:
        return typed(method, self._call(method, params), shape)

    def _call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        patience = Patience(time.monotonic(), first=self._timeout)
        with self._turn:
            if self._session is not None and self._session.connection.ended():
                self._drop()
            if self._session is None:
                self._session = Session(self._target(), deadline=patience.deadline)
            try:
                return self._session.call(method, params, patience=patience)
            except BaseException as error:
                # A refusal is an answer; after anything else a late reply could be taken for the next one.
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
