"""An instance for `top` and `web` that says what the test wants, without a socket; and times that stand still."""

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable
from typing import Any

from flaskd_ctl.client.session import OnProgress
from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.errors import ControlError
from tests.flaskd_ctl.fake import golden, notifications

MIDDAY = 1784903600.0


class Scripted:
    """Answers as the golden messages do, unless `answers` or `fails` say otherwise; `asked` has every call."""

    def __init__(
        self, label: str = "shop", *, may: tuple[str, ...] = tuple(COMMANDS), role: str = "admin"
    ) -> None:
        self.label = label
        self.answers: dict[str, dict[str, Any]] = {
            "describe": {"x-caller": {"role": role, "may": list(may)}},
            **{method: golden(method) for method in ("status", "stats", "requests", "errors", "stacks")},
        }
        self.fails: dict[str, ControlError] = {}
        self.away: ControlError | None = None
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = False

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Answer, or raise."""
        self.asked.append((method, params or {}))
        if error := self.away or self.fails.get(method):
            raise error
        return copy.deepcopy(self.answers.get(method) or golden(method))

    async def follow(
        self, method: str, params: dict[str, Any], on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """Answer after some progress."""
        if on_progress is not None:
            for event in notifications(method):
                on_progress(event)
        return await self.call(method, params)

    async def stream(self, method: str, params: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Give what the golden messages have, then what the test puts into `events`."""
        yield await self.call(method, params)
        if method == "events":
            yield next(event for event in notifications(method) if event["event"] == "incident")
            while True:
                yield await self.events.get()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Take note."""
        self.closed = True

    def changes(self) -> list[tuple[str, dict[str, Any]]]:
        """List what was asked to change."""
        return [(method, params) for method, params in self.asked if COMMANDS[method].changes]


async def until(done: Callable[[], bool], what: str) -> None:
    """Wait until something is so; fails after 60 s."""
    for _ in range(600):
        if done():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"not seen: {what}")
