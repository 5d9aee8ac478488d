"""What a process has that a forked child would not have, or would have to share: threads, and connections.

A fork copies only the thread that forks (fork(2)): in the child, what another thread would do is never done, and a lock that it
held is held for ever. A connected stream is shared: parent and children write into one another's messages.

Threads that a library ends itself before each fork, as OpenBLAS does (pthread_atfork(3)), are no hazard: so there is a fork
before they are looked for. Neither are datagrams: each is whole, whoever sends it (a syslog or statsd client).
"""

import contextlib
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

from flaskd.process.descriptors import duplicates, open_descriptors

TASKS: Final = "/proc/self/task"

ENDING_TIME: Final = 1.0
"""Seconds that threads which are ending get; `Thread.join` returns a moment before the thread is gone."""

STREAMS: Final = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)


class ForkHazards:
    """Finds what has come since it was made."""

    def __init__(self) -> None:
        self._sockets = {inode for _, inode in _sockets()}
        self._threads = set(_tasks())

    def found(self) -> list[str]:
        """Describe each thread and each connection. Forks once."""
        if (child := os.fork()) == 0:
            os._exit(0)
        with contextlib.suppress(ChildProcessError):  # who ignores SIGCHLD has waited too
            os.waitpid(child, 0)
        deadline = time.monotonic() + ENDING_TIME
        while (threads := self._new_threads()) and time.monotonic() < deadline:
            time.sleep(0.01)
        connections = [_connection(number) for number, inode in _sockets() if inode not in self._sockets]
        return [*threads, *filter(None, connections)]

    def _new_threads(self) -> list[str]:
        frames = sys._current_frames()
        pythons = {each.native_id: each for each in threading.enumerate()}
        found = []
        for task in _tasks():
            if task in self._threads or task == threading.get_native_id():
                continue
            thread = pythons.get(task)
            if thread is None:
                name = _name_of(task)
                nameless = name == _name_of(os.getpid())  # it has its creator's
                found.append("a thread of a library" if nameless else f"a thread of a library, {name!r}")
            else:
                frame = frames.get(thread.ident) if thread.ident is not None else None
                found.append(f"the thread {thread.name!r}{_place(frame)}")
        return found


def _tasks() -> list[int]:
    """List the threads of this process, by the kernel's ids; without /proc only Python's."""
    try:
        return sorted(map(int, os.listdir(TASKS)))
    except FileNotFoundError:
        return [each.native_id for each in threading.enumerate() if each.native_id is not None]


def _name_of(task: int) -> str:
    try:
        with open(f"{TASKS}/{task}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "?"


def _place(frame: FrameType | None) -> str:
    """Say in which function a thread began: the outermost one that is not `threading`'s."""
    found = ""
    while frame is not None:
        if frame.f_code.co_filename != threading.__file__:
            found = f" ({frame.f_code.co_name}, {frame.f_code.co_filename}, line {frame.f_lineno})"
        frame = frame.f_back
    return found


def _sockets() -> Iterator[tuple[int, int]]:
    """Yield the descriptor and the inode of each socket; without /proc none."""
    numbers: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        numbers = open_descriptors()
    for number in numbers:
        try:
            status = os.fstat(number)
        except OSError:
            continue
        if stat.S_ISSOCK(status.st_mode):
            yield number, status.st_ino


def _connection(number: int) -> str:
    """Describe the connection of a descriptor; "" if it is none, or one end of a pair in this process (socketpair(2))."""
    for sock in duplicates([number]):
        try:
            peer = sock.getpeername()
        except OSError:
            return ""
        if sock.type not in STREAMS or (sock.family == socket.AF_UNIX and not peer):
            return ""
        return f"a connection to {_address(peer)}"
    return ""


def _address(peer: object) -> str:
    if isinstance(peer, tuple):
        host, port = peer[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(peer, bytes):  # an abstract name, unix(7)
        return "@" + peer[1:].decode(errors="backslashreplace")
    return str(peer)
