"""What the page asks the server: the instances, what happens in one, what can be changed, and calls.

Nothing here decides who may do what: a call goes to the instance with the caller's own identity, and the instance decides.
Without `allow_changes`, commands that change something are not passed on at all.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.errors import ControlError, TimedOut
from flaskd_ctl.live.changes import KINDS
from flaskd_ctl.live.seen import Row, Seen
from flaskd_ctl.text import results
from flaskd_ctl.web.calls import read_call, while_connected
from flaskd_ctl.web.files import file
from flaskd_ctl.web.refusal import Refused, bug, failure, refused
from flaskd_ctl.web.room import Room, summary
from flaskd_ctl.web.stream import EventStream

MOST_STREAMS: Final = 16
"""Streams at a time, of all instances."""

LOOK_TIME: Final = 3.0
"""Seconds that an instance has to say how it is, when nobody watches it."""


class Api:
    """Answers for these rooms, by the label of their instance."""

    def __init__(self, rooms: Mapping[str, Room], *, allow_changes: bool) -> None:
        self._rooms = rooms
        self._allow_changes = allow_changes

    def app(self) -> Starlette:
        """Make the application."""
        one = "/api/instances/{label:path}"
        return Starlette(
            routes=[
                Route("/", self.index),
                Route("/page/{name}", self.page),
                Route("/api/instances", self.instances),
                Route(f"{one}/live", self.live),
                Route(f"{one}/changes/{{name}}", self.change),
                Route(f"{one}/call", self.call, methods=["POST"]),
            ],
            exception_handlers={
                HTTPException: _http_error,
                ControlError: _control_error,
                ClientDisconnect: _nobody_reads,
                Exception: _bug,
            },
        )

    async def index(self, request: Request) -> Response:
        """Show the page."""
        return _file("index.html")

    async def page(self, request: Request) -> Response:
        """Give a file of the page."""
        return _file(request.path_params["name"])

    async def instances(self, request: Request) -> Response:
        """List the instances; those that nobody watches are asked now."""
        await asyncio.gather(*(_glance(room) for room in self._rooms.values() if not room.viewers))
        listed = [summary(room.seen) for room in self._rooms.values()]
        return JSONResponse({"instances": listed, "changes": self._allow_changes})

    async def live(self, request: Request) -> Response:
        """Stream what happens in an instance."""
        room = self._room(request)
        if request.method == "HEAD":
            return Response()
        if sum(each.viewers for each in self._rooms.values()) >= MOST_STREAMS:
            raise Refused(
                503, "too_many", f"{MOST_STREAMS} pages are open already", "close one, and reload this one"
            )
        last = request.headers.get("last-event-id") or request.query_params.get("last", "")
        return EventStream(room, last=last)

    async def change(self, request: Request) -> Response:
        """Say what to ask before a change, and what to call then."""
        room, name = self._room(request), request.path_params["name"]
        kind = next((kind for kind in KINDS if kind.name == name), None)
        if kind is None:
            raise Refused(404, "not_found", f"there is no change {name!r}")
        self._check_allowed(kind.method, room.label)
        change = kind.make(room.seen, _row(room.seen, kind.panel, request.query_params))
        if change is None:
            raise Refused(
                409,
                "wrong_state",
                f"`{kind.label}` does not apply to {room.label} now",
                "its state has changed, or the worker or request that it was for has ended",
            )
        return JSONResponse({"name": name, "label": kind.label, **change._asdict()})

    async def call(self, request: Request) -> Response:
        """Call a command of an instance, and return its result when it is there."""
        room = self._room(request)
        method, params = await read_call(request)
        if COMMANDS[method].changes:
            self._check_allowed(method, room.label)
            calling = room.change(method, params)
        else:
            calling = room.call(method, params)
        result = await while_connected(request, room, calling)
        return JSONResponse({"result": result, "text": results.as_text(method, result)})

    def _room(self, request: Request) -> Room:
        label = request.path_params["label"]
        if (room := self._rooms.get(label)) is None:
            raise Refused(404, "not_found", f"there is no instance {label!r} here")
        return room

    def _check_allowed(self, method: str, label: str) -> None:
        if not self._allow_changes:
            raise Refused(
                403,
                "read_only",
                f"`{method}` changes {label}, and this page only reads",
                "start `flaskd_ctl web --allow-changes`",
            )


async def _glance(room: Room) -> None:
    try:
        async with asyncio.timeout(LOOK_TIME):
            await room.watch.look()
    except TimeoutError:
        room.seen.lost(TimedOut(f"{room.label} did not answer within {LOOK_TIME:.0f} s"))


def _row(seen: Seen, panel: str | None, query: Mapping[str, str]) -> Row | None:
    """Find the row that a change is for: a worker by its id, a request by its number and its worker."""
    worker = query.get("worker", "")
    if panel == "workers":
        ids = {one.get("id") for one in seen.status.get("workers") or []}
        ids |= {one.get("worker") for one in seen.stats.get("workers") or []}
        return next(({"worker": each} for each in ids if str(each) == worker), None)
    if panel == "requests":
        rows = seen.answers.get("requests", {}).get("requests") or []
        wanted = (query.get("id", ""), worker)
        return next(
            (row for row in rows if (str(row.get("id")), str(row.get("worker") or "")) == wanted), None
        )
    return None


def _file(name: str) -> Response:
    found = file(name)
    if found is None:
        raise Refused(404, "not_found", f"the page has no file {name!r}")
    return Response(found.content, media_type=found.media_type)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Refused):
        return refused(error.status_code, error.name, error.detail, error.hint)
    return refused(error.status_code, "invalid_request", error.detail)


async def _bug(request: Request, error: Exception) -> Response:
    return bug()  # the gate logs it


async def _nobody_reads(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nginx's number for it; it is not sent


async def _control_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ControlError)
    return failure(error)
