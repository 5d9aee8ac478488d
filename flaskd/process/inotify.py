"""inotify(7): the kernel tells by a descriptor that something in a directory has changed."""

import os
from collections.abc import Iterable
from typing import Final

from flaskd.process import forks

MODIFIED_ATTRIBUTES: Final = 0x4
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATED: Final = 0x100
DELETED: Final = 0x200
DIRECTORY_DELETED: Final = 0x400
DIRECTORY_MOVED: Final = 0x800
ONLY_DIRECTORIES: Final = 0x0100_0000
"""Names of our own for IN_ATTRIB, IN_MOVED_FROM … of <sys/inotify.h>, which are the same on every architecture."""


class Inotify:
    """An inotify instance, until `close`. Raises OSError where the kernel has none to give."""

    def __init__(self) -> None:
        import ctypes

        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError("this system has no inotify")
        self.descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        forks.close_in_children(self)

    def watch(self, directory: str, events: int) -> None:
        """Watch a directory. Raises OSError."""
        self._checked(
            self._libc.inotify_add_watch(self.descriptor, os.fsencode(directory), events | ONLY_DIRECTORIES)
        )

    def discard_events(self) -> None:
        """Read what has happened, so that the descriptor is readable again only for what happens next."""
        try:
            while os.read(self.descriptor, 65536):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close it. Harmless twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def descriptors(self) -> Iterable[int]:
        """Name the descriptor, for `forks`."""
        return [self.descriptor] if self.descriptor >= 0 else []

    def _checked(self, result: int) -> int:
        if result < 0:
            number = self._ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
