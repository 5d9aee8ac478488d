"""One connection and the calls on it, with plain dicts: the command line's, and under `Client` and `AsyncClient`.

`Session` joins a transport to a `Conversation` and turns what transports raise (TimeoutError, EOFError) into sentences.
Commands that take longer are built on it: `stopping` ends an instance, `following` carries out the others.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

from flaskd_ctl.contract.conversation import Conversation, Note, Patience, Refusal, Reply
from flaskd_ctl.contract.endpoint import Place, Target
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import ConnectionLost, ControlError, NotRunning, TimedOut
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.connection import Connection

RESPONSE_TIMEOUT: Final = 10.0
"""Seconds that a daemon has for its first response, unless the caller says otherwise."""

CHANGES: Final = ("reload", "scale", "restart_worker")
"""Commands that may wait silently for another change to finish."""

OnProgress = Callable[[dict[str, Any]], None]


class Session:
    """An open connection to one instance; a context manager."""

    def __init__(self, target: Target, connection: Connection) -> None:
        self.target = target
        self.connection = connection
        self._conversation = Conversation()
        self._method = "connect"
        self._ended = False

    @classmethod
    async def open(cls, backend: Backend, target: Target, *, deadline: float) -> Self:
        """Connect."""
        return cls(target, await _connect(backend, target, deadline=deadline))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    @property
    def has_open_call(self) -> bool:
        """Whether a call has no reply yet."""
        return bool(self._conversation.open)

    def waits_for(self, number: int) -> bool:
        """Tell whether this call has no reply yet."""
        return number in self._conversation.open

    async def begin(self, method: str, params: dict[str, Any] | None = None, *, patience: Patience) -> int:
        """Send a call and return its id."""
        self._method = method
        return await self._send(method, params, patience)

    async def ping(self, patience: Patience) -> None:
        """Ping a daemon that is silent about the call that has begun; `listen` returns the reply like any other."""
        await self._send("ping", None, patience)

    async def listen(self, patience: Patience) -> Reply | Note:
        """Return the next reply or notification; a refusal is raised."""
        while True:
            try:
                message = await self.connection.receive(deadline=patience.deadline)
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

    async def subscribe(
        self, patience: Patience, method: str = "events", params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Subscribe to the events, or to what `method` streams, and return the subscription's result.

        `next_event` then waits as long as it takes.
        """
        result = await self.call(method, params, patience=patience)
        patience.forever()
        return result

    async def next_event(self, patience: Patience) -> dict[str, Any] | None:
        """Return the next event; None after the one that says that the instance has stopped."""
        while not self._ended:
            try:
                heard = await self.listen(patience)
            except ConnectionLost:
                raise ConnectionLost(
                    f"the {self._method} of {self.target.name} broke off before it said that it has stopped",
                    hint="its process may have died: try `flaskd_ctl status`",
                ) from None
            except TimedOut:
                seconds = patience.spent(time.monotonic())
                raise TimedOut(
                    f"the {self._method} of {self.target.name} were followed for {span(seconds)}, the given --timeout"
                ) from None
            if isinstance(heard, Note):
                self._ended = heard.event.get("event") == "state" and heard.event.get("state") == "stopped"
                return heard.event
        return None

    async def until_end(self, *, deadline: float) -> None:
        """Wait until the peer ends the connection, or until the deadline; discard what it says until then."""
        with contextlib.suppress(EOFError, TimeoutError):
            while True:
                await self.connection.receive(deadline=deadline)

    async def _send(self, method: str, params: dict[str, Any] | None, patience: Patience) -> int:
        number, message = self._conversation.call(method, params)
        try:
            await self.connection.send(message, deadline=patience.deadline)
        except TimeoutError:
            raise self._timed_out(patience) from None
        except EOFError:
            raise lost(self.target, self._method) from None
        return number

    def _timed_out(self, patience: Patience) -> TimedOut:
        return timed_out(self.target, self._method, patience.spent(time.monotonic()), self.connection.pid)


class KeptSession:
    """One session for many calls, which take turns. The first call opens it; if it has ended, the next one opens it again."""

    def __init__(self, backend: Backend, find: Callable[[], Target], *, timeout: float) -> None:
        self._backend = backend
        self._find = find
        self._timeout = timeout
        self._turn = backend.lock()  # guards _session
        self._session: Session | None = None

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call and return the result."""
        async with self._turn:
            patience = Patience(time.monotonic(), first=self._timeout)
            if self._session is not None and self._session.connection.ended():
                self._drop()
            if self._session is None:
                self._session = await Session.open(self._backend, self._find(), deadline=patience.deadline)
            try:
                return await self._session.call(method, params, patience=patience)
            except BaseException as error:
                # A refusal is an answer; after anything else a late reply could be taken for the next one.
                if not isinstance(error, ControlError) or self._session.has_open_call:
                    self._drop()
                raise

    async def close(self) -> None:
        """Close it; a later call opens it again."""
        async with self._turn:
            self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.connection.close()
            self._session = None


def given(**params: Any) -> dict[str, Any]:
    """Return the params that are not None: the daemon has a default for the others."""
    return {name: value for name, value in params.items() if value is not None}


async def ask(
    backend: Backend,
    target: Target,
    method: str,
    params: dict[str, Any] | None = None,
    *,
    first: float = RESPONSE_TIMEOUT,
    whole: float | None = None,
) -> dict[str, Any]:
    """Connect, call, and return the result."""
    patience = Patience(time.monotonic(), first=first, whole=whole)
    with await Session.open(backend, target, deadline=patience.deadline) as session:
        return await session.call(method, params, patience=patience)


def timed_out(target: Target, method: str, seconds: float, pid: int | None) -> TimedOut:
    """Make the error for a daemon that listens and does not answer."""
    who = f"pid {pid}" if pid else "its process"
    last_resort = f"; `kill -9 {pid}` always ends it" if pid and method == "kill" else ""
    queued = "whether it waits for another change (`flaskd_ctl workers`), or " if method in CHANGES else ""
    return TimedOut(
        f"{target.name} did not answer `{method}` for {span(seconds)}, although it listens at {target.endpoint.path}",
        hint=f"check {queued}whether {who} is stopped or stuck{last_resort}",
        data={"pid": pid} if pid else None,
    )


def lost(target: Target, method: str, detail: str = "") -> ConnectionLost:
    """Make the error for a connection that has ended."""
    return ConnectionLost(
        f"{target.name} closed the connection before it answered `{method}`{', ' if detail else ''}{detail}",
        hint="it is not known whether it was done; try `flaskd_ctl status`",
    )


async def _connect(backend: Backend, target: Target, *, deadline: float) -> Connection:
    """Connect; raise Unreachable where nothing listens at the socket of an instance of this host that runs."""
    try:
        return await _by_scheme(backend, target, deadline=deadline)
    except NotRunning:
        path = target.endpoint.path
        if target.endpoint.scheme not in {"unix", "ipc"}:
            raise
        from flaskd_ctl.discovery.look import process_of, unreachable

        process = process_of(Place(os.path.dirname(path)))
        if process is None:
            raise
        with contextlib.suppress(NotRunning):
            return await _by_scheme(backend, target, deadline=deadline)
        raise unreachable(target.name, path, process.get("pid")) from None


async def _by_scheme(backend: Backend, target: Target, *, deadline: float) -> Connection:
    """Connect with the transport of the target's scheme, which alone is imported: that of zmq takes 30 ms."""
    match target.endpoint.scheme:
        case "ipc":
            from flaskd_ctl.transports.zeromq import ZeroMQConnection

            return await ZeroMQConnection.open(backend, target, deadline=deadline)
        case "tcp":
            from flaskd_ctl.transports.curve import CurveConnection

            def ask_status(seconds: float) -> Awaitable[dict[str, Any]]:
                return ask(backend, target, "status", whole=seconds)

            return await CurveConnection.reach(backend, target, ask_status, deadline=deadline)
        case "ssh":
            from flaskd_ctl.discovery.config import ssh_ways
            from flaskd_ctl.transports.ssh import SshConnection

            commands = ssh_ways(target.remote_command)
            return await SshConnection.open(backend, target, commands, deadline=deadline)
    from flaskd_ctl.transports.unix import UnixConnection

    return await UnixConnection.open(backend, target, deadline=deadline)
