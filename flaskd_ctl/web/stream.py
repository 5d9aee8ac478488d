"""What a viewer is told, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import contextlib
import json
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flaskd_ctl.web.room import RUN, News, Room, Viewer

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which a comment is sent, so that a connection that is dead is noticed."""

SLOWEST: Final = 20.0
"""Seconds that a reader may leave what was sent in the buffers before it is dropped."""

RETRY: Final = 2000
"""Milliseconds after which a browser connects again."""


class EventStream(Response):
    """The response with what happens in `room`; `last` is the id of the event that the browser says it has got last."""

    def __init__(self, room: Room, *, last: str) -> None:
        super().__init__(media_type="text/event-stream")
        self._room = room
        self._after = number_of(last)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the browser leaves, reads too slowly, or the server ends."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with self._room.viewer(after=self._after) as viewer:
            leaving = asyncio.create_task(_until_gone(receive, viewer))
            try:
                await _tell(viewer, send)
            except TimeoutError:
                return  # without the end of the body: the server then closes the connection
            finally:
                leaving.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _tell(viewer: Viewer, send: Send) -> None:
    await _send(send, f"retry: {RETRY}\n\n")
    while not viewer.done:
        for news in viewer.news():
            await _send(send, written(news))
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                await viewer.woken.wait()
        except TimeoutError:
            await _send(send, ": still here\n\n")


async def _send(send: Send, text: str) -> None:
    async with asyncio.timeout(SLOWEST):
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _until_gone(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.leave()


def written(news: News) -> str:
    """Write an event; JSON has no line breaks of its own."""
    data = json.dumps(news.data, ensure_ascii=False, separators=(",", ":"))
    return f"id: {RUN}-{news.number}\nevent: {news.kind}\ndata: {data}\n\n"


def number_of(last: str) -> int:
    """Read the number in a Last-Event-ID; 0 if it is of another run."""
    run, _, number = last.partition("-")
    with contextlib.suppress(ValueError):
        return int(number) if run == RUN else 0
    return 0
