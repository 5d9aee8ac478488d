"""Keep `Seen` true: ask again and again, follow events and log, and find the instance again when it has been away."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol

from flaskd_ctl.client.session import OnProgress
from flaskd_ctl.errors import (
    NOT_UNDERSTOOD,
    ControlError,
    Failed,
    Internal,
    InvalidParams,
    NotFound,
    NotPermitted,
    UnknownMethod,
    WrongState,
    unexpected,
)
from flaskd_ctl.live.seen import POLLED, Seen

REFUSALS: Final = (Failed, Internal, InvalidParams, NotFound, NotPermitted, UnknownMethod, WrongState)
"""Errors that are the instance's own answer; after others it is not known whether it is there."""

ODD: Final = (OSError, *NOT_UNDERSTOOD)
"""What a transport or a reply of another shape raises: it must not end the watch of the other instances."""

STREAMED: Final[dict[str, dict[str, Any]]] = {"events": {}, "logs": {"follow": True, "limit": 100}}
"""The commands that are followed, and their params."""

REFUSED_AGAIN: Final = 30.0
"""Seconds after which a stream that was refused is asked for again."""


class Asked(Protocol):
    """An instance that can be asked: a `Source`, or a fake."""

    label: str

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call, and return the result."""

    async def follow(
        self, method: str, params: dict[str, Any], on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """Call what may take long, and return the result."""

    def stream(self, method: str, params: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the reply to a subscription, then its events."""

    async def close(self) -> None:
        """Close the connection."""


class Watch:
    """Watches one instance every `interval` seconds; `changed` is called after each look and each event."""

    def __init__(self, source: Asked, *, interval: float, changed: Callable[[], None]) -> None:
        self.source = source
        self.seen = Seen(source.label)
        self._interval = interval
        self._changed = changed
        self._there = asyncio.Event()
        self._soon = asyncio.Event()
        self._generation: int | None = None  # of the last look

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll())
            for method in STREAMED:
                tasks.create_task(self._follow(method))

    def look_soon(self) -> None:
        """Look without waiting for the interval: something was changed."""
        self._soon.set()

    async def look(self) -> ControlError | None:
        """Ask for everything once; return what kept it from that."""
        seen = self.seen
        try:
            if seen.away:
                seen.found(await self.source.call("describe"))
            for method, params in POLLED.items():
                await self._ask(method, params)
            generation = seen.status.get("generation")
            if self._generation not in {None, generation}:  # a reload: roles may have been given or taken
                seen.found(await self.source.call("describe"))
            self._generation = generation
        except (ControlError, *ODD) as raised:
            error = raised if isinstance(raised, ControlError) else unexpected(raised)
            seen.lost(error)
            self._generation = None
            self._there.clear()
            return error
        self._there.set()
        return None

    async def _ask(self, method: str, params: dict[str, Any]) -> None:
        try:
            result = await self.source.call(method, params)
        except REFUSALS as error:
            self.seen.refuses(method, error)
        else:
            self.seen.answered(method, result, time.monotonic())

    async def _poll(self) -> None:
        try:
            while True:
                await self.look()
                self.seen.looked()
                self._changed()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):
                        await self._soon.wait()
                self._soon.clear()
        finally:
            self.seen.pause()
            await self.source.close()

    async def _follow(self, method: str) -> None:
        """Follow a stream; whenever it ends, wait until the instance is there (again)."""
        while True:
            await self._there.wait()
            try:
                async with contextlib.aclosing(self.source.stream(method, STREAMED[method])) as events:
                    async for event in events:
                        self.seen.refused.pop(method, None)
                        self._take(event)
                        self._changed()
            except REFUSALS as error:
                self.seen.refuses(method, error)
                self.seen.looked()
                self._changed()
                await asyncio.sleep(REFUSED_AGAIN)
            except ControlError:
                pass  # the poll says why it is away
            except ODD as error:
                self.seen.refuses(method, unexpected(error))
            await asyncio.sleep(self._interval)

    def _take(self, event: dict[str, Any]) -> None:
        """Take an event, or the reply to a subscription, which has the newest lines of the log anew."""
        if "lines" in event:
            self.seen.logged(event["lines"], anew=not event.get("event"))
        elif event.get("event"):
            self.seen.happened(event)
