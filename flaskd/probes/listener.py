"""Listeners beside the public ones, for those who ask whether to send requests here: balancers, container engines.

They are served by the supervisor's loop from what it knows, so they answer whatever the application does. Anybody who reaches
the port may ask, so everything is bounded: one answer a connection, `MOST` connections (a new one takes the oldest one's
place: who holds all of them keeps no probe out), `PATIENCE` seconds and `LONGEST` bytes for each.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Final

from flaskd.errors import BindError
from flaskd.listening.listeners import Listener, bind
from flaskd.probes import agent, health
from flaskd.probes.rotation import Rotation
from flaskd.settings.schema import Settings

MOST: Final = 64
"""Connections at once."""

PATIENCE: Final = 5.0
"""Seconds from accept to close; a probe needs milliseconds."""

LONGEST: Final = 8192
"""Bytes that a question may have."""


ANSWERS: Final = {"health": health.answer, "agent": agent.answer}
"""By the setting that names the address."""


def listen(settings: Settings, stack: contextlib.ExitStack) -> "dict[str, ProbeListener]":
    """Take the ports that are set, until `stack` ends."""
    found = {}
    for what, answer in ANSWERS.items():
        if address := getattr(settings, what):
            found[what] = ProbeListener(address, f"--{what}", answer)
            stack.callback(found[what].close)
    return found


class ProbeListener:
    """Answer what is asked at `address`; the port is taken at once, answers are given from `open` to `close`.

    `answer` gets what a peer has sent so far (at first nothing) and `rotation`; it returns the whole answer, or None for "not
    yet". Raises BindError, naming `option`, where nothing can listen there.
    """

    def __init__(self, address: str, option: str, answer: Callable[..., bytes | None]) -> None:
        try:
            self.listener: Final[Listener] = bind(address, backlog=MOST)
        except BindError as error:
            raise BindError(f"{option}: {error}", hint=error.hint.replace("--bind", option)) from None
        self._answer = answer
        self.connections: dict[_Connection, None] = {}  # in the order in which they came
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """HOST:PORT with the real port."""
        return self.listener.url.removeprefix("http://")

    async def open(self, rotation: Callable[[], Rotation]) -> None:
        """Begin to answer; `rotation` is called for each answer."""
        loop = asyncio.get_running_loop()
        answer = functools.partial(self._answer, rotation=rotation)
        self._server = await loop.create_server(
            lambda: _Connection(self.connections, answer), sock=self.listener.socket, backlog=MOST
        )

    def close(self) -> None:
        """Answer nobody any more, and let go of the port."""
        if self._server is not None:
            self._server.close()
        self.listener.close()
        for connection in list(self.connections):
            connection.cut()


class _Connection(asyncio.Protocol):
    """One question and its answer."""

    _transport: asyncio.Transport

    def __init__(
        self, connections: "dict[_Connection, None]", answer: Callable[[bytes], bytes | None]
    ) -> None:
        self._connections = connections
        self._find_answer = answer
        self._end: asyncio.TimerHandle | None = None
        self._asked = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make room for it, and give it its time."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        others = self._connections
        if len(others) >= MOST:
            oldest = next(iter(others))
            del others[oldest]
            oldest.cut()
        others[self] = None
        self._end = asyncio.get_running_loop().call_later(PATIENCE, self.cut)
        self._answer()

    def data_received(self, data: bytes) -> None:
        """Listen until it can be answered; what comes later is read and forgotten.

        Closing with anything unread would reset the connection, and take the answer away from who sent it.
        """
        if not self._answered:
            self._asked += data
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._end is not None:
            self._end.cancel()
        self._connections.pop(self, None)

    def cut(self) -> None:
        """End it, answered or not."""
        self._transport.abort()

    def _answer(self) -> None:
        answer = self._find_answer(self._asked)
        if answer is not None:
            self._answered = True
            self._transport.write(answer)
            self._transport.write_eof()  # the peer closes first, so nothing of the answer is lost
        elif len(self._asked) > LONGEST:
            self.cut()
