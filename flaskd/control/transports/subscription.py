"""One caller's subscription to the event bus: a bounded queue between the publishing thread and the control loop.

A reader that is slower than the events misses some; a `lost` event in their place says how many.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from flaskd.events import Bus
from flaskd_ctl.protocol import Event, LostEvent

QUEUE: Final = 1000
"""Maximum number of events queued for a subscriber."""


class Subscription:
    """Receives events of some types (or all) from now until `close`; created and read on the control loop."""

    def __init__(self, bus: Bus, *kinds: type) -> None:
        self._kinds = kinds
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._ended = False
        self._available = asyncio.Event()
        self._unsubscribe = bus.subscribe(self._publish)

    def close(self) -> None:
        """Stop receiving events."""
        self._unsubscribe()

    def end(self) -> None:
        """Make `pump` return once it has sent what is queued."""
        self._unsubscribe()
        self._loop.call_soon(self._put, None)  # after the events that are on their way to the loop

    def probe(self) -> None:
        """Send an empty `lost` event, which detects a reader that has disconnected."""
        self._put(LostEvent(at=time.time(), count=0))

    async def pump(self, send: Callable[[Event], Awaitable[bool]]) -> None:
        """Send events until `end` or ConnectionError. `send` returns False for an event that it dropped."""
        while True:
            await self._available.wait()
            self._available.clear()
            while self._queue:
                if self._lost and await send(LostEvent(at=time.time(), count=self._lost)):
                    self._lost = 0
                if not await send(self._queue.popleft()):
                    self._lost += 1
            if self._ended:
                return

    def _publish(self, event: Event) -> None:
        if not self._kinds or isinstance(event, self._kinds):
            self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: Event | None) -> None:
        if event is None:
            self._ended = True
        elif len(self._queue) >= QUEUE:
            self._lost += 1
        else:
            self._queue.append(event)
        self._available.set()
