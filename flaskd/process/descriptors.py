"""Inspect the descriptors of this process without taking them over."""

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Final

DIRECTORY: Final = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"

RESERVE: Final = 64
"""Descriptors that HTTP connections may not take: libzmq aborts the process if it cannot accept (EMFILE)."""


def open_descriptors() -> list[int]:
    """List the open descriptors, including that of the listing itself. Raises OSError."""
    return [int(name) for name in os.listdir(DIRECTORY)]


def duplicates(descriptors: Iterable[int], *, strict: bool = False) -> Iterator[socket.socket]:
    """Yield a socket object on a duplicate of each descriptor: the number itself may be closed and reused at any time.

    Descriptors that cannot be duplicated are skipped; with `strict`, raises OSError if no descriptor is left for a duplicate.
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
