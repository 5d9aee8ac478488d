"""The process's own descriptors, looked at without taking them over."""

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Final

DIRECTORY: Final = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"

RESERVE: Final = 64
"""Descriptors kept free of HTTP connections: libzmq aborts the process when it cannot accept (EMFILE)."""


def open_descriptors() -> list[int]:
    """List the numbers of the descriptors that are open, that of the listing itself among them; raises OSError."""
    return [int(name) for name in os.listdir(DIRECTORY)]


def duplicates(descriptors: Iterable[int], *, strict: bool = False) -> Iterator[socket.socket]:
    """Yield a socket object on a duplicate of each descriptor: the number may be closed and given away at any time.

    What cannot be duplicated is left out; with `strict`, OSError is raised where that is for want of descriptors.
    """
    for descriptor in descriptors:
        try:
            copy = os.dup(descriptor)
        except OSError as error:
            if strict and error.errno != errno.EBADF:
                raise
            continue
        try:
            sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            continue
        with sock:
            yield sock
