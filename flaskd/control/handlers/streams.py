"""Streams of notifications: events, and lines of the log."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import Any, Final, Protocol

from flaskd.control.access.shares import Holder, Places, holder_of
from flaskd.control.registry import Call, failure
from flaskd.control.transports.subscription import Subscription
from flaskd.operable import Operable
from flaskd_ctl import errors
from flaskd_ctl.protocol import Event, EventsResult

STREAMS: Final = Places(total=64, share=16, kept=16)
"""Streams, of whatever kind."""

TURNS: Final = 8  # turns of the loop in which a subscriber's task sends one event


class Source(Protocol):
    """Where the events of a stream come from: a `Subscription`, or a `LogFollower`."""

    async def pump(self, send: Callable[[Event], Awaitable[bool]]) -> None:
        """Send events until `end` or ConnectionError. `send` returns False for an event that it dropped."""

    def end(self) -> None:
        """Make `pump` return once it has sent what is there."""

    def probe(self) -> None:
        """Send an empty `lost` event, which detects a reader that has disconnected."""

    def close(self) -> None:
        """Let go of everything."""


class Streams:
    """Handles `events`: each subscriber gets every event, until it disconnects or the instance has stopped.

    Other commands that stream `make_room` and `start`.
    """

    def __init__(self, instance: Operable) -> None:
        self._instance = instance
        self._open: dict[Source, Holder] = {}

    def end(self) -> None:
        """End each stream once it has sent what is queued."""
        for source in self._open:
            source.end()

    async def events(self, call: Call[Any]) -> EventsResult:
        """Start a stream of events."""
        await self.make_room(call)
        self.start(call, Subscription(self._instance.bus))
        status = self._instance.status()
        return EventsResult(state=status.state, since=status.since)

    async def make_room(self, call: Call[Any]) -> None:
        """Check that the caller may have one more stream; raises Failed or InvalidParams."""
        call.check_streams()
        holder = holder_of(call.peer.caller, owner=call.registry.owner)
        if self._full(holder):
            await self._probe()
        if self._full(holder):
            yours = list(self._open.values()).count(holder)
            raise errors.Failed(
                f"{len(self._open)} streams are open already, {yours} of them yours",
                hint="end one of them",
            )

    def start(self, call: Call[Any], source: Source) -> None:
        """Start a stream. Its first event follows the reply: a new task starts when this one has sent it."""
        self._open[source] = holder_of(call.peer.caller, owner=call.registry.owner)

        async def send(event: Event) -> bool:
            call.registry.check(call.caller, call.command)  # a reload may have changed the rules
            return await call.notify("event", event)

        async def stream() -> None:
            try:
                with closing(source):
                    await source.pump(send)
            except ConnectionError:
                pass  # the caller has disconnected: the usual end of a stream
            except errors.NotPermitted as error:
                with suppress(ConnectionError):
                    await call.peer.send(failure(None, error))
            finally:
                self._open.pop(source, None)

        call.peer.spawn(stream())

    def _full(self, newcomer: Holder) -> bool:
        return STREAMS.asked_to_leave(Counter(self._open.values()), newcomer) is not None

    async def _probe(self) -> None:
        """Send each subscriber an empty `lost` event: only sending shows that a ZeroMQ peer has disconnected."""
        for source in self._open:
            source.probe()
        for _ in range(TURNS):
            await asyncio.sleep(0)
