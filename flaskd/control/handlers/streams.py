"""Event streams."""

import asyncio
from collections import Counter
from contextlib import closing, suppress
from typing import Any, Final

from flaskd.control.access.shares import Holder, Places, holder_of
from flaskd.control.registry import Call, failure
from flaskd.control.transports.subscription import Subscription
from flaskd.operable import Operable
from flaskd_ctl import errors
from flaskd_ctl.protocol import (
    Event,
    EventsResult,
)

STREAMS: Final = Places(total=64, share=16, kept=16)
"""Event streams."""

TURNS: Final = 8  # turns of the loop in which a subscriber's task sends one event


class Streams:
    """Handles `events`: each subscriber gets every event, until it disconnects or the instance has stopped."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance
        self._subscribers: dict[Subscription, Holder] = {}

    def end(self) -> None:
        """End each `events` stream once it has sent what is queued."""
        for subscription in self._subscribers:
            subscription.end()

    async def events(self, call: Call[Any]) -> EventsResult:
        """Start a stream. The first event follows the reply: a new task starts when this one has sent it."""
        call.check_streams()
        holder = holder_of(call.peer.caller, owner=call.registry.owner)
        if self._streams_full(holder):
            await self._probe_subscribers()
        if self._streams_full(holder):
            yours = list(self._subscribers.values()).count(holder)
            raise errors.Failed(
                f"{len(self._subscribers)} event streams are open already, {yours} of them yours",
                hint="end one of them",
            )
        subscription = Subscription(self._instance.bus)
        self._subscribers[subscription] = holder

        async def send(event: Event) -> bool:
            call.registry.check(call.caller, call.command)  # a reload may have changed the rules
            return await call.notify("event", event)

        async def stream() -> None:
            try:
                with closing(subscription):
                    await subscription.pump(send)
            except ConnectionError:
                pass  # the caller has disconnected: the usual end of a stream
            except errors.NotPermitted as error:
                with suppress(ConnectionError):
                    await call.peer.send(failure(None, error))
            finally:
                self._subscribers.pop(subscription, None)

        call.peer.spawn(stream())
        status = self._instance.status()
        return EventsResult(state=status.state, since=status.since)

    def _streams_full(self, newcomer: Holder) -> bool:
        return STREAMS.asked_to_leave(Counter(self._subscribers.values()), newcomer) is not None

    async def _probe_subscribers(self) -> None:
        """Send each subscriber an empty `lost` event: only sending shows that a ZeroMQ peer has disconnected."""
        for subscription in self._subscribers:
            subscription.probe()
        for _ in range(TURNS):
            await asyncio.sleep(0)
