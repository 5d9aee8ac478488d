"""The plain stream transport: one JSON object a line over a Unix socket, for `socat` and languages without ZeroMQ.

A peer may send several requests at once and gets each reply when it is ready. What a bad peer can cost is bounded: a line is
at most MAX_MESSAGE bytes and has LINE_TIME to arrive; a peer that does not read its replies is not read from; beyond
MAX_PEERS the one that has been idle longest has to go.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, cast

from flaskd.control.access import peer, policy
from flaskd.control.registry import Registry, failure
from flaskd_ctl import errors
from flaskd_ctl.protocol import MAX_MESSAGE, Actor

MAX_PEERS: Final = 256
MOST_AT_ONCE: Final = 16  # requests of one peer under way
LINE_TIME: Final = 30.0  # seconds from a line's first byte to its end
CLOSE_TIME: Final = 1.0  # seconds in which a refused peer may still read why


class PlainPeer(asyncio.Protocol):
    """One connection, on the control loop; `tasks` is what runs for it."""

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
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who connected, and make room."""
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        self.caller, self.groups = peer.of_socket(sock), peer.groups_of_socket(sock)
        if not self._registry.admits(self):
            self._refuse(errors.NotPermitted(f"{policy.name_of(self.caller)} has no role here"))
        elif len(self._peers) >= MAX_PEERS and not self._evict():
            self._refuse(errors.Failed(f"{MAX_PEERS} connections are open already", hint="try again"))
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of all that ran for this peer."""
        self._peers.discard(self)
        self.closed.set()
        self._stop_line_timer()
        self._writable.set()
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Carry out each complete line."""
        if self._refused:
            return
        self.last_heard = time.monotonic()
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        if len(rest) > MAX_MESSAGE or any(len(line) > MAX_MESSAGE for line in lines):
            self._refuse(
                errors.TooLarge(f"a message is at most {MAX_MESSAGE} bytes", hint="the connection is closed")
            )
            return
        self._buffer = rest
        self._stop_line_timer()
        if rest:
            self._line_timer = self._loop.call_later(LINE_TIME, self._too_slow)
        self._lines.extend(bytes(line) for line in lines if line.strip())
        self._begin()

    def eof_received(self) -> bool:
        """Answer what was asked, a last line without its newline included, then close."""
        if self._buffer.strip() and not self._refused:
            self.data_received(b"\n")
        self._eof = True
        return bool(self.tasks or self._lines) or self._refused

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()

    def takes_notifications(self) -> bool:
        """Any number of them."""
        return True

    async def send(self, message: bytes) -> bool:
        """Send one line, waiting while the peer does not read."""
        await self._writable.wait()
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(message + b"\n")
        return True

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as long as the connection lives."""
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def close(self) -> None:
        """Close when what has been written is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _answer(self, line: bytes) -> None:
        """Answer now what can be; the rest is a task."""
        reply = self._registry.answer(line, self)
        if isinstance(reply, Coroutine):
            self.spawn(self._answer_later(reply))
        elif reply is not None and self._writable.is_set() and not self._transport.is_closing():
            self._transport.write(reply + b"\n")
        elif reply is not None:
            self.spawn(self._send_later(reply))

    async def _answer_later(self, answer: Coroutine[Any, Any, bytes | None]) -> None:
        reply = await answer
        if reply is not None:
            await self._send_later(reply)

    async def _send_later(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            await self.send(reply)

    def _begin(self) -> None:
        """Carry out as many lines as may be under way, and read on only when none is left waiting; then others have a turn."""
        for _ in range(MOST_AT_ONCE):
            if not self._lines or len(self.tasks) >= MOST_AT_ONCE:
                break
            self._answer(self._lines.popleft())
        if self._transport.is_closing():
            return
        if not self._lines:
            self._transport.resume_reading()
            self._close_if_done()
            return
        self._transport.pause_reading()
        if len(self.tasks) < MOST_AT_ONCE:
            self._loop.call_soon(self._begin)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        self._begin()

    def _close_if_done(self) -> None:
        """Close when a peer that has ended its side has all its replies."""
        if self._eof and not self.tasks and not self._lines and not self._transport.is_closing():
            self._transport.close()

    def _evict(self) -> bool:
        idle = [other for other in self._peers if not other.tasks]
        if idle:
            oldest = min(idle, key=lambda other: other.last_heard)
            self._peers.discard(oldest)
            oldest.close()
        return bool(idle)

    def _too_slow(self) -> None:
        self._refuse(errors.TimedOut(f"a line was begun and not ended within {LINE_TIME:g} s"))

    def _refuse(self, error: errors.ControlError) -> None:
        """Say why, and close a little later: closing on unread data would reset the reply away (unix(7))."""
        self._refused = True
        self._stop_line_timer()
        self._buffer.clear()
        self._transport.write(failure(None, error) + b"\n")
        self._loop.call_later(CLOSE_TIME, self._transport.close)

    def _stop_line_timer(self) -> None:
        if self._line_timer is not None:
            self._line_timer.cancel()
            self._line_timer = None
