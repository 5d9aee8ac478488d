"""One connection and the calls on it for asyncio: what `session`, `stopping` and `following` are for those who block."""

import asyncio
import contextlib
import time
from typing import Any, Protocol, Self

from flaskd_ctl.client.following import unfinished
from flaskd_ctl.client.session import OnProgress, ask, lost, timed_out
from flaskd_ctl.client.stopping import after_loss, exits, not_gone, slack
from flaskd_ctl.contract.conversation import Conversation, Note, Patience, Refusal, Reply
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.errors import ConnectionLost, TimedOut
from flaskd_ctl.transports.process_exit import Watcher


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

    def departure(self) -> Watcher:
        """Begin to watch for the peer's end; before it is asked for."""

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
            from flaskd_ctl.transports.aio_zeromq import AsyncZeroMQConnection

            return cls(target, await AsyncZeroMQConnection.open(target.endpoint.path, deadline=deadline))
        if target.endpoint.scheme == "tcp":
            from flaskd_ctl.transports.aio_curve import AsyncCurveConnection

            return cls(target, await AsyncCurveConnection.reach(target, deadline=deadline, ask=ask))
        if target.endpoint.scheme == "ssh":
            from flaskd_ctl.discovery.targets import ssh_ways
            from flaskd_ctl.transports.aio_ssh import AsyncSshConnection

            ways = ssh_ways(target.remote_command)
            return cls(target, await AsyncSshConnection.open(target, ways, deadline=deadline))
        from flaskd_ctl.transports.aio_unix import AsyncStreamConnection

        return cls(target, await AsyncStreamConnection.open(target.endpoint.path, deadline=deadline))

    @property
    def awaits(self) -> bool:
        """Whether a call has no reply yet."""
        return bool(self._conversation.open)

    async def begin(self, method: str, params: dict[str, Any] | None = None, *, patience: Patience) -> int:
        """Send a call and return its id."""
        self._method = method
        return await self._send(method, params, patience)

    async def nudge(self, patience: Patience) -> None:
        """Ping a daemon that is silent about the call that has begun; the reply is heard like any other."""
        await self._send("ping", None, patience)

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

    async def call(
        self, method: str, params: dict[str, Any] | None = None, *, patience: Patience
    ) -> dict[str, Any]:
        """Call and return the result."""
        await self.begin(method, params, patience=patience)
        while True:
            heard = await self.listen(patience)
            if isinstance(heard, Reply):
                return heard.result

    async def _send(self, method: str, params: dict[str, Any] | None, patience: Patience) -> int:
        number, message = self._conversation.call(method, params)
        try:
            async with _until(patience):
                await self.connection.send(message)
        except TimeoutError:
            raise self._timed_out(patience) from None
        except EOFError:
            raise lost(self.target, self._method) from None
        return number

    def _timed_out(self, patience: Patience) -> TimedOut:
        return timed_out(self.target, self._method, patience.spent(time.monotonic()), self.connection.pid)


async def stop(
    target: Target,
    method: str,
    params: dict[str, Any],
    *,
    first: float,
    whole: float | None = None,
    wait: bool = True,
    on_progress: OnProgress | None = None,
) -> dict[str, Any] | None:
    """Do as `stopping.stop` does."""
    patience = Patience(time.monotonic(), first=first, whole=whole)
    session = await AsyncSession.open(target, deadline=patience.deadline)
    try:
        with session.connection.departure() as departure:
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


async def follow(
    target: Target,
    method: str,
    params: dict[str, Any],
    *,
    first: float,
    whole: float | None = None,
    wait: bool = True,
    on_progress: OnProgress | None = None,
) -> dict[str, Any] | None:
    """Do as `following.follow` does."""
    patience = Patience(time.monotonic(), first=first, whole=whole)
    session = await AsyncSession.open(target, deadline=patience.deadline)
    try:
        number = await session.begin(method, {**params, "progress": True}, patience=patience)
        latest: dict[str, Any] = {}
        while True:
            try:
                heard = await session.listen(patience)
            except TimedOut:
                if patience.nudge(time.monotonic()):
                    await session.nudge(patience)
                    continue
                if latest and whole is not None:
                    raise unfinished(target, method, latest, whole) from None
                raise
            patience.heard(time.monotonic())
            if isinstance(heard, Note):
                latest = heard.event
                if on_progress:
                    on_progress(latest)
                if not wait:
                    return None
            elif heard.id == number:
                return heard.result
    finally:
        session.connection.close()


async def _see_gone(
    session: AsyncSession, departure: Watcher, *, process_exits: bool, deadline: float
) -> bool:
    """Wait as `session.see_gone` does: on the pidfd if there is one, else for our connection and, in a thread, the rest."""
    pidfd = departure.watches(process_exits=process_exits)
    if pidfd is None:
        with contextlib.suppress(EOFError, TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                while True:
                    await session.connection.receive()
    session.connection.close()
    if pidfd is None:
        return await asyncio.to_thread(departure.wait, process_exits=process_exits, deadline=deadline)
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
