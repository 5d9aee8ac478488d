"""Finds an engine's connections among the process's own descriptors, for an engine that does not report them.

A descriptor is such a connection if it is a socket that has a peer and the local address of a listener. From outside one can
only see whether bytes move: `unsent` connections have output that the client has not yet taken, `quiet` ones have none.
"""

import contextlib
import fcntl
import ipaddress
import os
import socket
import stat
import struct
import sys
import termios
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from flaskd.engines.granian_engine import epoll
from flaskd.engines.shared import closing
from flaskd.guard import warn_once
from flaskd.listening.listeners import unblock
from flaskd.process.descriptors import duplicates, open_descriptors

LINUX: Final = sys.platform == "linux"
ACKED_OFFSET: Final = 120  # tcpi_bytes_acked, a u64, in struct tcp_info, linux/tcp.h
MOST_SETS: Final = 5  # epoll sets, one for each listener, that other workers can know of
WILDCARDS: Final = {"0.0.0.0", "::"}


class ConnectionCounter:
    """Counts the connections that `finder` finds by the size of the epoll sets which have the `listeners` of granian.

    That is one file to read, while to find connections takes a call for each descriptor. granian does not tell when one ends,
    so nobody can keep the number up to date: other workers count them, too, when they want to know. `hint` tells them where.
    """

    def __init__(self, finder: "ConnectionFinder", listeners: Iterable[int]) -> None:
        self._finder = finder
        # granian has more than one descriptor of each set.
        self._sets = [each for listener in listeners for each in islice(epoll.sets_with(listener), 1)]
        self._others = sum(map(epoll.count, self._sets)) - len(finder.find()) if self._sets else 0

    def count(self) -> int:
        """Return how many connections are open, more or less: some come and go meanwhile."""
        counted = self.count_of(self.hint)
        return len(self._finder.find()) if counted is None else counted

    @property
    def hint(self) -> list[int]:
        """What `count_of` wants, in another process, too; empty where nobody can count."""
        if not self._sets or len(self._sets) > MOST_SETS:
            return []
        return [os.getpid(), self._others, *(each + 1 for each in self._sets)]

    @staticmethod
    def count_of(hint: Sequence[int]) -> int | None:
        """Return how many connections are open in the process that `hint` is of; None if it cannot be known."""
        process, others, *sets = hint or (0, 0)
        try:
            counted = sum(epoll.count(each - 1, process) for each in sets if each)
        except OSError:  # it has ended, or is not ours to know
            return None
        return max(0, counted - others) if process else None


class ConnectionFinder:
    """Finds connections to `listeners` in this process. For any thread."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._local = [listener.getsockname() for listener in listeners]
        self._lock = threading.Lock()  # protects _known
        # By descriptor: its inode, and whether it is a connection of ours.
        self._known: dict[int, tuple[int, bool]] = {}

    def find(self) -> list[int]:
        """List the descriptors of the connections that are open now."""
        with self._lock:
            try:
                numbers = open_descriptors()
            except OSError:  # no descriptor left to look with: use what was found before
                return [descriptor for descriptor, (_, ours) in self._known.items() if ours]
            known, self._known = self._known, {}
            for descriptor in numbers:
                try:
                    status = os.fstat(descriptor)
                except OSError:
                    continue  # closed meanwhile, or the listing itself
                if not stat.S_ISSOCK(status.st_mode):
                    continue
                inode, ours = known.get(descriptor, (0, False))
                try:
                    if inode != status.st_ino:
                        ours = self._is_ours(descriptor)
                except OSError:  # no descriptor left to look with: count it, and look again next time
                    self._known[descriptor] = (0, True)
                else:
                    self._known[descriptor] = (status.st_ino, ours)
            return [descriptor for descriptor, (_, ours) in self._known.items() if ours]

    def unsent(self) -> int:
        """Count the connections whose client has not yet taken everything; all of them if that cannot be known."""
        return sum(bool(_unsent(sock)) for sock in self._each(self.find()))

    def quiet(self) -> dict[int, int]:
        """Map the inode of each connection that has nothing unsent to the bytes its client has taken so far.

        Empty if that cannot be known. If two calls return the same number, nothing was written in between.
        """
        if not LINUX:
            return {}
        return {_inode(sock): _taken(sock) for sock in self._each(self.find()) if not _unsent(sock)}

    def shut(self, how: int, only: "Mapping[int, int] | None" = None) -> int:
        """Shut down (shutdown(2)) the connections, or those with an inode in `only`; returns how many there were."""
        count = 0
        for sock in self._each(self.find()):
            if only is None or _inode(sock) in only:
                count += 1
                with contextlib.suppress(OSError):  # the client was quicker
                    sock.shutdown(how)
        return count

    def reset(self, client: tuple[str, str], *, now: bool) -> None:
        """Reset the connection of this client (address and port), `now` or when it is closed; not on a Unix socket."""
        for sock in self._from(client):
            closing.reset_when_closed(sock)
            if now:
                sock.shutdown(socket.SHUT_RDWR)

    def shut_reading(self, client: tuple[str, str]) -> None:
        """Let nothing more be read from this client (address and port); not on a Unix socket."""
        for sock in self._from(client):
            sock.shutdown(socket.SHUT_RD)

    def _from(self, client: tuple[str, str]) -> Iterator[socket.socket]:
        for sock in self._each(self.find()):
            with contextlib.suppress(OSError):  # it has left
                if _is_from(sock.getpeername(), client):
                    yield sock

    def _is_ours(self, descriptor: int) -> bool:
        """Tell whether `descriptor` is a connection of ours; raises OSError where there is none left to look with."""
        for sock in duplicates([descriptor], strict=True):
            try:
                sock.getpeername()
                if not any(_same(sock.getsockname(), local) for local in self._local):
                    return False
                unblock(sock)
                return True
            except OSError:
                return False  # a listener, or a client that has left
        return False

    def _each(self, descriptors: Iterable[int]) -> Iterator[socket.socket]:
        """Yield the connections among `descriptors`, checked again: a number may have been reused."""
        for sock in duplicates(descriptors):
            if any(_same(sock.getsockname(), local) for local in self._local):
                yield sock


def _same(name: Any, local: Any) -> bool:
    """Tell whether a connection's local address `name` is that of a listener bound to `local`."""
    if isinstance(local, tuple) and isinstance(name, tuple):
        return bool(name[1] == local[1] and (name[0] == local[0] or local[0] in WILDCARDS))
    return bool(local) and bool(name == local)


def _is_from(name: Any, client: tuple[str, str]) -> bool:
    """Tell whether a peer's `name` is this address and port, which may be written in another way."""
    if not isinstance(name, tuple) or str(name[1]) != client[1]:
        return False
    return ipaddress.ip_address(name[0].partition("%")[0]) == ipaddress.ip_address(client[0])


def _inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def _unsent(sock: socket.socket) -> int:
    """Return the bytes that the client has not yet taken; 1 if that cannot be known."""
    if not LINUX:
        return 1
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError as error:
        warn_once(
            f"unsent responses cannot be seen (TIOCOUTQ: {error.strerror}): a stop may wait until its deadline"
        )
        return 1


def _taken(sock: socket.socket) -> int:
    if sock.family == socket.AF_UNIX:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKED_OFFSET + 8)
    except OSError:
        return 0
    return int(struct.unpack_from("=Q", info, ACKED_OFFSET)[0]) if len(info) >= ACKED_OFFSET + 8 else 0
