"""Listening sockets: look at the accept queue, block new connections, close.

How Linux can close a listener without resetting a connection (section numbers in docs/no-request-lost.md): a classic BPF
program on a listening socket sees each segment from its TCP header on (tcp_filter in net/ipv4/tcp_ipv4.c and tcp_ipv6.c). If it
drops SYN without ACK, handshakes under way complete while no new one begins. Linux 6.18 lets only CAP_NET_ADMIN attach one to a
TCP socket (EPERM). Without it, IP_MINTTL and IPV6_MINHOPCOUNT do the same: tcp_v4_rcv checks a listener's min_ttl after it has
handled handshakes under way, and drops packets with a TTL below 255; operating systems send 64 or 128. A connection inherits
the option from its listener, so `unblock` resets it; until then its second segment is dropped, and sent again 0.2 s later
(measured). The length of the accept queue is `tcpi_unacked` of TCP_INFO (tcp_get_info in net/ipv4/tcp.c).
Other systems, and kernels that refuse both options, cannot block new TCP connections: one that begins between the last accept
and the close is lost.
"""

import contextlib
import os
import select
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from flaskd.guard import log_failure, warn_once
from flaskd.listening import handshakes
from flaskd.listening.unix_paths import accepted_at, identity_at
from flaskd.process import forks

LINUX: Final = sys.platform == "linux"
SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
TCP_USER_TIMEOUT: Final = 18  # linux/tcp.h; milliseconds
IP_MINTTL: Final = 21  # linux/in.h
IPV6_MINHOPCOUNT: Final = 73  # linux/in6.h
QUEUE_OFFSET: Final = 24  # tcpi_unacked in struct tcp_info, linux/tcp.h

# ldb [13]; and #0x12; jeq #0x02 ? drop : accept   (flags are byte 13 of a TCP header, SYN 0x02, ACK 0x10: RFC 9293)
DROP_SYN: Final = (
    (0x30, 0, 0, 13),
    (0x54, 0, 0, 0x12),
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


class Listener:
    """A listening socket. Only its owner closes it; the engine accepts from it.

    After `block_new`, `block_is_inherited` says whether accepted connections need `unblock`.
    """

    def __init__(self, sock: socket.socket, path: str | None = None, *, scheme: str = "http") -> None:
        self.socket = sock
        self._identity = identity_at(path) if path else None
        self._path = path
        self._family = sock.family
        self._port = 0 if sock.family == socket.AF_UNIX else sock.getsockname()[1]
        self.url = _url(sock, path, scheme)
        self.block_is_inherited = False
        self._said: set[str] = set()  # failures that are logged
        sock.setblocking(False)
        forks.close_in_children(self)

    def descriptors(self) -> Iterable[int]:
        """Return our descriptor, for `forks`."""
        return [self.socket.fileno()] if self.socket.fileno() >= 0 else []

    def queued(self) -> bool:
        """Return whether a connection waits in the accept queue."""
        return _queued(self.socket)

    def queue_length(self) -> int:
        """Return the number of connections in the accept queue, 0 if closed. At most 1 if the kernel does not tell."""
        if self.socket.fileno() < 0:
            return 0
        return queue_length(self.socket)

    def waiting(self) -> int:
        """Return the number of connections in the accept queue, whoever they are left to."""
        return Listener.queue_length(self)

    def half_open(self) -> bool:
        """Return whether a TCP handshake with us is under way."""
        return self._path is None and handshakes.under_way(self._family, self._port)

    def accepted(self) -> set[int]:
        """Return the inodes of our accepted connections, even when closed (Linux; otherwise empty)."""
        if self._path is not None:
            return accepted_at(self._path)
        return handshakes.accepted(self._family, self._port)

    def block_new(self) -> None:
        """Block new connections without affecting those that have begun: drop SYN, or unlink the path."""
        if self._path is not None:
            self._unlink()
        elif LINUX:
            try:
                self._attach_filter()
            except OSError:  # without CAP_NET_ADMIN, or unknown to this kernel
                self.block_is_inherited = True
                with log_failure(f"block new connections to {self.url} before it closes"):
                    _set_min_ttl(self.socket, 255)

    def _attach_filter(self) -> None:
        import ctypes  # needed only at the end

        program = b"".join(struct.pack("=HBBI", *instruction) for instruction in DROP_SYN)
        buffer = ctypes.create_string_buffer(program)
        self.socket.setsockopt(
            socket.SOL_SOCKET,
            SO_ATTACH_FILTER,
            struct.pack("HP", len(DROP_SYN), ctypes.addressof(buffer)),
        )

    def close(self) -> None:
        """Stop listening at once, even if a forked child also has the socket. May be called twice."""
        if self.socket.fileno() < 0:
            return
        if self._path is not None:
            self._unlink()
        with contextlib.suppress(OSError):  # macOS raises ENOTCONN for a listener
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _unlink(self) -> None:
        """Remove our path, unless it is another file by now. If that is refused, it stays, and nobody listens there."""
        if self._path is not None and self.in_place():
            with log_failure(f"remove {self._path}", said=self._said):
                os.unlink(self._path)

    def in_place(self) -> bool:
        """Return whether our Unix socket is still at its path."""
        return self._path is not None and identity_at(self._path) == self._identity


class SharedListener(Listener):
    """A listening socket that other processes continue to use: we accept from it, and only close our descriptor."""

    def __init__(self, descriptor: int, *, scheme: str = "http") -> None:
        super().__init__(socket.socket(fileno=descriptor), scheme=scheme)

    def queued(self) -> bool:
        """Return False: what waits is left to the others."""
        return False

    def queue_length(self) -> int:
        """Return 0: what waits is left to the others."""
        return 0

    def half_open(self) -> bool:
        """Return False: handshakes are left to the others."""
        return False

    def accepted(self) -> set[int]:
        """Return the inodes of accepted connections; the kernel knows the path of a Unix socket."""
        if self.socket.family != socket.AF_UNIX:
            return super().accepted()
        return accepted_at(_name(self.socket))

    def block_new(self) -> None:
        """Do nothing: the others accept new connections."""

    def close(self) -> None:
        """Close only our descriptor."""
        self.socket.close()


def queue_length(listener: socket.socket) -> int:
    """Return the number of connections in the accept queue; at most 1 if the kernel does not tell, as for a Unix socket."""
    if LINUX and listener.family != socket.AF_UNIX:
        with log_failure("count the accept queue (TCP_INFO)"):
            info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, QUEUE_OFFSET + 4)
            return int(struct.unpack_from("=I", info, QUEUE_OFFSET)[0])
    return int(_queued(listener))


def _queued(listener: socket.socket) -> bool:
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    return bool(poller.poll(0))


def close_all(listeners: Sequence[Listener]) -> int:
    """Close all. Return the number of connections that were still in their accept queues."""
    queued = sum(listener.queue_length() for listener in listeners)
    for listener in listeners:
        with log_failure(f"close {listener.url}"):
            listener.close()
    return queued


def block_all(listeners: Sequence[Listener]) -> None:
    """Block new connections to all."""
    for listener in listeners:
        with log_failure(f"block new connections to {listener.url}"):
            listener.block_new()


def unblock(sock: socket.socket) -> None:
    """Reset the minimum TTL that an accepted connection may have inherited from its listener (see `Listener.block_new`)."""
    if LINUX and sock.family != socket.AF_UNIX:
        with contextlib.suppress(
            OSError
        ):  # unknown to this kernel: then the listener does not have it either
            if sock.getsockopt(socket.IPPROTO_IP, IP_MINTTL):
                _set_min_ttl(sock, 0)


def prepare(listener: socket.socket, *, write_timeout: float) -> None:
    """Set the options that HTTP connections inherit from their TCP listener (tcp(7)); does nothing for a Unix socket.

    TCP_NODELAY: no part of a response waits for the acknowledgement of the part before. TCP_USER_TIMEOUT (Linux): the kernel
    closes a connection whose client acknowledges or reads nothing for `write_timeout` seconds, which needs no timer of ours. It
    does not limit a client that reads a little now and then.
    """
    if listener.family == socket.AF_UNIX:
        return
    options = {socket.TCP_NODELAY: 1}
    if LINUX:
        options[TCP_USER_TIMEOUT] = max(1, int(write_timeout * 1000))
    for option, value in options.items():
        try:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        except OSError as error:
            warn_once(f"TCP option {option} (tcp(7)) is off: {error.strerror}; slow clients are served worse")


def prepare_again(listeners: "Iterable[socket.socket]", *, write_timeout: float) -> None:
    """Set the options anew; connections that are open keep theirs. A listener that is closed by now is left out."""
    for listener in listeners:
        if listener.fileno() >= 0:
            prepare(listener, write_timeout=write_timeout)


def _set_min_ttl(sock: socket.socket, ttl: int) -> None:
    """Drop packets with a TTL below `ttl`. A dual-stack socket has both options."""
    sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, ttl)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, ttl)


def _name(sock: socket.socket) -> str:
    """Return the name of a Unix socket as in /proc/net/unix: an abstract one starts with @ (unix(7))."""
    name = os.fsdecode(sock.getsockname())
    return f"@{name[1:]}" if name.startswith("\0") else name


def _url(sock: socket.socket, path: str | None, scheme: str) -> str:
    if sock.family == socket.AF_UNIX:
        return f"unix:{path or _name(sock)}"
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{scheme}://{host}:{port}"
