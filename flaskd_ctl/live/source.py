"""An instance as `top` and `web` ask it: calls on one connection, each stream and each change on a connection of its own."""

import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from flaskd_ctl.client.following import follow
from flaskd_ctl.client.session import KeptSession, OnProgress, Session
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.transports.asyncio_backend import Asyncio

ASYNCIO: Final = Asyncio()


class Source:
    """Asks the instance that `find` finds, over any transport; `timeout` is the time in seconds for its first response.

    Everything raises ControlError.
    """

    def __init__(self, label: str, find: Callable[[], Target], *, timeout: float) -> None:
        self.label = label
        self._find = find
        self._timeout = timeout
        self._kept = KeptSession(ASYNCIO, find, timeout=timeout)

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call, and return the result."""
        return await self._kept.call(method, params)

    async def follow(
        self, method: str, params: dict[str, Any], on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """Call what may take as long as it takes, and return the result."""
        result = await follow(
            ASYNCIO, self._find(), method, params, first=self._timeout, on_progress=on_progress
        )
        return result or {}

    async def stream(self, method: str, params: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the reply to a subscription, then its events until the instance has stopped."""
        patience = Patience(time.monotonic(), first=self._timeout)
        with await Session.open(ASYNCIO, self._find(), deadline=patience.deadline) as session:
            yield await session.subscribe(patience, method, params)
            while (event := await session.next_event(patience)) is not None:
                yield event

    async def close(self) -> None:
        """Close the connection that is kept."""
        await self._kept.close()
