"""One connection to a local control socket, on the control loop, whatever protocol is spoken on it.

A peer may send several requests at once and gets each reply when it is ready. What a bad peer can cost is bounded:

- One message of a peer is carried out in a turn, and of all peers but the owner and root a few milliseconds' worth.
- A message is at most MAX_MESSAGE bytes and has MESSAGE_TIME from its first byte to its last.
- A peer that does not read its replies is not read from, and closed after UNREAD_TIME.
- What is closed is gone CLOSE_TIME later, whether the peer reads or not.
"""

import asyncio
import contextlib
import functools
import select
import socket
from collections.abc import Coroutine
from typing import Any, Final, Protocol, cast

from flaskd.control.access import peer
from flaskd.control.access.shares import Holder
from flaskd.control.registry import Registry, failure
from flaskd.control.transports.framing import NO_MESSAGE, Framing, Message, NotThisProtocol
from flaskd.control.transports.turns import Turns
from flaskd_ctl import errors
from flaskd_ctl.protocol import Actor

MOST_AT_ONCE: Final = 16  # requests of one peer under way
MESSAGE_TIME: Final = 30.0  # seconds from a message's first byte to its end
HANDSHAKE_TIME: Final = 5.0  # seconds from the connection until messages may be sent
UNREAD_TIME: Final = 60.0  # seconds in which a peer has read nothing of what waits for it
CLOSE_TIME: Final = 1.0  # seconds in which a peer that is closed may still read why


class Door(Protocol):
    """What a connection came in by: `local.LocalServer`. `buffer` is where all connections read into, one after the other."""

    registry: Registry
    turns: Turns
    buffer: memoryview

    def turn_away(self, connection: "LocalConnection") -> None:
        """Take its place away; it may stay a moment to read why."""

    def leave(self, connection: "LocalConnection") -> None:
        """Forget it: its descriptor is closed."""


class LocalConnection(asyncio.BufferedProtocol):
    """A caller that the kernel has named; `tasks` is what runs for it, `holder` under whose name it has a place.

    `refusal` says why it has none, and is said to it. Those of the owner and root are counted, from 1: `number`.
    """

    def __init__(self, door: Door, framing: Framing, sock: socket.socket, caller: Actor) -> None:
        self.caller = caller
        self.holder: Holder | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.last_heard = 0.0
        self.number = 0
        self.closed = asyncio.Event()
        self._door = door
        self._sock = sock
        self._framing = framing
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._due = True  # a step is on its way, or the connection is
        self._ended = False  # the peer has said its last
        self.refusal: errors.ControlError | None = None
        self._transport: asyncio.Transport

    @functools.cached_property
    def groups(self) -> frozenset[int] | None:
        """The groups that the caller had when it connected; the owner's and root's are never asked for."""
        return peer.groups_of_socket(self._sock)

    # Called by its transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the conversation; with one that has no place, begin to end it."""
        self._transport = cast(asyncio.Transport, transport)
        self._due = False
        self.last_heard = self._loop.time()
        self._say_due()
        if self.refusal is not None:
            self._refuse(self.refusal)
        elif not self._framing.handshaken:
            self._timer = self._loop.call_later(HANDSHAKE_TIME, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of all that ran for this peer."""
        self._stop_timer()
        self._writable.set()
        for task in self.tasks:
            task.cancel()
        self._door.leave(self)
        self.closed.set()
        self._gone.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Read into the buffer of all connections: what comes is taken out at once."""
        return self._door.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        self.last_heard = self._loop.time()
        self._framing.feed(self._door.buffer[:nbytes])
        if self._due:
            self._transport.pause_reading()  # a step resumes it: what more comes is the kernel's to keep until then
        self._step_soon(at_once=True)

    def eof_received(self) -> bool:
        """Answer what was asked, then close."""
        self._framing.end()
        self._ended = True
        if (self.tasks or self._framing.pending) and _is_hung_up(self._transport):
            self._gone.set()
        self._step_soon(at_once=True)
        return True

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._writable.clear()
        if not self._leaving:
            self._stop_timer()
            self._timer = self._loop.call_later(UNREAD_TIME, self.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()
        if not self._leaving:
            self._stop_timer()
            self._step_soon()

    # Called by the registry

    def takes_notifications(self) -> bool:
        """Any number of them."""
        return True

    async def send(self, message: bytes, *, enveloped: bool = False) -> bool:
        """Send one message, waiting while the peer does not read."""
        await self.until_writable()
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(self._framing.wrap(message, enveloped=enveloped))
        return True

    async def until_writable(self) -> None:
        """Wait until the peer reads what was sent to it, or is gone, and until it is its turn."""
        while True:
            await self._writable.wait()
            if not self._privileged:
                await self._door.turns.wait()
            if self._writable.is_set():  # another reply that waited may have filled its buffer again
                return

    async def until_gone(self) -> None:
        """Wait until the peer has closed its connection; one that has only said its last still reads."""
        await self._gone.wait()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as long as the connection lives."""
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._task_ended)

    # Called by the door

    @property
    def reads(self) -> bool:
        """Whether the peer reads what is sent to it."""
        return self._writable.is_set()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way for it."""
        return not self.tasks and not self._due

    @property
    def closing(self) -> bool:
        """Whether it is on its way out."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close when what has been written is sent, or CLOSE_TIME has passed."""
        self._stop_timer()
        self._transport.close()
        if not self.closed.is_set():
            self._timer = self._loop.call_later(CLOSE_TIME, self.abort)

    def abort(self) -> None:
        """Close at once."""
        self._stop_timer()
        self._transport.abort()

    # Steps

    @property
    def _leaving(self) -> bool:
        """Whether the timer that runs is the last one."""
        return self.refusal is not None or self._transport.is_closing()

    @property
    def _privileged(self) -> bool:
        """Whether it is the owner's or root's, who wait for nobody's turn."""
        return self.holder is not None and self.holder.privileged

    def _step_soon(self, *, at_once: bool = False) -> None:
        """Carry out the next message: at once where the caller is the owner or root, else when it is its turn."""
        if self._due:
            return
        self._due = True
        if not self._privileged:
            self._door.turns.add(self._step)
        elif at_once:
            self._step()
        else:
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        """Carry out one message, if one more may be under way; read on only when there is nothing left to carry out."""
        self._due = False
        if self._transport.is_closing() or (self.refusal and self._framing.unasked):
            return
        if len(self.tasks) >= MOST_AT_ONCE or not self.reads:
            self._transport.pause_reading()
            if self.reads:
                self._stop_timer()  # it is we who do not go on
            return
        try:
            message = self._framing.next()
        except errors.ControlError as error:
            self._give_up(error)
            return
        except NotThisProtocol:
            self.abort()
            return
        self._say_due()
        if message is None:
            self._wait_for_more()
            return
        if self._framing.handshaken and self.refusal is None:
            self._stop_timer()
        if message is not NO_MESSAGE:
            self._answer(message)
        if self._framing.pending or self._ended:
            self._transport.pause_reading()
            self._step_soon()
        else:
            self._transport.resume_reading()

    def _wait_for_more(self) -> None:
        if not self._ended:
            self._transport.resume_reading()
            if self._framing.pending and self._timer is None:
                self._timer = self._loop.call_later(MESSAGE_TIME, self._too_slow)
        elif not self.tasks:
            self.close()

    def _answer(self, message: Message) -> None:
        """Answer now what can be; the rest is a task."""
        enveloped = message.before == [b""]
        if self.refusal is not None:
            reply: Any = failure(None, self.refusal)
            self._loop.call_soon(self.close)
        elif message.before and not enveloped:
            error = errors.InvalidRequest(f"a request is one frame, this had {len(message.before) + 1}")
            reply = failure(None, error)
        else:
            reply = self._door.registry.answer(message.body, Enveloped(self) if enveloped else self)
        if isinstance(reply, Coroutine):
            self.spawn(self._answer_later(reply, enveloped=enveloped))
        elif reply is not None:
            self._transport.write(self._framing.wrap(reply, enveloped=enveloped))

    async def _answer_later(self, answer: Coroutine[Any, Any, bytes | None], *, enveloped: bool) -> None:
        reply = await answer
        if reply is not None:
            with contextlib.suppress(ConnectionResetError):  # it has gone meanwhile
                await self.send(reply, enveloped=enveloped)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        self._step_soon()

    def _say_due(self) -> None:
        due = self._framing.to_send()
        if due:
            self._transport.write(due)

    def _too_slow(self) -> None:
        self._give_up(errors.TimedOut(f"a message was begun and not ended within {MESSAGE_TIME:g} s"))

    def _refuse(self, error: errors.ControlError) -> None:
        """Say why, and close a little later: closing on unread data would reset the reply away (unix(7)).

        Where the protocol allows a reply only to a message, the first one is answered so.
        """
        self.refusal = error
        self._stop_timer()
        self._timer = self._loop.call_later(CLOSE_TIME, self.abort)
        if self._framing.unasked:
            self._transport.write(self._framing.wrap(failure(None, error), enveloped=False))

    def _give_up(self, error: errors.ControlError) -> None:
        """End a conversation that cannot go on, saying why where the protocol allows it."""
        if self._framing.unasked:
            self._door.turn_away(self)
            self._refuse(error)
        else:
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Enveloped:
    """One request that came behind an empty frame, as a REQ socket sends it: it takes one reply and nothing else."""

    def __init__(self, connection: LocalConnection) -> None:
        self.caller = connection.caller
        self._connection = connection

    @property
    def groups(self) -> frozenset[int] | None:
        """Its caller's."""
        return self._connection.groups

    def takes_notifications(self) -> bool:
        """None."""
        return False

    async def send(self, message: bytes) -> bool:
        """Send it behind an empty frame."""
        return await self._connection.send(message, enveloped=True)

    async def until_writable(self) -> None:
        """Wait until the peer reads."""
        await self._connection.until_writable()

    async def until_gone(self) -> None:
        """Wait until the peer has closed its connection."""
        await self._connection.until_gone()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as long as the connection lives."""
        self._connection.spawn(work)


def _is_hung_up(transport: asyncio.Transport) -> bool:
    """Tell whether the peer has closed its end, not only said its last (shutdown(2)); a Unix socket has POLLHUP then."""
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))
