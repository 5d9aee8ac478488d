"""Calls of the page: reading one, and waiting for its result."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request

from flaskd_ctl.contract import strict_json
from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.live.watch import STREAMED
from flaskd_ctl.web.refusal import Refused
from flaskd_ctl.web.room import Room

LONGEST: Final = 64 * 1024
"""Bytes of the body of a call, at most."""


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "invalid_request", "a call is JSON", "send Content-Type: application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            raise Refused(413, "too_large", f"a call has at most {LONGEST // 1024} KiB")
    return body


async def read_call(request: Request) -> tuple[str, dict[str, Any]]:
    """Return the method and the params of a call; raises Refused."""
    try:
        asked = strict_json.loads(await _body(request))
    except (ValueError, RecursionError) as error:
        raise Refused(400, "parse_error", f"the call is not JSON: {error}") from None
    method = asked.get("method") if isinstance(asked, dict) else None
    if not isinstance(method, str):
        raise Refused(400, "invalid_request", 'a call is an object with "method" and "params"')
    params = asked.get("params", {})
    if not isinstance(params, dict):
        raise Refused(400, "invalid_params", "`params` is not an object")
    if method not in COMMANDS:
        raise Refused(400, "unknown_method", f"there is no command {method!r}", "see `flaskd_ctl --help`")
    if method in STREAMED and (method == "events" or params.get("follow")):
        raise Refused(400, "invalid_params", f"`{method}` is a stream here", "its events are in `live`")
    return method, params


async def while_connected(
    request: Request, room: Room, calling: Coroutine[Any, Any, dict[str, Any]]
) -> dict[str, Any]:
    """Wait for a call as long as the browser does, and this server.

    Then its connection is closed, as by Ctrl-C: a profile ends, a reload goes on.
    """
    call = asyncio.create_task(calling)
    gone = asyncio.create_task(_until_gone(request))
    ended = asyncio.create_task(room.ended.wait())
    try:
        await asyncio.wait({call, gone, ended}, return_when=asyncio.FIRST_COMPLETED)
        if call.done():
            return call.result()
        if gone.done():
            raise ClientDisconnect
        raise Refused(
            503,
            "stopped",
            "`flaskd_ctl web` was stopped before the command had ended",
            f"see how it ended with `flaskd_ctl history`; {room.label} continues a reload or the like",
        )
    finally:
        for task in (call, gone, ended):
            task.cancel()
        await asyncio.wait({call, gone, ended})


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
