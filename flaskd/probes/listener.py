"""Ports for the probes of load balancers and container engines.

The supervisor's loop serves them from what it knows, so they answer whatever the application does. Anybody who reaches the port
may ask, so everything is limited: one answer for each connection, MAX_CONNECTIONS (a new one replaces the oldest, so that an
attacker who holds all of them locks out no probe), TIMEOUT and LONGEST for each.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from typing import Final

from flaskd.errors import BindError
from flaskd.listening.addresses import bind
from flaskd.listening.listeners import Listener
from flaskd.probes import agent, health
from flaskd.probes.metrics import MetricsPage
from flaskd.probes.rotation import Rotation
from flaskd.settings.schema import Settings

MAX_CONNECTIONS: Final = 64
"""Connections at a time."""

TIMEOUT: Final = 5.0
"""Seconds from accept to close; a probe needs milliseconds."""

LONGEST: Final = 8192
"""Bytes that a request may have."""

ANSWERS: Final = {"health": health.answer, "agent": agent.answer}
"""By the setting with the address."""


def listen(settings: Settings, stack: contextlib.ExitStack) -> "dict[str, ProbeListener]":
    """Bind the ports in the settings, until `stack` is closed."""
    found = {}
    for what, answer in ANSWERS.items():
        if address := getattr(settings, what):
            found[what] = ProbeListener(address, f"--{what}", answer)
            stack.callback(found[what].close)
    return found


Answer = bytes | Coroutine[None, None, bytes] | None
"""A whole answer, now or later; None: not yet."""


class ProbeListener:
    """Answers probes at `address`. The port is bound at once; probes are answered from `open` to `close`.

    `answer` gets what a peer has sent so far (first nothing), `rotation` and `metrics`; it returns the whole answer, a
    coroutine that does, or None for "not yet". Raises BindError, which names `option`.
    """

    def __init__(self, address: str, option: str, answer: Callable[..., Answer]) -> None:
        try:
            self.listener: Final[Listener] = bind(address, backlog=MAX_CONNECTIONS)
        except BindError as error:
            raise BindError(f"{option}: {error}", hint=error.hint.replace("--bind", option)) from None
        self._answer = answer
        self.connections: dict[_Connection, None] = {}  # oldest first
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """HOST:PORT with the real port."""
        return self.listener.url.removeprefix("http://")

    async def open(self, rotation: Callable[[], Rotation], metrics: MetricsPage) -> None:
        """Start to answer; `rotation` is called for each answer, or `metrics` is asked."""
        loop = asyncio.get_running_loop()
        answer = functools.partial(self._answer, rotation=rotation, metrics=metrics)
        self._server = await loop.create_server(
            lambda: _Connection(self.connections, answer), sock=self.listener.socket, backlog=MAX_CONNECTIONS
        )

    def close(self) -> None:
        """Stop answering, and close the port."""
        if self._server is not None:
            self._server.close()
        self.listener.close()
        for connection in list(self.connections):
            connection.abort()


class _Connection(asyncio.Protocol):
    """One connection: a request and its answer."""

    _transport: asyncio.Transport

    def __init__(self, connections: "dict[_Connection, None]", answer: Callable[[bytes], Answer]) -> None:
        self._connections = connections
        self._find_answer = answer
        self._end: asyncio.TimerHandle | None = None
        self._asked = b""
        self._answered = False
        self._later: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make room for the connection, and start its timer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        others = self._connections
        if len(others) >= MAX_CONNECTIONS:
            oldest = next(iter(others))
            del others[oldest]
            oldest.abort()
        others[self] = None
        self._end = asyncio.get_running_loop().call_later(TIMEOUT, self.abort)
        self._answer()

    def data_received(self, data: bytes) -> None:
        """Answer once the request is complete; what arrives later is read and ignored.

        Closing with unread data would reset the connection, and the peer would lose the answer.
        """
        if not self._answered:
            self._asked += data
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._end is not None:
            self._end.cancel()
        if self._later is not None:
            self._later.cancel()
        self._connections.pop(self, None)

    def abort(self) -> None:
        """Close the connection at once, answered or not."""
        self._transport.abort()

    def _answer(self) -> None:
        answer = self._find_answer(self._asked)
        if isinstance(answer, bytes):
            self._write(answer)
        elif answer is not None:
            self._answered = True
            self._later = asyncio.get_running_loop().create_task(self._write_later(answer))
        elif len(self._asked) > LONGEST:
            self.abort()

    def _write(self, answer: bytes) -> None:
        self._answered = True
        self._transport.write(answer)
        self._transport.write_eof()  # the peer closes first, so that the answer is not lost

    async def _write_later(self, answer: Coroutine[None, None, bytes]) -> None:
        self._write(await answer)
