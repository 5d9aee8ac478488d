"""One caller that follows the log: it has a position in the ring, and nothing is queued for it.

A reader that is slower than the lines misses some; a `lost` event in their place says how many, of all lines.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from flaskd.logs.ring import Ring, Waker, Wanted, shortened
from flaskd_ctl.protocol import Event, LogEvent, LogLine, LostEvent, StateEvent

BATCH: Final = 64
"""Maximum number of lines that are looked at before other tasks have their turn."""

NOTE: Final = 128 * 1024
"""Characters of the messages in one notification, about."""


class LogFollower:
    """Sends the lines that are `wanted` from position `start` on; created and read on the control loop (see `Subscription`)."""

    def __init__(self, ring: Ring, wanted: Wanted, *, start: int) -> None:
        self._ring = ring
        self._wanted = wanted
        self._position = start
        self._waker = Waker()
        self._probing = self._ended = False

    def close(self) -> None:
        """Stop following."""
        self._ring.sleep_on(self._waker.wake)

    def end(self) -> None:
        """Make `pump` return once it has sent what is there."""
        self._ended = True
        self._waker.wake()

    def probe(self) -> None:
        """Send an empty `lost` event, which detects a reader that has disconnected."""
        self._probing = True
        self._waker.event.set()

    async def pump(self, send: Callable[[Event], Awaitable[bool]]) -> None:
        """Send lines until `end` or ConnectionError. `send` returns False for an event that it dropped."""
        lost = 0
        while True:
            self._waker.event.clear()
            if self._probing:
                self._probing = False
                await send(LostEvent(at=time.time(), count=0))
            lines, self._position, gone = self._ring.since(self._position, BATCH)
            lost += gone
            if lost and await send(LostEvent(at=time.time(), count=lost)):
                lost = 0
            for note in _notes([shortened(line) for line in lines if self._wanted.fits(line)]):
                if not await send(LogEvent(at=time.time(), lines=note)):
                    lost += len(note)
            if lines:
                await asyncio.sleep(0)  # a flood of lines must not keep others from being answered
            elif self._ended:
                await send(StateEvent(at=time.time(), was="stopping", state="stopped"))
                return
            else:
                await self._next_line()

    async def _next_line(self) -> None:
        self._ring.wake_at_next(self._waker.wake)
        if self._ring.end == self._position:  # else one came before we asked to be woken
            await self._waker.event.wait()


def _notes(lines: list[LogLine]) -> list[list[LogLine]]:
    """Divide lines among notifications that are no larger than a message may be."""
    notes: list[list[LogLine]] = []
    size = NOTE
    for line in lines:
        if size + len(line.message) > NOTE:
            notes.append([])
            size = 0
        notes[-1].append(line)
        size += len(line.message)
    return notes
