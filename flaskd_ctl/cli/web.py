"""`flaskd_ctl web`: a page with what the instances do, served to the browser of this host."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from flaskd_ctl.cli.exits import Exit
from flaskd_ctl.cli.run import Run
from flaskd_ctl.cli.watched import choose_watched, source
from flaskd_ctl.errors import Failed

if TYPE_CHECKING:
    import socket

    from flaskd_ctl.web.guard import Guard
    from flaskd_ctl.web.room import Room


def run_web(run: Run, *, port: int, interval: float, allow_changes: bool) -> Exit:
    """Serve until SIGINT or SIGTERM."""
    chosen = choose_watched(run)
    try:
        from flaskd_ctl.web.guard import Guard
        from flaskd_ctl.web.peer import can_tell, own_users
        from flaskd_ctl.web.room import Room
        from flaskd_ctl.web.server import LOOPBACK, listening
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"starlette", "uvicorn"}:
            raise
        raise Failed(
            "`flaskd_ctl web` needs Starlette and Uvicorn, which are not installed",
            hint="install them with `pip install 'flaskd[web]'`; `flaskd_ctl top --once` does without",
        ) from None
    rooms = {
        each.label: Room(
            each.label, functools.partial(source, run, each), interval=interval, allow_changes=allow_changes
        )
        for each in chosen
    }
    with listening(port) as listener:
        address = listener.getsockname()
        guard = Guard(address[1], users=own_users(os.environ) if can_tell(address) else None)
        url = f"http://{LOOPBACK}:{address[1]}/?token={guard.token}"

        def announce() -> bool:
            if not run.screen.result({"url": url}, url):
                return False
            does = "you can change them" if allow_changes else "read only"
            names = ", ".join(rooms)
            run.screen.remark(f"Open this URL in a browser; it opens once. {names}: {does}. Ctrl-C ends it.")
            return True

        _serve(rooms, guard, listener, allow_changes=allow_changes, announce=announce)
    return Exit.DONE


def _serve(
    rooms: dict[str, Room],
    guard: Guard,
    listener: socket.socket,
    *,
    allow_changes: bool,
    announce: Callable[[], bool],
) -> None:
    import asyncio

    from flaskd_ctl.web.server import serve

    async def serve_until_signal() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, stop.set)
        if announce():  # after this, whoever reads the URL may end it
            await serve(rooms, guard, listener=listener, allow_changes=allow_changes, stop=stop)

    asyncio.run(serve_until_signal())
