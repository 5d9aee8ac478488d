"""The server: it listens on a loopback port, and serves until it is told to end."""

import asyncio
import contextlib
import socket
from collections.abc import Generator, Iterator, Mapping
from typing import Final

import uvicorn

from flaskd_ctl.errors import Failed
from flaskd_ctl.web.api import Api
from flaskd_ctl.web.gate import Gate
from flaskd_ctl.web.guard import Guard
from flaskd_ctl.web.room import Room

LOOPBACK: Final = "127.0.0.1"

MOST_CONNECTIONS: Final = 100
"""Connections at a time; more are answered 503."""

END_TIME: Final = 2
"""Seconds that calls under way have when the server ends; the instance goes on with what it was told."""


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """Listen on a port of the loopback address, 0 for any; raise Failed if that is not possible."""
    # With the protocol's number, asyncio sets TCP_NODELAY on what is accepted: else each response waits 40 ms for an ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen()
        except OSError as error:
            raise Failed(
                f"cannot listen on {LOOPBACK}:{port}: {error.strerror}",
                hint="give another --port, or none: then a free one is taken",
            ) from None
        yield listener


class _Server(uvicorn.Server):
    """Uvicorn until `stop`: it would look ten times a second whether it is to end, and take SIGINT and SIGTERM for itself."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def main_loop(self) -> None:
        """Serve."""
        await self._stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the caller."""
        yield


async def serve(
    rooms: Mapping[str, Room],
    guard: Guard,
    *,
    listener: socket.socket,
    allow_changes: bool,
    stop: asyncio.Event,
) -> None:
    """Serve until `stop`, then end the streams."""
    config = uvicorn.Config(
        Gate(Api(rooms, allow_changes=allow_changes).app(), guard),
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # Gate logs what fails here
        access_log=False,
        date_header=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=END_TIME,
    )
    serving = asyncio.create_task(_Server(config, stop).serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        stopping.cancel()
        for room in rooms.values():
            room.end()
        await serving
        for room in rooms.values():
            await room.close()
