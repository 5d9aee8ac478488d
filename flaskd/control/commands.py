"""What each command does: a call on the daemon, on the control loop, without blocking it.

`Daemon` is all that the control plane knows of what it controls; `flaskd.server` implements it.
"""

import asyncio
from concurrent.futures import Future
from contextlib import closing
from typing import Any, Protocol, cast

from flaskd.control.describe import document
from flaskd.control.registry import Call, Registry
from flaskd.control.subscription import Subscription
from flaskd.events import Bus
from flaskd_ctl import errors
from flaskd_ctl.commands import PROTOCOL_VERSION
from flaskd_ctl.protocol import (
    Actor,
    Event,
    EventsResult,
    KillResult,
    PingResult,
    ProgressEvent,
    RequestsResult,
    ShutdownParams,
    ShutdownResult,
    StateResult,
    StatusResult,
)

MOST_SUBSCRIBERS = 64
TURNS = 8  # of the loop, in which a subscriber's task sends one event


class Daemon(Protocol):
    """What can be operated. The `order_` methods return at once; their futures complete when the thing has happened."""

    bus: Bus
    version: str

    def status(self) -> StatusResult:
        """Tell what an operator wants to know at a glance."""
        ...

    def requests(self) -> RequestsResult:
        """List what is in flight."""
        ...

    def order_drain(self, by: Actor) -> Future[StateResult]:
        """Go out of rotation."""
        ...

    def order_resume(self, by: Actor) -> Future[StateResult]:
        """Go back into rotation."""
        ...

    def order_shutdown(self, by: Actor, *, grace: float | None, lame_duck: float) -> Future[ShutdownResult]:
        """Stop; completes when nothing is left to answer, while the control plane still answers."""
        ...

    def order_kill(self, by: Actor) -> None:
        """End without waiting for any request."""
        ...


class Commands:
    """The handlers of all commands, for one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._subscribers: set[Subscription] = set()

    def register(self, registry: Registry) -> None:
        """Serve every command that has a handler here."""
        self._registry = registry
        for name in (
            "ping",
            "status",
            "describe",
            "drain",
            "resume",
            "shutdown",
            "kill",
            "requests",
            "events",
        ):
            registry.add(name, getattr(self, name))

    def end_streams(self) -> None:
        """Let each `events` stream end when it has sent what is queued."""
        for subscription in self._subscribers:
            subscription.end()

    async def _notice_who_left(self) -> None:
        """Send each subscriber that nothing was lost: of a ZeroMQ peer that left one hears only by sending to it."""
        for subscription in self._subscribers:
            subscription.probe()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def ping(self, call: Call) -> PingResult:
        """Say that we are here."""
        status = self._daemon.status()
        return PingResult(name=status.name, pid=status.pid, state=status.state, protocol=PROTOCOL_VERSION)

    async def status(self, call: Call) -> StatusResult:
        """Tell what an operator wants to know at a glance."""
        return self._daemon.status()

    async def describe(self, call: Call) -> dict[str, Any]:
        """Tell what can be asked."""
        return document(self._registry.served(), version=self._daemon.version)

    async def drain(self, call: Call) -> StateResult:
        """Go out of rotation."""
        return await asyncio.wrap_future(self._daemon.order_drain(call.peer.caller))

    async def resume(self, call: Call) -> StateResult:
        """Go back into rotation."""
        return await asyncio.wrap_future(self._daemon.order_resume(call.peer.caller))

    async def shutdown(self, call: Call) -> ShutdownResult:
        """Stop, telling the progress if asked to, and reply when nothing is left."""
        params = cast(ShutdownParams, call.params)
        by = call.peer.caller

        def order() -> asyncio.Future[ShutdownResult]:
            # Shielded: a caller that leaves takes nothing back.
            ordered = self._daemon.order_shutdown(by, grace=params.grace, lame_duck=params.lame_duck)
            return asyncio.shield(asyncio.wrap_future(ordered))

        if not params.progress:
            return await order()
        call.check_streams()

        async def tell(event: Event) -> bool:
            return await call.note("progress", event)

        with closing(Subscription(self._daemon.bus, ProgressEvent)) as progress:
            telling = asyncio.create_task(progress.pump(tell))
            try:
                result = await order()
                progress.end()
                await telling
            finally:
                telling.cancel()
        return result

    async def kill(self, call: Call) -> KillResult:
        """Reply, then end."""
        status = self._daemon.status()
        self._daemon.order_kill(call.peer.caller)
        return KillResult(pid=status.pid, process_exits=status.process_exits)

    async def requests(self, call: Call) -> RequestsResult:
        """List what is in flight."""
        return self._daemon.requests()

    async def events(self, call: Call) -> EventsResult:
        """Begin a stream; its first event comes after the reply (a new task starts when this one has sent it)."""
        call.check_streams()
        if len(self._subscribers) >= MOST_SUBSCRIBERS:
            await self._notice_who_left()
        if len(self._subscribers) >= MOST_SUBSCRIBERS:
            raise errors.Failed(f"{MOST_SUBSCRIBERS} callers stream events already", hint="end one of them")
        subscription = Subscription(self._daemon.bus)
        self._subscribers.add(subscription)

        async def stream() -> None:
            try:
                with closing(subscription):
                    await subscription.pump(lambda event: call.note("event", event))
            except ConnectionError:
                pass  # the caller left: that is how a stream ends
            finally:
                self._subscribers.discard(subscription)

        call.peer.spawn(stream())
        status = self._daemon.status()
        return EventsResult(state=status.state, since=status.since)
