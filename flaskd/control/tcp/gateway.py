"""The door for TCP: connections are accepted here, counted and timed, and passed on to libzmq's own Unix socket.

libzmq does not count its connections, and a process that runs out of descriptors is aborted by it at the next one on a Unix
socket. So we take connections from the kernel, no more than there is room for, and carry bytes between each and libzmq, which
keeps the cryptography to itself. docs/decisions/0070 has what else was thought of.

A stranger is who has not proved a key. What is seen of the proof is libzmq's READY, the only command that it sends to nobody
else (ZeroMQ RFC 26: greeting, WELCOME, READY, in this order and of known length; names of commands are not encrypted).
Strangers have HANDSHAKE_TIME; when there are too many, one of the address that has the most of them goes, the oldest. The same
holds for those who have proved a key, where the one that was silent longest goes. So a flood from one host does not keep
another out.
"""

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections import Counter
from typing import Final, cast

from flaskd.listening.listeners import Listener

MAX_UNAUTHENTICATED: Final = 32
MAX_AUTHENTICATED: Final = 64
AT_A_TIME: Final = 8  # connections that asyncio accepts in a turn
BACKLOG: Final = 256  # connections that wait for that in the kernel, where they cost no descriptor
DESCRIPTORS: Final = 3 * (MAX_UNAUTHENTICATED + MAX_AUTHENTICATED) + AT_A_TIME
"""What the gateway may take: each client is a TCP socket and both ends of a Unix one."""

HANDSHAKE_TIME: Final = 5.0  # seconds from the connection to the proof of a key
UNREAD_TIME: Final = 60.0  # seconds in which a client has read nothing of what waits for it
CLOSE_TIME: Final = 2.0  # seconds in which a client may read what libzmq said last
TURNS: Final = 4  # of the loop, in which asyncio makes an accepted socket a connection

BEFORE_READY: Final = 64 + 170
"""Bytes of a greeting and of a WELCOME command with its frame."""
READY: Final = b"\x05READY"
ENOUGH: Final = 16  # bytes of the frame after these, to read the name of its command
KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3))
"""A host that vanished is noticed after two minutes (tcp(7))."""


class Gateway:
    """Serves TCP listeners by carrying bytes to and from the Unix socket at `path`; on the running loop."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.loop = asyncio.get_running_loop()
        self._servers: list[tuple[asyncio.Server, Listener]] = []
        self._clients: set[ClientConnection] = set()
        self._empty = asyncio.Event()

    async def open(self, listeners: list[Listener]) -> None:
        """Begin to accept."""
        for listener in listeners:
            server = await self.loop.create_server(
                lambda: ClientConnection(self), sock=listener.socket, backlog=AT_A_TIME
            )
            listener.socket.listen(BACKLOG)  # what create_server was told is both
            self._servers.append((server, listener))

    async def stop_accepting(self) -> None:
        """Accept no more; returns when what asyncio has accepted is a connection."""
        for _, listener in self._servers:
            self.loop.remove_reader(listener.socket)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for server, listener in self._servers:
            server.close()
            listener.close()

    async def end(self, *, timeout: float) -> None:
        """Wait until libzmq has ended each connection and its last words have left; cut those that take longer."""
        if self._clients:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), timeout)
            except TimeoutError:
                for client in list(self._clients):
                    client.abort()
        for _ in range(TURNS):  # in which asyncio closes what was aborted
            await asyncio.sleep(0)

    def admit(self, client: "ClientConnection") -> None:
        """Let a stranger in, and make room for it."""
        self._clients.add(client)
        strangers = [each for each in self._clients if not each.known]
        if len(strangers) > MAX_UNAUTHENTICATED:
            crowds = Counter(each.host for each in strangers)
            max(strangers, key=lambda each: (crowds[each.host], -each.since)).abort()

    def authenticated(self, client: "ClientConnection") -> None:
        """Make room for one more who is known: of the address that has the most, who has been silent longest goes."""
        known = [each for each in self._clients if each.known]
        if len(known) > MAX_AUTHENTICATED:
            crowds = Counter(each.host for each in known)
            others = (each for each in known if each is not client)
            max(others, key=lambda each: (crowds[each.host], -each.last_heard)).abort()

    def forget(self, client: "ClientConnection") -> None:
        """Take a client off the list."""
        self._clients.discard(client)
        if not self._clients:
            self._empty.set()


class ClientConnection(asyncio.Protocol):
    """One TCP connection and, behind it, ours to libzmq. What one side does not read is not read from the other."""

    def __init__(self, gateway: Gateway) -> None:
        self.host = ""
        self.known = False
        self.since = self.last_heard = time.monotonic()
        self._gateway = gateway
        self._seen = b""
        self._transport: asyncio.Transport
        self._upstream: asyncio.Transport | None = None
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Go to libzmq."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        self.host = network_of(str(transport.get_extra_info("peername")[0]))
        _keep_alive(transport.get_extra_info("socket"))
        self._timer = self._gateway.loop.call_later(HANDSHAKE_TIME, self.abort)
        self._gateway.admit(self)
        if not self._gone:
            self._reaching = self._gateway.loop.create_task(self._reach())

    async def _reach(self) -> None:
        try:
            await self._gateway.loop.create_unix_connection(
                lambda: UpstreamConnection(self), self._gateway.path
            )
        except OSError:  # no descriptor left, or we are closing
            self.abort()

    def reached(self, upstream: asyncio.Transport) -> None:
        """Carry bytes from now on."""
        if self._gone:
            upstream.abort()
            return
        self._upstream = upstream
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Carry what came from outside; nothing comes before libzmq is reached."""
        self.last_heard = time.monotonic()
        if self._upstream is not None:
            self._upstream.write(data)

    def pause_writing(self) -> None:
        """The other host does not read: for a while it may be slow."""
        if self.known:
            self._timer.cancel()
            self._timer = self._gateway.loop.call_later(UNREAD_TIME, self.abort)
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if self.known and self._upstream is not None:
            self._timer.cancel()
        if self._upstream is not None:
            self._upstream.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other host has left."""
        self._gone = True
        self._timer.cancel()
        if self._upstream is not None:
            self._upstream.abort()
        self._gateway.forget(self)

    def said(self, data: bytes) -> None:
        """Carry what libzmq said, and look whether it has let the client in."""
        if not self.known:
            self._seen, self.known = find_ready(self._seen, data)
            if self.known:
                self._timer.cancel()
                self._gateway.authenticated(self)
        self._transport.write(data)

    def hold(self) -> None:
        """Read no more from outside: libzmq does not take it."""
        self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def upstream_closed(self) -> None:
        """Close when the last words of libzmq, which has closed, have left."""
        self._upstream = None
        self._transport.close()
        self._timer.cancel()
        self._timer = self._gateway.loop.call_later(CLOSE_TIME, self.abort)

    def abort(self) -> None:
        """Close at once, and not count from now on: asyncio tells of the end a turn later."""
        self._gone = True
        self._transport.abort()
        self._gateway.forget(self)


class UpstreamConnection(asyncio.Protocol):
    """A client's connection to libzmq."""

    def __init__(self, client: ClientConnection) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._client.reached(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        """Carry it outside."""
        self._client.said(data)

    def pause_writing(self) -> None:
        """Hold back what libzmq does not read: its queue for this peer is full."""
        self._client.hold()

    def resume_writing(self) -> None:
        """It reads again."""
        self._client.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the visit."""
        self._client.upstream_closed()


def find_ready(seen: bytes, said: bytes) -> tuple[bytes, bool]:
    """Look for READY in what libzmq has `said`, after what was `seen` before; return what to remember, and whether it came.

    It is the name in the frame after WELCOME: a byte of flags, then a length of one byte or, with bit 1 set, of eight.
    """
    seen += said[: BEFORE_READY + ENOUGH - len(seen)]
    frame = seen[BEFORE_READY:]
    return seen, bool(frame) and frame[9 if frame[0] & 2 else 2 :].startswith(READY)


def network_of(address: str) -> str:
    """Return what counts as one host: an IPv4 address, or the /64 of an IPv6 one, of which everybody has a whole (RFC 4291)."""
    with contextlib.suppress(ValueError):
        known = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is None:
            return str(ipaddress.ip_network((known, 64), strict=False))
    return address


def _keep_alive(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has left already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
