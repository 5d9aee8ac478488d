"""`Client`: operate an instance from Python, blocking, with typed results.

    with Client("shop") as shop:
        if shop.status().ready:
            result = shop.shutdown(grace=10)
            print(result.clean, result.took)

The plain stream is the default; `endpoint="ipc:///…/zmq"` goes over ZeroMQ instead. Every failure is a
`ControlError`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import msgspec

from flaskd_ctl.conversation import Patience
from flaskd_ctl.errors import ControlError, ParseError
from flaskd_ctl.instances import Instances, Target
from flaskd_ctl.protocol import (
    Event,
    EventsResult,
    InFlight,
    KillResult,
    PingResult,
    ProgressEvent,
    RequestsResult,
    ShutdownResult,
    StateResult,
    StatusResult,
)
from flaskd_ctl.session import FIRST_WORD, Session, stop

T = TypeVar("T")


class Client:
    """A blocking client of one instance.

    `name` may be left out when exactly one instance runs; `endpoint` is a URL in its place. `timeout` is the
    time in seconds that the daemon has for its first word. The connection is made by the first call, kept for
    the next ones, and made anew if the daemon has closed it in between. Calls from several threads take
    turns; `shutdown` and `events` use connections of their own.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        endpoint: str | None = None,
        runtime_dir: str | None = None,
        timeout: float = FIRST_WORD,
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._runtime_dir = runtime_dir
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

    @overload
    def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float = 0.0,
        *,
        wait: Literal[True] = True,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult: ...

    @overload
    def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float = 0.0,
        *,
        wait: bool,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult | None: ...

    def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float = 0.0,
        *,
        wait: bool = True,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult | None:
        """Stop without losing a request; return when the process is gone and tell how it went.

        `grace` None is the daemon's own setting, 0 cuts at once. Without `wait`, return when the stop has
        begun (None, or the result if it is over already). `on_progress` is called whenever something has
        changed. `timeout` bounds the whole; without it the daemon has its own deadline and 15 s more. Raises
        TimedOut, ConnectionLost.
        """
        result = stop(
            self._target(),
            "shutdown",
            shutdown_params(grace, lame_duck),
            first=self._timeout,
            whole=timeout,
            wait=wait,
            on_progress=typed_progress(on_progress),
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

    def _typed(self, method: str, shape: type[T]) -> T:
        return typed(method, self._call(method), shape)

    def _call(self, method: str) -> dict[str, Any]:
        patience = Patience(time.monotonic(), first=self._timeout)
        with self._turn:
            if self._session is not None and self._session.connection.ended():
                self._drop()
            if self._session is None:
                self._session = Session(self._target(), deadline=patience.deadline)
            try:
                return self._session.call(method, patience=patience)
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
        return Instances(self._runtime_dir).target(self._name, endpoint=self._endpoint)


def shutdown_params(grace: float | None, lame_duck: float) -> dict[str, Any]:
    """Make the params of `shutdown`, asking for progress: its first word says that the stop has begun."""
    params: dict[str, Any] = {"progress": True}
    if grace is not None:
        params["grace"] = grace
    if lame_duck:
        params["lame_duck"] = lame_duck
    return params


def typed(method: str, result: Any, shape: type[T]) -> T:
    """Make the struct of a result; fields unknown to it are left out, a missing one is a ParseError."""
    try:
        return msgspec.convert(result, shape)
    except msgspec.ValidationError as error:
        raise ParseError(f"the result of `{method}` is not as the protocol says: {error}") from None


def typed_event(event: dict[str, Any]) -> Event | None:
    """Make the struct of an event; None for a kind that a newer daemon made up."""
    try:
        known: Event = msgspec.convert(event, Event)
    except msgspec.ValidationError:
        return None
    return known


def typed_progress(
    on_progress: Callable[[ProgressEvent], None] | None,
) -> Callable[[dict[str, Any]], None] | None:
    """Give a callback of structs the plain events that `stop` hears."""
    if on_progress is None:
        return None

    def tell(event: dict[str, Any]) -> None:
        known = typed_event(event)
        if isinstance(known, ProgressEvent):
            on_progress(known)

    return tell
