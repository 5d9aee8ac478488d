"""The local control sockets, `sock` and `zmq`: who may connect, whose turn it is, and how it ends.

Both are accepted here and count together. So a process with little room for descriptors can be sure of how many it needs, and
no protocol is a way around the limits of the other.
"""

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from flaskd.control.access import policy
from flaskd.control.access.shares import Holder, Places, holder_of
from flaskd.control.registry import Registry
from flaskd.control.transports.connection import LocalConnection
from flaskd.control.transports.framing import Framing, LineFraming
from flaskd.control.transports.turns import Turns
from flaskd.control.transports.zmtp import ZmtpFraming
from flaskd_ctl import errors

PLACES: Final = Places(total=256, share=32, kept=64)
"""Connections to both sockets."""

MAX_TURNED_AWAY: Final = 32  # connections that are being told why
AT_A_TIME: Final = 16  # connections that asyncio accepts in a turn, at each socket
BACKLOG: Final = 128  # connections that wait for that in the kernel, where they cost no descriptor
READ_AT_ONCE: Final = 64 * 1024
TURNS: Final = 4  # of the loop, in which asyncio makes an accepted socket a connection and reads from it


class Local:
    """Serves listening sockets between `open` and `close`, on the running loop."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.turns = Turns()
        self.buffer = memoryview(bytearray(READ_AT_ONCE))
        self._loop = asyncio.get_running_loop()
        self._servers: list[tuple[asyncio.Server, socket.socket]] = []
        self._connections: set[LocalConnection] = set()
        self._taken: Counter[Holder] = Counter()  # places, of those that have not been asked to leave
        self._turned_away: deque[LocalConnection] = deque()

    async def open(self, *, lines: socket.socket, zmtp: socket.socket) -> None:
        """Begin to answer on both."""
        await self._serve(lines, LineFraming)
        await self._serve(zmtp, ZmtpFraming)

    async def _serve(self, listening: socket.socket, framing: Callable[[], Framing]) -> None:
        server = await self._loop.create_unix_server(
            lambda: LocalConnection(self, framing()), sock=listening, backlog=AT_A_TIME
        )
        listening.listen(BACKLOG)  # what create_unix_server was told is both
        self._servers.append((server, listening))

    @property
    def serving(self) -> bool:
        """Whether both sockets take commands."""
        return bool(self._servers) and all(server.is_serving() for server, _ in self._servers)

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """What is under way for callers that read what they are sent."""
        return {task for each in self._connections if each.reads for task in each.tasks}

    async def stop_accepting(self) -> None:
        """Accept no more, and read once what has come: a server closed at once would leak a connection it just accepted."""
        for _, listening in self._servers:
            self._loop.remove_reader(listening)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for server, _ in self._servers:
            server.close()

    async def close(self, *, timeout: float) -> None:
        """Close each connection when its replies have left; those that take longer at once."""
        for each in list(self._connections):
            if each.reads:
                each.close()
            else:
                each.abort()
        leaving = {asyncio.ensure_future(each.closed.wait()) for each in self._connections}
        if leaving:
            await asyncio.wait(leaving, timeout=timeout)
        for each in list(self._connections):
            each.abort()

    # Called by connections

    def admit(self, newcomer: LocalConnection) -> errors.ControlError | None:
        """Give a connection a place, taking another's if need be; return why it cannot have one."""
        self._connections.add(newcomer)
        if not self.registry.admits(newcomer):
            return errors.NotPermitted(f"{policy.name_of(newcomer.caller)} has no role here")
        holder = holder_of(newcomer.caller, owner=self.registry.rules.owner)
        leaver = PLACES.asked_to_leave(self._taken, holder)
        if leaver is not None and not self._take_from(leaver):
            return errors.Failed(f"{self._taken[leaver]} connections are open already", hint="try again")
        newcomer.holder = holder
        self._taken[holder] += 1
        return None

    def leave(self, connection: LocalConnection) -> None:
        """Forget a connection whose descriptor is closed."""
        self._connections.discard(connection)
        self._free(connection)
        if connection in self._turned_away:
            self._turned_away.remove(connection)

    def turn_away(self, connection: LocalConnection) -> None:
        """Let a connection stay a moment without a place, to read why; of too many, the oldest goes."""
        self._free(connection)
        self._turned_away.append(connection)
        if len(self._turned_away) > MAX_TURNED_AWAY:
            self._turned_away.popleft().abort()

    def _take_from(self, holder: Holder) -> bool:
        """End a connection of `holder`: the one that was idle longest, else one that does not read."""
        theirs = [each for each in self._connections if each.holder == holder]
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

    def _free(self, connection: LocalConnection) -> None:
        holder, connection.holder = connection.holder, None
        if holder is not None:
            self._taken[holder] -= 1
            if not self._taken[holder]:
                del self._taken[holder]
