"""One caller's view of the event bus: a bounded queue between the owner's thread and the control loop.

A reader slower than the events loses some and is told how many, where they are missing (`lost`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from flaskd.events import Bus
from flaskd_ctl.protocol import Event, LostEvent

QUEUE: Final = 1000
"""Events kept for a subscriber that does not read."""


class Subscription:
    """Events of some kinds (or all), from now until `close`; made and read on the control loop."""

    def __init__(self, bus: Bus, *kinds: type) -> None:
        self._kinds = kinds
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._ended = False
        self._news = asyncio.Event()
        self._unsubscribe = bus.subscribe(self._publish)

    def close(self) -> None:
        """Take no further events."""
        self._unsubscribe()

    def end(self) -> None:
        """Let `pump` return when it has sent what is queued."""
        self._unsubscribe()
        self._loop.call_soon(self._take, None)  # behind the events that are on their way to the loop

    def probe(self) -> None:
        """Send something, so that a reader who left is noticed."""
        self._take(LostEvent(at=time.time(), count=0))

    async def pump(self, send: Callable[[Event], Awaitable[bool]]) -> None:
        """Send events until `end`. `send` returns False for an event that it had to drop; ConnectionError ends it too."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue:
                if self._lost and await send(LostEvent(at=time.time(), count=self._lost)):
                    self._lost = 0
                if not await send(self._queue.popleft()):
                    self._lost += 1
            if self._ended:
                return

    def _publish(self, event: Event) -> None:
        if not self._kinds or isinstance(event, self._kinds):
            self._loop.call_soon_threadsafe(self._take, event)

    def _take(self, event: Event | None) -> None:
        if event is None:
            self._ended = True
        elif len(self._queue) >= QUEUE:
            self._lost += 1
        else:
            self._queue.append(event)
        self._news.set()
