"""`AsyncClient`: the same surface as `Client` for asyncio.

    async with AsyncClient("shop") as shop:
        async for event in shop.events():
            print(event)

`unix://` uses asyncio's own socket calls, `ipc://` zmq.asyncio. A call that is cancelled closes its
connection; a shutdown that has begun goes on in the daemon.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar, overload

from flaskd_ctl.client import shutdown_params, typed, typed_event, typed_progress
from flaskd_ctl.conversation import Conversation, Note, Patience, Refusal, Reply
from flaskd_ctl.departure import Departure
from flaskd_ctl.errors import ConnectionLost, ControlError
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
from flaskd_ctl.session import FIRST_WORD, after_loss, exits, is_last, lost, not_gone, slack, timed_out

T = TypeVar("T")


class AsyncConnection(Protocol):
    """What a transport offers to asyncio; raises EOFError when the peer is gone."""

    path: str
    pid: int | None

    async def send(self, message: bytes) -> None:
        """Send one message."""

    async def receive(self) -> bytes:
        """Return the next message."""

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer is gone."""

    def close(self) -> None:
        """Close the connection."""


class AsyncSession:
    """An open connection to one instance, as `session.Session` is."""

    def __init__(self, target: Target, connection: AsyncConnection) -> None:
        self.target = target
        self.connection = connection
        self._conversation = Conversation()
        self._method = "connect"

    @classmethod
    async def open(cls, target: Target, *, deadline: float) -> Self:
        """Connect."""
        if target.endpoint.scheme == "ipc":
            from flaskd_ctl.aio_zeromq import AsyncZeroMQConnection

            return cls(target, await AsyncZeroMQConnection.open(target.endpoint.path, deadline=deadline))
        from flaskd_ctl.aio_stream import AsyncStreamConnection

        return cls(target, await AsyncStreamConnection.open(target.endpoint.path, deadline=deadline))

    @property
    def awaits(self) -> bool:
        """Whether a call has no reply yet."""
        return bool(self._conversation.open)

    async def begin(self, method: str, params: dict[str, Any] | None = None, *, patience: Patience) -> None:
        """Send a call."""
        self._method = method
        _, message = self._conversation.call(method, params)
        try:
            async with _until(patience):
                await self.connection.send(message)
        except TimeoutError:
            raise self._timed_out(patience) from None
        except EOFError:
            raise lost(self.target, method) from None

    async def listen(self, patience: Patience) -> Reply | Note:
        """Return the next thing heard; a refusal is raised."""
        while True:
            try:
                async with _until(patience):
                    message = await self.connection.receive()
            except TimeoutError:
                raise self._timed_out(patience) from None
            except EOFError as end:
                raise lost(self.target, self._method, str(end)) from None
            heard = self._conversation.hear(message)
            if isinstance(heard, Refusal):
                raise heard.error
            if heard is not None:
                return heard

    async def call(self, method: str, *, patience: Patience) -> dict[str, Any]:
        """Call and return the result."""
        await self.begin(method, patience=patience)
        while True:
            heard = await self.listen(patience)
            if isinstance(heard, Reply):
                return heard.result

    def _timed_out(self, patience: Patience) -> ControlError:
        return timed_out(self.target, self._method, patience.spent(time.monotonic()), self.connection.pid)


class AsyncClient:
    """A client of one instance for asyncio; see `Client` for what the parameters mean.

    Calls of several tasks take turns on one connection; `shutdown`, `kill` and `events` use connections of
    their own.
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

    @overload
    async def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float = 0.0,
        *,
        wait: Literal[True] = True,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult: ...

    @overload
    async def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float = 0.0,
        *,
        wait: bool,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult | None: ...

    async def shutdown(
        self,
        grace: float | None = None,
        lame_duck: float = 0.0,
        *,
        wait: bool = True,
        on_progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
    ) -> ShutdownResult | None:
        """Stop without losing a request; return when the process is gone, with how it went (see `Client`)."""
        patience = Patience(time.monotonic(), first=self._timeout, whole=timeout)
        params = shutdown_params(grace, lame_duck)
        result = await self._stop(
            "shutdown", params, patience=patience, wait=wait, on_progress=typed_progress(on_progress)
        )
        return None if result is None else typed("shutdown", result, ShutdownResult)

    async def kill(self, *, wait: bool = True) -> KillResult:
        """End the instance now, waiting for no request; return when the process is gone."""
        patience = Patience(time.monotonic(), first=self._timeout)
        result = await self._stop("kill", {}, patience=patience, wait=wait)
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

    async def _stop(
        self,
        method: str,
        params: dict[str, Any],
        *,
        patience: Patience,
        wait: bool,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any] | None:
        """Do as `session.stop` does."""
        target = self._target()
        session = await AsyncSession.open(target, deadline=patience.deadline)
        try:
            with Departure(session.connection.path, session.connection.pid) as departure:
                try:
                    await session.begin(method, params, patience=patience)
                    while isinstance(heard := await session.listen(patience), Note):
                        patience.extend(time.monotonic(), slack(heard.event, params))
                        if on_progress:
                            on_progress(heard.event)
                        if not wait:
                            return None
                except ConnectionLost as error:
                    return await asyncio.to_thread(after_loss, error, method, target, departure)
                if not wait:
                    return heard.result
                patience.extend(time.monotonic(), 0)
                if await _see_gone(
                    session, departure, process_exits=exits(heard.result), deadline=patience.deadline
                ):
                    return heard.result
                raise not_gone(target, departure)
        finally:
            session.connection.close()

    async def _typed(self, method: str, shape: type[T]) -> T:
        return typed(method, await self._call(method), shape)

    async def _call(self, method: str) -> dict[str, Any]:
        async with self._turn:
            patience = Patience(time.monotonic(), first=self._timeout)
            if self._session is not None and self._session.connection.ended():
                self._drop()
            if self._session is None:
                self._session = await AsyncSession.open(self._target(), deadline=patience.deadline)
            try:
                return await self._session.call(method, patience=patience)
            except BaseException as error:
                if not isinstance(error, ControlError) or self._session.awaits:
                    self._drop()
                raise

    def _drop(self) -> None:
        if self._session is not None:
            self._session.connection.close()
            self._session = None

    def _target(self) -> Target:
        return Instances(self._runtime_dir).target(self._name, endpoint=self._endpoint)


async def _see_gone(
    session: AsyncSession, departure: Departure, *, process_exits: bool, deadline: float
) -> bool:
    """Wait as `session.see_gone` does: on the pidfd if there is one, else for our connection and, in a thread, the socket."""
    pidfd = departure.watches(process_exits=process_exits)
    if pidfd is None:
        with contextlib.suppress(EOFError, TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                while True:
                    await session.connection.receive()
    session.connection.close()
    if pidfd is None:
        return await asyncio.to_thread(departure.wait_for_socket, deadline=deadline)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True


def _until(patience: Patience) -> asyncio.Timeout:
    left = patience.deadline - time.monotonic()
    return asyncio.timeout(None if left == float("inf") else left)
