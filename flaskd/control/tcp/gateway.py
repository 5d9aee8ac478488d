"""The TCP gateway: accepts, counts and times connections, and forwards each to libzmq's Unix socket.

libzmq does not count its connections, and a process that runs out of descriptors is aborted by libzmq at the next connection
to a Unix socket. So we accept connections ourselves, no more than there is room for, and copy bytes between each and libzmq,
which does the cryptography. docs/decisions/0070 lists the alternatives.

A client is authenticated when it has proved that it has an authorized key. We see this by libzmq's READY, the only command
that it sends to nobody else (ZeroMQ RFC 26: greeting, WELCOME, READY, in this order and of known length; names of commands are
not encrypted). Other clients have HANDSHAKE_TIME. If there are too many, we drop the oldest one of the host that has the most;
of authenticated clients, that host's longest silent one. So a flood from one host does not lock out another.
"""

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections import Counter
from typing import Final, cast

from flaskd.control.transports.local import FLUSH_TIME
from flaskd.listening.listeners import Listener

# Of the loop, in which asyncio makes an accepted socket a connection, and reads from it or closes it.
TURNS: Final = 4
MAX_UNAUTHENTICATED: Final = 32
MAX_AUTHENTICATED: Final = 64
MAX_LEAVING: Final = 32  # clients that are gone, of which libzmq has not read all
ACCEPTED_PER_TURN: Final = 2  # connections that asyncio accepts in one turn of the loop
BACKLOG: Final = 256  # connections that wait for that in the kernel, where they take no descriptor
DESCRIPTORS: Final = 3 * (MAX_UNAUTHENTICATED + MAX_AUTHENTICATED) + 2 * MAX_LEAVING + ACCEPTED_PER_TURN
"""Descriptors that the gateway may take: for each client a TCP socket and both ends of a Unix one; these, of one that leaves.

While MAX_LEAVING leave, nobody comes: who leaves then takes fewer than before.
"""

HANDSHAKE_TIME: Final = 5.0  # seconds from the connection to the proof of a key
UNREAD_TIME: Final = 60.0  # seconds in which a client may leave unread what is sent to it
CLOSE_TIME: Final = 2.0  # seconds in which a client may read what libzmq sent last

BEFORE_READY: Final = 64 + 170
"""Bytes of a greeting and of a WELCOME command with its frame."""
READY: Final = b"\x05READY"
ENOUGH: Final = 16  # bytes of the next frame in which the name of its command is found
KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3))
"""A host that disappears is noticed after two minutes (tcp(7))."""


class Gateway:
    """Forwards the connections of TCP listeners to the Unix socket at `path`; on the running loop."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.loop = asyncio.get_running_loop()
        self._servers: list[tuple[asyncio.Server, Listener]] = []
        self._clients: set[ClientConnection] = set()
        self._leaving: set[ClientConnection] = set()
        self._empty = asyncio.Event()

    async def open(self, listeners: list[Listener]) -> None:
        """Start to accept."""
        for listener in listeners:
            server = await self.loop.create_server(
                lambda: ClientConnection(self), sock=listener.socket, backlog=ACCEPTED_PER_TURN
            )
            listener.socket.listen(BACKLOG)  # create_server uses `backlog` for both
            self._servers.append((server, listener))

    async def stop_accepting(self) -> None:
        """Stop accepting. Returns when each socket that asyncio has accepted is a connection."""
        for _, listener in self._servers:
            self.loop.remove_reader(listener.socket)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for server, listener in self._servers:
            server.close()
            listener.close()

    async def close(self) -> None:
        """Wait until libzmq has ended each connection and its last bytes are sent; abort connections that take longer."""
        if self._clients:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), FLUSH_TIME)
        for client in list(self._clients):
            client.abort()
        for _ in range(TURNS):  # in which asyncio closes what was aborted
            await asyncio.sleep(0)

    def admit(self, client: "ClientConnection") -> None:
        """Add an unauthenticated client. If there are too many, drop one."""
        self._clients.add(client)
        if len(self._leaving) >= MAX_LEAVING:
            client.abort()
            return
        others = [each for each in self._clients if not each.authenticated]
        if len(others) > MAX_UNAUTHENTICATED:
            of_host = Counter(each.host for each in others)
            max(others, key=lambda each: (of_host[each.host], -each.since)).abort()

    def make_room(self) -> None:
        """Make room for one more authenticated client: drop the longest silent one of the host that has the most."""
        known = [each for each in self._clients if each.authenticated]
        if len(known) >= MAX_AUTHENTICATED:
            of_host = Counter(each.host for each in known)
            max(known, key=lambda each: (of_host[each.host], -each.last_heard)).abort()

    def remove(self, client: "ClientConnection") -> None:
        """Forget a client that is gone."""
        self._clients.discard(client)
        if not self._clients:
            self._empty.set()

    def leaves(self, client: "ClientConnection") -> None:
        """Remember a client that is gone and still has a connection to libzmq."""
        self._leaving.add(client)

    def left(self, client: "ClientConnection") -> None:
        """Forget it too: libzmq has closed that connection."""
        self._leaving.discard(client)


class ClientConnection(asyncio.Protocol):
    """One TCP connection, and our connection to libzmq for it. If one side does not read, we do not read from the other.

    Of a client that is gone, libzmq sees the end of what it sent, never a connection that is closed: it would abort the process
    if messages wait that nobody has taken from it yet, and a PING, or a time for one, comes behind them (4.3.5: an engine whose
    input is stopped forgets its descriptor at POLLHUP, and then may not write).
    """

    transport: asyncio.Transport

    def __init__(self, gateway: Gateway) -> None:
        self.host = ""
        self.authenticated = False
        self.since = self.last_heard = time.monotonic()
        self._gateway = gateway
        self._seen = b""
        self._upstream: asyncio.Transport | None = None
        self._gone = False
        self._timer = gateway.loop.call_later(HANDSHAKE_TIME, self.abort)
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to libzmq."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()
        self.host = network_of(str(transport.get_extra_info("peername")[0]))
        _keep_alive(transport.get_extra_info("socket"))
        self._gateway.admit(self)
        if not self._gone:
            self._connecting = self._gateway.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self._gateway.loop.create_unix_connection(
                lambda: UpstreamConnection(self), self._gateway.path
            )
        except OSError:  # no descriptor is left, or we are closing
            self.abort()

    def connected(self, upstream: asyncio.Transport) -> None:
        """Start to forward."""
        if self._gone:
            upstream.abort()
            return
        self._upstream = upstream
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Forward to libzmq; nothing is read before it is connected."""
        self.last_heard = time.monotonic()
        if self._upstream is not None:
            self._upstream.write(data)

    def pause_writing(self) -> None:
        """Stop reading from libzmq: the client does not read. It may be slow for UNREAD_TIME."""
        if self.authenticated:
            self._timer.cancel()
            self._timer = self._gateway.loop.call_later(UNREAD_TIME, self.abort)
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_writing(self) -> None:
        """Read from libzmq again."""
        if self.authenticated and self._upstream is not None:
            self._timer.cancel()
        if self._upstream is not None:
            self._upstream.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell libzmq that nothing more comes; it disconnects when it has read all."""
        self._gone = True
        self._timer.cancel()
        if self._upstream is not None:
            self._gateway.leaves(self)
            self._upstream.resume_reading()
            self._upstream.write_eof()
        self._gateway.remove(self)

    def upstream_sent(self, data: bytes) -> None:
        """Forward to the client, and check whether libzmq has authenticated it."""
        if self._gone:
            return
        if not self.authenticated:
            self._seen, ready = find_ready(self._seen, data)
            if ready:
                self._timer.cancel()
                self._gateway.make_room()
                self.authenticated = True
        self.transport.write(data)

    def upstream_closed(self) -> None:
        """Close once the last bytes of libzmq are sent."""
        self._upstream = None
        self._gateway.left(self)
        if self._gone:
            return
        self.transport.close()
        self._timer.cancel()
        self._timer = self._gateway.loop.call_later(CLOSE_TIME, self.abort)

    def abort(self) -> None:
        """Close at once. The client no longer counts: asyncio reports the end a turn later."""
        self._gone = True
        self.transport.abort()
        self._gateway.remove(self)


class UpstreamConnection(asyncio.Protocol):
    """A client's connection to libzmq."""

    def __init__(self, client: ClientConnection) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to forward."""
        self._client.connected(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        """Forward to the client."""
        self._client.upstream_sent(data)

    def pause_writing(self) -> None:
        """Stop reading from the client: libzmq's queue for it is full."""
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the client again."""
        self._client.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Disconnect the client."""
        self._client.upstream_closed()


def find_ready(seen: bytes, data: bytes) -> tuple[bytes, bool]:
    """Look for READY in `data` from libzmq, which follows `seen`. Return what to remember, and whether READY was found.

    READY is the name in the frame after WELCOME: a byte of flags, then a length of one byte or, with bit 1 set, of eight.
    """
    seen += data[: BEFORE_READY + ENOUGH - len(seen)]
    frame = seen[BEFORE_READY:]
    return seen, bool(frame) and frame[9 if frame[0] & 2 else 2 :].startswith(READY)


def network_of(address: str) -> str:
    """Return what counts as one host: an IPv4 address, or the /64 network of an IPv6 address (RFC 4291)."""
    with contextlib.suppress(ValueError):
        known = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is None:
            return str(ipaddress.ip_network((known, 64), strict=False))
    return address


def _keep_alive(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has disconnected already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
