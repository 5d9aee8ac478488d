"""The addresses we serve HTTP on: bind, look at the accept queue, turn away, close.

What Linux offers for closing a listener without resetting anybody (section numbers in docs/no-request-lost.md):
a classic BPF program on a listening socket sees each segment from its TCP header on (tcp_filter in net/ipv4/tcp_ipv4.c and
tcp_ipv6.c); dropping SYN without ACK lets handshakes under way complete while no new one begins. Linux 6.18 lets only
CAP_NET_ADMIN attach one to a TCP socket (EPERM). Then IP_MINTTL and IPV6_MINHOPCOUNT do the same for anybody: tcp_v4_rcv
looks at a listener's min_ttl after it has served handshakes under way, and drops what says less than 255; operating systems
send 64 or 128. A connection inherits it from its listener, so `unblock` takes it off again; until then its second segment is
dropped, and comes again 0.2 s later (seen). The accept queue's length is `tcpi_unacked` of TCP_INFO (tcp_get_info in
net/ipv4/tcp.c).
Elsewhere `block_new` cannot be done for TCP: a connection that begins between the last accept and the close is lost.
"""

import errno
import fcntl
import os
import re
import select
import socket
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from flaskd.errors import BindError
from flaskd.listening import handshakes
from flaskd.listening.unix_paths import accepted_at, identity_at, is_listening
from flaskd.process import forks
from flaskd_ctl.contract.endpoint import MAX_PATH

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
    """One listening socket of ours. Only the owner closes it; the engine accepts from it."""

    def __init__(self, sock: socket.socket, path: str | None = None, *, scheme: str = "http") -> None:
        self.socket = sock
        self._identity = identity_at(path) if path else None
        self._path = path
        self._family = sock.family
        self._port = 0 if sock.family == socket.AF_UNIX else sock.getsockname()[1]
        self.url = _url(sock, path, scheme)
        self.block_is_inherited = (
            False  # whether connections have what turns new ones away, until somebody says `unblock`
        )
        sock.setblocking(False)
        forks.close_in_children(self)

    def descriptors(self) -> Iterable[int]:
        """Name our descriptor, for `forks`."""
        return [self.socket.fileno()] if self.socket.fileno() >= 0 else []

    def queued(self) -> bool:
        """Tell whether a connection waits in the accept queue."""
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        return bool(poller.poll(0))

    def queue_length(self) -> int:
        """Count the connections in the accept queue; where that cannot be known, 1 if there is any. Closed, it has none."""
        if self.socket.fileno() < 0:
            return 0
        if LINUX and self._path is None:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, QUEUE_OFFSET + 4)
            return int(struct.unpack_from("=I", info, QUEUE_OFFSET)[0])
        return int(self.queued())

    def half_open(self) -> bool:
        """Tell whether a handshake with us is under way."""
        if self._path is not None:
            return False
        return handshakes.under_way(self._family, self._port)

    def accepted(self) -> set[int]:
        """Return the inodes of the accepted connections to us, also when closed (Linux; elsewhere none is seen)."""
        if self._path is not None:
            return accepted_at(self._path)
        return handshakes.accepted(self._family, self._port)

    def block_new(self) -> None:
        """Let no new connection begin, without touching those that have: drop SYN, or unlink the path."""
        if self._path is not None:
            self._unlink()
        elif LINUX:
            try:
                self._attach_filter()
            except PermissionError:
                _admit_from(self.socket, 255)
                self.block_is_inherited = True

    def _attach_filter(self) -> None:
        import ctypes  # once in an instance's life, at its end

        program = b"".join(struct.pack("=HBBI", *instruction) for instruction in DROP_SYN)
        buffer = ctypes.create_string_buffer(program)
        self.socket.setsockopt(
            socket.SOL_SOCKET,
            SO_ATTACH_FILTER,
            struct.pack("HP", len(DROP_SYN), ctypes.addressof(buffer)),
        )

    def close(self) -> None:
        """Stop listening at once, also where a forked child holds the socket too. Harmless twice."""
        if self.socket.fileno() < 0:
            return
        if self._path is not None:
            self._unlink()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in {errno.ENOTCONN, errno.EINVAL}:  # macOS says ENOTCONN of a listener
                raise
        self.socket.close()

    def _unlink(self) -> None:
        """Remove our path, unless another file stands there by now."""
        if self._path is not None and self.in_place():
            os.unlink(self._path)

    def in_place(self) -> bool:
        """Tell whether a Unix socket of ours is still at its path."""
        return self._path is not None and identity_at(self._path) == self._identity


class SharedListener(Listener):
    """A listening socket that others go on with: to be accepted from, and let go of without a trace."""

    def __init__(self, descriptor: int, *, scheme: str = "http") -> None:
        sock = socket.socket(fileno=descriptor)
        super().__init__(sock, scheme=scheme)

    def queued(self) -> bool:
        """What waits is for the others."""
        return False

    def queue_length(self) -> int:
        """What waits is for the others."""
        return 0

    def half_open(self) -> bool:
        """What begins is for the others."""
        return False

    def accepted(self) -> set[int]:
        """As for others; the path of a Unix socket is told by the kernel."""
        if self.socket.family != socket.AF_UNIX:
            return super().accepted()
        return accepted_at(_name(self.socket))

    def block_new(self) -> None:
        """Leave the door open."""

    def close(self) -> None:
        """Close our descriptor and nothing else."""
        self.socket.close()


def close_all(listeners: Sequence[Listener]) -> int:
    """Close them; returns how many connections were still in their accept queues."""
    queued = sum(listener.queue_length() for listener in listeners)
    for listener in listeners:
        listener.close()
    return queued


def unblock(sock: socket.socket) -> None:
    """Take off an accepted connection what it may have inherited from a listener that turns new ones away."""
    if LINUX and sock.family != socket.AF_UNIX and sock.getsockopt(socket.IPPROTO_IP, IP_MINTTL):
        _admit_from(sock, 0)


def prepare(listener: socket.socket, *, write_timeout: float) -> None:
    """Set what HTTP connections inherit from their TCP listener (tcp(7)); nothing for a Unix socket.

    No piece of a response waits for the acknowledgement of the one before. And on Linux the kernel closes a connection whose
    client acknowledges, or takes, nothing for `write_timeout` seconds (TCP_USER_TIMEOUT), which costs no timer of ours; it does
    not bound a client that takes a little now and then.
    """
    if listener.family == socket.AF_UNIX:
        return
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if LINUX:
        listener.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, max(1, int(write_timeout * 1000)))


def _admit_from(sock: socket.socket, hops: int) -> None:
    """Drop packets whose time to live is below `hops`; a dual-stack socket has both options."""
    sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, hops)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, hops)


def bind(address: str, *, backlog: int, scheme: str = "http") -> Listener:
    """Listen on `address`: HOST:PORT, [IPV6]:PORT, :PORT, PORT or unix:PATH. Port 0 lets the kernel choose.

    Raises BindError: not an address, busy (and by whom, where that can be known), not permitted, not on this machine.
    """
    parsed = parse(address)
    if isinstance(parsed, str):
        return _bind_unix(parsed, address, backlog)
    host, port = parsed
    try:
        # As bytes where it can be: of a text Python makes IDNA first, for which it loads a third of a MiB.
        family, _, _, _, sockaddr = socket.getaddrinfo(
            host.encode() if host.isascii() else host,
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV,
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise BindError(f"cannot listen on {address}: no such host {host!r} ({error})") from None
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(sockaddr)
        sock.listen(backlog)
        return Listener(sock, scheme=scheme)
    except OSError as error:
        sock.close()
        raise _refusal(address, error, port) from None


def parse(address: str) -> str | tuple[str, int]:
    """Return the absolute path of a Unix address, host and port of another; raise BindError for what is no address."""
    if "://" in address.removeprefix("unix:"):
        raise BindError(
            f"{address!r} is not an address: it has a scheme", hint="write only host and port: 127.0.0.1:8000"
        )
    if address.startswith("unix:"):
        path = re.sub("^/+", "/", address.removeprefix("unix:"))
        if not path or path.endswith("/"):
            raise BindError(
                f"{address!r} is not an address: it names no socket", hint="write unix:/path/to/socket"
            )
        path = os.path.abspath(path)
        if len(os.fsencode(path)) > MAX_PATH:
            raise BindError(
                f"cannot listen on {address}: a Unix socket's path ends at {MAX_PATH} bytes (unix(7))"
            )
        return path
    host, separator, port = address.rpartition(":")
    if not separator:
        host = "127.0.0.1"
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BindError(
            f"{address!r} is not an address: IPv6 is written [::1]:8000", hint="put the address in brackets"
        )
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BindError(
            f"{address!r} is not an address: {port!r} is no port (0 to 65535)",
            hint="write 127.0.0.1:8000, [::1]:8000 or unix:/path/to/socket",
        )
    return host or "0.0.0.0", int(port)


def _bind_unix(path: str, address: str, backlog: int) -> Listener:
    """Listen at `path`; a socket there that nobody listens at is replaced, anything else is left alone and refused."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(
                directory, fcntl.LOCK_EX
            )  # two that start at once must not both find the same socket stale
            _clear_stale(path, address)
            sock.bind(path)
            sock.listen(backlog)
        finally:
            os.close(directory)
        return Listener(sock, path)
    except OSError as error:
        sock.close()
        raise _refusal(address, error, None) from None
    except BindError:
        sock.close()
        raise


def _clear_stale(path: str, address: str) -> None:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise BindError(
            f"cannot listen on {address}: a file that is not a socket stands there",
            hint="choose another path",
        )
    if is_listening(path):
        raise BindError(
            f"cannot listen on {address}: another process listens there", hint="choose another path"
        )
    if there.st_uid != os.geteuid():
        raise BindError(f"cannot listen on {address}: a dead socket of uid {there.st_uid} stands there")
    os.unlink(path)


HINTS: Final = {
    errno.EADDRNOTAVAIL: "choose an address of this machine, or 0.0.0.0 or [::] for all of them",
    errno.ENOENT: "make the directory of the socket, or choose another path",
    errno.EACCES: "choose a place where you may make a socket",
}


def _refusal(address: str, error: OSError, port: int | None) -> BindError:
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port) if port else None
        by = f" by {holder}" if holder else ""
        return BindError(
            f"cannot listen on {address}: the address is in use{by}", hint="stop it, or choose another --bind"
        )
    if error.errno == errno.EACCES and port is not None and port < 1024:
        return BindError(
            f"cannot listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE",
            hint="choose a port from 1024 on",
        )
    return BindError(
        f"cannot listen on {address}: {reason[0].lower()}{reason[1:]}",
        hint=HINTS.get(error.errno or 0, ""),
    )


def holder_of(port: int) -> str | None:
    """Name the process that listens on TCP `port` ("python3 (pid 7)"), as far as /proc lets us see."""
    sockets = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            with open(table, encoding="ascii") as rows:
                fields = [row.split() for row in rows]
        except OSError:
            continue
        sockets |= {
            f"socket:[{row[9]}]" for row in fields if row[1].endswith(f":{port:04X}") and row[3] == "0A"
        }
    for pid in [entry for entry in os.listdir("/proc") if entry.isdigit()] if sockets else []:
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in sockets:
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
                        return f"{comm.read().strip()} (pid {pid})"
        except OSError:
            continue  # it ended meanwhile, or is not ours to look into
    return None


def _name(sock: socket.socket) -> str:
    """Return the name of a Unix socket as /proc/net/unix has it: an abstract one begins with @ (unix(7))."""
    name = os.fsdecode(sock.getsockname())
    return f"@{name[1:]}" if name.startswith("\0") else name


def _url(sock: socket.socket, path: str | None, scheme: str) -> str:
    if sock.family == socket.AF_UNIX:
        return f"unix:{path or _name(sock)}"
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{scheme}://{host}:{port}"
