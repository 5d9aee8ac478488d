"""The local control sockets, `sock` and `zmq`: who may connect, whose turn it is, and how it ends.

Both are accepted here and count together. So a process with little room for descriptors can be sure of how many it needs, and
no protocol is a way around the limits of the other.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from flaskd.control.access import peer, policy
from flaskd.control.access.shares import Holder, Places, holder_of
from flaskd.control.registry import Registry
from flaskd.control.transports.connection import LocalConnection
from flaskd.control.transports.framing import Framing, LineFraming
from flaskd.control.transports.socket_transport import SocketTransport
from flaskd.control.transports.turns import Turns
from flaskd.control.transports.zmtp import ZmtpFraming
from flaskd_ctl import errors

PLACES: Final = Places(total=256, share=32, kept=64)
"""Connections to both sockets."""

MAX_TURNED_AWAY: Final = 32  # connections that are being told why
# Connections of the owner and root that are accepted in a turn of the loop, at each socket: in each turn a message of all that
# they have is carried out, so that a flood of them has its replies before the places are taken.
MOST_PRIVILEGED: Final = 4
# The newest of these give up no place: in two turns of the loop, what they have sent is read.
NEWCOMERS: Final = 4 * MOST_PRIVILEGED
BACKLOG: Final = 1024  # connections that wait in the kernel, where they cost no descriptor
ACCEPT_BUDGET: Final = 0.004
"""CPU seconds of accepting in a turn of the loop, at each socket: enough for nearly all that can wait there."""
LOOK_AT_CLOCK: Final = 8  # accepted connections of others after which we look how much of it is left
# Seconds after which a holder with its full share may replace a connection, or hear why not.
REPLACE_TIME: Final = 0.1
FLUSH_TIME: Final = 0.4  # seconds for requests under way to finish, and for peers to read their last replies
RETRY_TIME: Final = 0.5  # seconds until we accept again, after the system has had no descriptor for us
READ_AT_ONCE: Final = 64 * 1024


class LocalServer:
    """The transport: two listening Unix sockets and their connections, open from the start, on the running loop."""

    def __init__(self, registry: Registry, *, lines: socket.socket, zmtp: socket.socket) -> None:
        self.registry = registry
        self.turns = Turns()
        self.buffer = memoryview(bytearray(READ_AT_ONCE))
        self._loop = asyncio.get_running_loop()
        self._listening: dict[socket.socket, Callable[[], Framing]] = {}
        self._connections: set[LocalConnection] = set()
        self._taken: Counter[Holder] = Counter()  # places, of those that have not been asked to leave
        self._pressed: dict[Holder, float] = {}  # when a holder last wanted more than its share
        self._turned_away: set[LocalConnection] = set()
        self._privileged = 0  # connections of the owner and root that there have been
        self.listen(lines=lines, zmtp=zmtp)

    def listen(self, *, lines: socket.socket, zmtp: socket.socket) -> None:
        """Accept from these sockets from now on, and close others; open connections continue."""
        before, self._listening = self._listening, {lines: LineFraming, zmtp: ZmtpFraming}
        for sock in before.keys() - self._listening.keys():
            self._loop.remove_reader(sock)
            sock.close()
        for sock in self._listening.keys() - before.keys():
            sock.listen(BACKLOG)
            self._loop.add_reader(sock, self._accept, sock)

    @property
    def serving(self) -> bool:
        """Whether both sockets take commands."""
        return bool(self._listening)

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """What is under way for callers that read what they are sent."""
        return {task for each in self._connections if each.reads for task in each.tasks}

    async def stop_accepting(self) -> None:
        """Accept no more, and read once what has come."""
        listening, self._listening = self._listening, {}
        for sock in listening:
            self._loop.remove_reader(sock)
        await self.turns.wait()  # who was accepted is connected
        for _ in range(2):  # in the second round of the loop, all that it has found to be readable is read
            await asyncio.sleep(0)
        await self.turns.wait()  # and carried out
        for sock in listening:
            sock.close()

    async def close(self) -> None:
        """Close each connection when its replies have left; those that take longer at once."""
        for each in list(self._connections):
            if each.reads:
                each.close()
            else:
                each.abort()
        leaving = {asyncio.ensure_future(each.closed.wait()) for each in self._connections}
        if leaving:
            await asyncio.wait(leaving, timeout=FLUSH_TIME)
        for each in list(self._connections):
            each.abort()

    def _accept(self, listening: socket.socket) -> None:
        """Let in who waits, for a while: to send away who has no place is quick, so that a flood does not fill the queue.

        What the owner or root has sent by then is answered at once; others' when it is their turn.
        """
        end: float | None = None
        unseen = 0  # accepted since we looked at the clock
        enough = self._privileged + MOST_PRIVILEGED
        while self._privileged < enough:
            if unseen >= LOOK_AT_CLOCK:
                now = time.thread_time()
                end = end or now + ACCEPT_BUDGET
                if now >= end:
                    return
                unseen = 0
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor is left
                self._loop.remove_reader(listening)
                self._loop.call_later(RETRY_TIME, self._accept_again, listening)
                return
            unseen += 1
            caller = peer.of_socket(sock)
            holder = holder_of(caller, owner=self.registry.owner)
            if self._presses(holder):
                sock.close()
                continue
            sock.setblocking(False)
            newcomer = LocalConnection(self, self._listening[listening](), sock, caller)
            newcomer.refusal = self._give_place(newcomer, holder)
            if newcomer.refusal is not None and len(self._turned_away) >= MAX_TURNED_AWAY:
                sock.close()
                continue
            self._connections.add(newcomer)
            if newcomer.refusal is not None:
                self.turn_away(newcomer)
            transport = SocketTransport(sock, newcomer)
            if holder.privileged:
                self._privileged += 1
                newcomer.number = self._privileged
                transport.open()
                unseen = LOOK_AT_CLOCK  # a message may have taken longer than many connections
            else:
                self.turns.add(transport.open)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening)

    def _presses(self, holder: Holder) -> bool:
        """Tell whether a holder that has its full share, or no role, was refused or replaced a connection a moment ago."""
        now, count = self._loop.time(), self._taken[holder]
        return not 0 < count < PLACES.share and now < self._pressed.get(holder, -1.0) + REPLACE_TIME

    def _give_place(self, newcomer: LocalConnection, holder: Holder) -> errors.ControlError | None:
        """Give a connection a place, taking another's if need be; return why it cannot have one."""
        if not self.registry.admits(newcomer):
            self._note_pressing(holder)
            return errors.NotPermitted(f"{policy.name_of(newcomer.caller)} has no role here")
        leaver = PLACES.asked_to_leave(self._taken, holder)
        if leaver is not None:
            self._note_pressing(holder)
            if not self._take_from(leaver):
                return errors.Failed(f"{self._taken[leaver]} connections are open already", hint="try again")
        newcomer.holder = holder
        self._taken[holder] += 1
        return None

    def _note_pressing(self, holder: Holder) -> None:
        if not holder.privileged:
            if len(self._pressed) >= PLACES.total:
                self._pressed.clear()
            self._pressed[holder] = self._loop.time()

    # Called by connections

    def leave(self, connection: LocalConnection) -> None:
        """Forget a connection whose descriptor is closed."""
        self._connections.discard(connection)
        self._free(connection)
        self._turned_away.discard(connection)

    def turn_away(self, connection: LocalConnection) -> None:
        """Take a connection's place; it may stay a moment to read why."""
        self._free(connection)
        self._turned_away.add(connection)

    def _take_from(self, holder: Holder) -> bool:
        """End a connection of `holder`: the one that was idle longest, else one that does not read.

        The NEWCOMERS stay.
        """
        theirs = [each for each in self._connections if each.holder == holder and self._may_go(each)]
        leaver = min(
            (each for each in theirs if each.idle or not each.reads),
            key=lambda each: (not each.idle, each.last_heard),
            default=None,
        )
        if leaver is None:
            return False
        self._free(leaver)
        leaver.abort()
        return True

    def _may_go(self, connection: LocalConnection) -> bool:
        return not connection.number or connection.number <= self._privileged - NEWCOMERS

    def _free(self, connection: LocalConnection) -> None:
        holder, connection.holder = connection.holder, None
        if holder is not None:
            self._taken[holder] -= 1
            if not self._taken[holder]:
                del self._taken[holder]
