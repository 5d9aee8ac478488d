"""Parse an address, and listen on it."""

import errno
import fcntl
import os
import re
import socket
from typing import Final

from flaskd.errors import BindError
from flaskd.listening.listeners import Listener
from flaskd.listening.unix_paths import remove_stale
from flaskd_ctl.contract.endpoint import MAX_PATH

HINTS: Final = {
    errno.EADDRNOTAVAIL: "choose an address of this machine, or 0.0.0.0 or [::] for all of them",
    errno.ENOENT: "create the directory of the socket, or choose another path",
    errno.EACCES: "choose a directory in which you may create a socket",
}


def bind(address: str, *, backlog: int, scheme: str = "http") -> Listener:
    """Listen on `address`: HOST:PORT, [IPV6]:PORT, :PORT, PORT or unix:PATH. For port 0 the kernel chooses one.

    Raises BindError: invalid, in use (and by which process, if known), not permitted, not on this machine.
    """
    parsed = parse(address)
    if isinstance(parsed, str):
        return _bind_unix(parsed, address, backlog)
    host, port = parsed
    try:
        # As bytes if possible: for text, Python loads the IDNA codec, a third of a MiB.
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
        raise _bind_error(address, error, port) from None


def any_port(address: str) -> bool:
    """Tell whether an address leaves the port to the kernel: 0 or HOST:0."""
    port = address.rpartition(":")[2]
    return port.isascii() and port.isdigit() and int(port) == 0 and not address.startswith("unix:")


def parse(address: str) -> str | tuple[str, int]:
    """Return the absolute path of a Unix address, or host and port. Raises BindError for an invalid address."""
    if "://" in address.removeprefix("unix:"):
        raise _invalid(address, "it has a scheme", hint="write only host and port: 127.0.0.1:8000")
    if address.startswith("unix:"):
        path = re.sub("^/+", "/", address.removeprefix("unix:"))
        if not path or path.endswith("/"):
            raise _invalid(address, "it names no socket", hint="write unix:/path/to/socket")
        path = os.path.abspath(path)
        if (length := len(os.fsencode(path))) > MAX_PATH:
            limit = f"the limit for Unix sockets is {MAX_PATH} (unix(7))"
            raise BindError(f"cannot listen on {address}: its path is {length} bytes long; {limit}")
        return path
    host, separator, port = address.rpartition(":")
    if not separator:
        host = "127.0.0.1"
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise _invalid(address, "IPv6 is written [::1]:8000", hint="put the address in brackets")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        hint = "write 127.0.0.1:8000, [::1]:8000 or unix:/path/to/socket"
        raise _invalid(address, f"{port!r} is no port (0 to 65535)", hint=hint)
    return host or "0.0.0.0", int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: a name that cannot be resolved cannot be bound either."""
    import ipaddress  # 0.3 MiB, and only `flaskd dev` asks

    if not host.isascii():
        return False
    try:
        found = socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM)
    except OSError:
        return True
    return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)


def _invalid(address: str, reason: str, *, hint: str) -> BindError:
    return BindError(f"{address!r} is not an address: {reason}", hint=hint)


def _bind_unix(path: str, address: str, backlog: int) -> Listener:
    """Listen at `path`. A dead socket of ours is replaced; anything else is refused."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(
                directory, fcntl.LOCK_EX
            )  # two starts at once must not both find the same dead socket
            if problem := remove_stale(path):
                raise BindError(f"cannot listen on {address}: {problem}", hint="choose another path")
            sock.bind(path)
            sock.listen(backlog)
        finally:
            os.close(directory)
        return Listener(sock, path)
    except OSError as error:
        sock.close()
        raise _bind_error(address, error, None) from None
    except BindError:
        sock.close()
        raise


def _bind_error(address: str, error: OSError, port: int | None) -> BindError:
    reason, hint = error.strerror or str(error), HINTS.get(error.errno or 0, "")
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port) if port else None
        reason = "the address is in use" + (f" by {holder}" if holder else "")
        hint = "stop it, or choose another --bind"
    elif error.errno == errno.EACCES and port is not None and port < 1024:
        reason, hint = "ports below 1024 need CAP_NET_BIND_SERVICE", "choose a port from 1024 on"
    else:
        reason = reason[0].lower() + reason[1:]
    return BindError(f"cannot listen on {address}: {reason}", hint=hint)


def holder_of(port: int) -> str | None:
    """Return the process that listens on TCP `port` ("python3 (pid 7)"), if /proc shows it to us."""
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
            continue  # it has ended, or belongs to another user
    return None
