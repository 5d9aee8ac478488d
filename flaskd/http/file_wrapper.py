"""`wsgi.file_wrapper` (PEP 3333): a file as a response's body, which an engine may hand to sendfile(2)."""

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Region(NamedTuple):
    """The rest of a file, for sendfile(2)."""

    descriptor: int
    offset: int
    size: int


class FileWrapper:
    """Iterates over a file in blocks; closing it closes the file."""

    def __init__(self, file: Any, block_size: int = 65_536) -> None:
        self._file = file
        self._block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        while data := self._file.read(self._block_size):
            yield data

    def region(self) -> Region | None:
        """Return the rest of a regular file; None for anything else that can be read."""
        try:
            descriptor = self._file.fileno()
            status = os.fstat(descriptor)
            offset = self._file.tell()
        except (AttributeError, OSError, ValueError):  # as BytesIO, pipes and closed files say it
            return None
        if not stat.S_ISREG(status.st_mode) or not isinstance(offset, int):
            return None
        return Region(descriptor, offset, max(0, status.st_size - offset))


class Watched:
    """Wraps the application's `body`, and has to know what was sent without iterating over it."""

    __slots__ = ()
    body: Iterable[bytes] | None

    def sent(self, size: int) -> None:
        """Note that the response is complete, and that `size` bytes of it were sent without iterating."""
        raise NotImplementedError


def file_of(body: Iterable[bytes]) -> FileWrapper | None:
    """Return the file that `body` iterates over, if it does nothing else."""
    inner = body.body if isinstance(body, Watched) else body
    return inner if isinstance(inner, FileWrapper) else None


def tell_sent(body: Iterable[bytes], size: int) -> None:
    """Tell a `Watched` body that the response is complete, and that `size` bytes of it were sent without iterating."""
    if isinstance(body, Watched):
        body.sent(size)
