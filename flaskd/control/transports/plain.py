"""The plain stream transport: one JSON object per line on a Unix socket, for `socat` and languages without ZeroMQ.

A peer may send several requests at once; each reply is sent when it is ready. The cost of a bad peer is bounded: a line has at
most MAX_MESSAGE bytes and LINE_TIME to arrive, a peer that does not read its replies is not read from, and beyond MAX_PEERS
the peer that has been idle longest is disconnected.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Self, cast

from flaskd.control.access import peer, policy
from flaskd.control.registry import Registry, failure
from flaskd_ctl import errors
from flaskd_ctl.protocol import MAX_MESSAGE, Actor

BACKLOG: Final = 128
TURNS: Final = 4  # turns of the loop in which asyncio makes an accepted socket a connection and reads from it
MAX_PEERS: Final = 256
MAX_REQUESTS: Final = 16  # requests of one peer under way
LINE_TIME: Final = 30.0  # seconds from a line's first byte to its end
FLUSH_TIME: Final = 1.0  # seconds for requests under way to finish, and for peers to read their last replies
CLOSE_TIME: Final = 1.0  # seconds in which a refused peer may read the error


class PlainServer:
    """The transport: a listening Unix socket and its connections."""

    _server: asyncio.Server
    _listening: socket.socket

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._peers: set[PlainPeer] = set()
        self._loop = asyncio.get_running_loop()
        self._deadline = 0.0

    @classmethod
    async def open(cls, registry: Registry, listening: socket.socket) -> Self:
        """Serve `registry` on a listening socket."""
        server = cls(registry)
        await server._listen(listening)
        return server

    async def move(self, listening: socket.socket) -> None:
        """Accept from another listening socket from now on; open connections continue."""
        server, before = self._server, self._listening
        await self._listen(listening)
        await self._stop_listening(server, before)

    @property
    def serving(self) -> bool:
        """Whether it takes requests."""
        return self._server.is_serving()

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """The requests under way."""
        return {task for each in self._peers for task in each.tasks}

    async def stop_accepting(self) -> None:
        """Accept no more connections, and read once what has arrived."""
        await self._stop_listening(self._server, self._listening)
        self._deadline = self._loop.time() + FLUSH_TIME

    async def _listen(self, listening: socket.socket) -> None:
        self._server = await self._loop.create_unix_server(
            lambda: PlainPeer(self._registry, self._peers), sock=listening, backlog=BACKLOG
        )
        self._listening = listening

    async def _stop_listening(self, server: asyncio.Server, listening: socket.socket) -> None:
        """Close `server`, after some turns: closed at once, it leaks a connection that it has just accepted."""
        self._loop.remove_reader(listening)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        server.close()

    async def close(self) -> None:
        """Close each connection once its peer has read everything, or when the time is over."""
        for each in list(self._peers):
            each.transport.close()
        if closing := {asyncio.ensure_future(each.closed.wait()) for each in self._peers}:
            await asyncio.wait(closing, timeout=max(0.0, self._deadline - self._loop.time()))
        for each in list(self._peers):
            each.transport.abort()


class PlainPeer(asyncio.Protocol):
    """One connection, on the control loop. `tasks` are its requests under way."""

    transport: asyncio.Transport

    def __init__(self, registry: Registry, peers: "set[PlainPeer]") -> None:
        self.caller = Actor(via="control")
        self.groups: frozenset[int] | None = None
        self.last_heard = time.monotonic()
        self.tasks: set[asyncio.Task[None]] = set()
        self.closed = asyncio.Event()
        self._registry = registry
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._lines: deque[bytes] = deque()
        self._line_timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._refused = False
        self._eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Identify the peer, and make room for it."""
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        self.caller, self.groups = peer.of_socket(sock), peer.groups_of_socket(sock)
        if not self._registry.admits(self):
            self._refuse(errors.NotPermitted(f"{policy.name_of(self.caller)} has no role here"))
        elif len(self._peers) >= MAX_PEERS and not self._evict():
            self._refuse(errors.Failed(f"{MAX_PEERS} connections are open already", hint="try again"))
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what runs for this peer."""
        self._peers.discard(self)
        self.closed.set()
        self._stop_line_timer()
        self._writable.set()
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Execute each complete line."""
        if self._refused:
            return
        self.last_heard = time.monotonic()
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        if any(len(line) > MAX_MESSAGE for line in (*lines, rest)):
            self._refuse(
                errors.TooLarge(f"a message is at most {MAX_MESSAGE} bytes", hint="the connection is closed")
            )
            return
        self._buffer = rest
        self._stop_line_timer()
        if rest:
            late = errors.TimedOut(f"a line did not end within {LINE_TIME:g} s")
            self._line_timer = self._loop.call_later(LINE_TIME, self._refuse, late)
        self._lines.extend(bytes(line) for line in lines if line.strip())
        self._execute()

    def eof_received(self) -> bool:
        """Answer what was asked, including a last line without a newline, then close."""
        if self._buffer.strip() and not self._refused:
            self.data_received(b"\n")
        self._eof = True
        return bool(self.tasks or self._lines) or self._refused

    def pause_writing(self) -> None:
        """Stop sending: the peer does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Send again."""
        self._writable.set()

    def takes_notifications(self) -> bool:
        """Return True: a stream takes any number of messages."""
        return True

    async def send(self, message: bytes) -> bool:
        """Send one line; wait while the peer does not read."""
        await self._writable.wait()
        if self.transport.is_closing():
            raise ConnectionResetError
        self.transport.write(message + b"\n")
        return True

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it ends or the connection is lost."""
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._task_done)

    def _answer(self, line: bytes) -> None:
        """Answer now if possible, otherwise in a task."""
        reply = self._registry.answer(line, self)
        if isinstance(reply, Coroutine) or (reply is not None and not self._writable.is_set()):
            self.spawn(self._answer_later(reply))
        elif reply is not None and not self.transport.is_closing():
            self.transport.write(reply + b"\n")

    async def _answer_later(self, reply: Coroutine[Any, Any, bytes | None] | bytes) -> None:
        message = await reply if isinstance(reply, Coroutine) else reply
        if message is not None and not self.transport.is_closing():
            await self.send(message)

    def _execute(self) -> None:
        """Execute as many lines as may be under way. Read on when no line waits; then let other peers have a turn."""
        for _ in range(MAX_REQUESTS):
            if not self._lines or len(self.tasks) >= MAX_REQUESTS:
                break
            self._answer(self._lines.popleft())
        if self.transport.is_closing():
            return
        if self._lines:
            self.transport.pause_reading()
            if len(self.tasks) < MAX_REQUESTS:
                self._loop.call_soon(self._execute)
            return
        self.transport.resume_reading()
        if self._eof and not self.tasks:  # the peer has ended its side and has all its replies
            self.transport.close()

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        self._execute()

    def _evict(self) -> bool:
        """Disconnect the peer that has been idle longest. Return False if none is idle."""
        idle = [other for other in self._peers if not other.tasks]
        if idle:
            oldest = min(idle, key=lambda other: other.last_heard)
            self._peers.discard(oldest)
            oldest.transport.close()
        return bool(idle)

    def _refuse(self, error: errors.ControlError) -> None:
        """Send the error, and close a little later: closing with unread data would discard the reply (unix(7))."""
        self._refused = True
        self._stop_line_timer()
        self._buffer.clear()
        self.transport.write(failure(None, error) + b"\n")
        self._loop.call_later(CLOSE_TIME, self.transport.close)

    def _stop_line_timer(self) -> None:
        if self._line_timer is not None:
            self._line_timer.cancel()
            self._line_timer = None
