"""One instance and all who look at it: one `Watch`, which runs only while somebody looks.

A viewer keeps no queue. It has the number of the last thing that it has sent, and `Seen` keeps the newest events and lines, so
one that reads slowly skips looks and costs no memory.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final, NamedTuple

from flaskd_ctl.live.changes import KINDS
from flaskd_ctl.live.seen import Seen
from flaskd_ctl.live.watch import Asked, Watch

MOST_CALLS: Final = 4
"""Calls of one instance at a time; others wait for their turn."""

PROGRESS_KEPT: Final = 100
"""Events of progress that are kept."""

RUN: Final = secrets.token_hex(4)
"""Tells the numbers of this process from those of another."""

log: Final = logging.getLogger("flaskd_ctl.web")


class News(NamedTuple):
    """Something to send: its kind, its data, and the number up to which a viewer has then been told everything."""

    kind: str
    data: dict[str, Any]
    number: int


class Room:
    """The instance called `label`; `source` makes what asks it, once for the watch and once for each call at a time."""

    def __init__(
        self, label: str, source: Callable[[], Asked], *, interval: float, allow_changes: bool
    ) -> None:
        self.label = label
        self.allow_changes = allow_changes
        self.watch = Watch(source(), interval=interval, changed=self._wake)
        self.ended = asyncio.Event()
        self._source = source
        self._idle: list[Asked] = []
        self._calls = asyncio.Semaphore(MOST_CALLS)
        self._viewers: set[Viewer] = set()
        self._task: asyncio.Task[None] | None = None
        self._progress: deque[News] = deque(maxlen=PROGRESS_KEPT)

    @property
    def seen(self) -> Seen:
        """What is known of the instance."""
        return self.watch.seen

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    @contextlib.asynccontextmanager
    async def viewer(self, *, after: int) -> AsyncGenerator["Viewer"]:
        """Let somebody look who has been told everything up to the number `after`."""
        viewer = Viewer(self, after=after)
        self._viewers.add(viewer)
        if self._task is None:
            self._task = asyncio.create_task(self.watch.run())
            self._task.add_done_callback(self._watched)
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            if not self._viewers:
                await self._rest()

    def _watched(self, task: asyncio.Task[None]) -> None:
        """Send the viewers away if the watch has failed, which is a bug: their browsers connect again, and it starts anew."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("watching %s failed; this is a bug in flaskd_ctl", self.label, exc_info=error)
            if self._task is task:
                self._task = None
            for viewer in self._viewers:
                viewer.leave()

    async def _rest(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call what changes nothing and is answered at once; a slow call keeps neither the watch nor other calls waiting."""
        async with self._calls:
            source = self._idle.pop() if self._idle else self._source()
            try:
                return await source.call(method, params)
            finally:
                if self._idle or self.ended.is_set():
                    await source.close()
                else:
                    self._idle.append(source)

    async def change(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call what changes something, however long that takes; the viewers are told how far it is."""
        try:
            return await self._source().follow(method, params, lambda event: self._happened(method, event))
        finally:
            self.watch.look_soon()

    def _happened(self, method: str, event: dict[str, Any]) -> None:
        """Tell the viewers how far a change is."""
        self._progress.append(News("progress", {"method": method, "event": event}, self.seen.next_number()))
        self._wake()

    def end(self) -> None:
        """Send all viewers away, and wait for no call any more."""
        self.ended.set()
        self._wake()

    async def close(self) -> None:
        """Close the connections."""
        await self._rest()
        for source in self._idle:
            await source.close()

    def news(self, after: int) -> list[News]:
        """Return what a viewer has not been told that was told everything up to `after`, oldest first."""
        seen = self.seen
        found = [News("event", event, number) for number, event in seen.events if number > after]
        found += [each for each in self._progress if each.number > after]
        if seen.log_begins > after:
            found.append(News("log", {"lines": [], "anew": True}, seen.log_begins))
        found += [
            News("log", {"lines": [line], "anew": False}, number)
            for number, line in seen.log
            if number > after
        ]
        if seen.look > after:
            found.append(News("look", self.look(), seen.look))
        return joined(sorted(found, key=lambda each: each.number))

    def look(self) -> dict[str, Any]:
        """Return what the last look has shown."""
        seen = self.seen
        return {
            "answers": seen.answers,
            "refused": seen.refused,
            **summary(seen),
            "rates": [round(rate, 3) for rate in seen.rates],
            "errors_per_second": seen.errors_per_second,
            "cpu": {str(worker): round(percent, 1) for worker, percent in seen.cpu.items()},
            "changes": self.offered(),
        }

    def offered(self) -> list[dict[str, Any]]:
        """List the changes to offer: those that the caller's role allows and that make sense now."""
        seen = self.seen
        if not self.allow_changes or seen.away:
            return []
        return [
            {"name": kind.name, "label": kind.label, "method": kind.method, "panel": kind.panel}
            for kind in KINDS
            if kind.method in seen.may and (kind.panel is not None or kind.make(seen, None) is not None)
        ]

    def _wake(self) -> None:
        for viewer in self._viewers:
            viewer.woken.set()


class Viewer:
    """Somebody who looks."""

    def __init__(self, room: Room, *, after: int) -> None:
        self.woken = asyncio.Event()
        self.woken.set()
        self.gone = False
        self._room = room
        self._told = after

    @property
    def done(self) -> bool:
        """Whether there is nobody to tell, or nothing to tell any more."""
        return self.gone or self._room.ended.is_set()

    def leave(self) -> None:
        """Take note that nobody reads any more."""
        self.gone = True
        self.woken.set()

    def news(self) -> Iterator[News]:
        """Yield what is new."""
        self.woken.clear()
        for each in self._room.news(self._told):
            self._told = each.number
            yield each


def joined(news: list[News]) -> list[News]:
    """Join lines of the log between which nothing else has happened. A stream may break off behind anything that is left."""
    found: list[News] = []
    for each in news:
        last = found[-1] if found else None
        if last is not None and last.kind == each.kind == "log":
            lines = [*last.data["lines"], *each.data["lines"]]
            found[-1] = News("log", {"lines": lines, "anew": last.data["anew"]}, each.number)
        else:
            found.append(each)
    return found


def summary(seen: Seen) -> dict[str, Any]:
    """Return what is known of an instance in a few words."""
    return {
        "label": seen.label,
        "state": seen.state,
        "role": seen.role,
        "may": sorted(seen.may),
        "away": seen.away,
    }
