"""The newest lines of the log, in memory of bounded size, for `flaskd_ctl logs`.

Threads append; readers on an event loop copy what is new since their position. A reader costs nothing but its position: one
that is slow, or asleep, finds that lines in between have gone, and how many.
"""

import asyncio
import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from flaskd_ctl.contract.log_line import rank
from flaskd_ctl.protocol import LogLine

LINES: Final = 10_000
SIZE: Final = 4 * 1024 * 1024
"""Lines, and bytes of them, that are kept."""

LONGEST_MESSAGE: Final = 16 * 1024
"""Characters of a line's message in a reply; what is longer is cut, and says so."""

OVERHEAD: Final = 256
"""Bytes of a line besides its message, about."""


class Wanted(NamedTuple):
    """Which lines a reader wants: of a worker, from a level on, of a request, of a kind of process. None: all."""

    worker: int | None = None
    level: str | None = None
    request_id: str | None = None
    process: str | None = None

    def fits(self, line: LogLine) -> bool:
        """Return whether a line is wanted."""
        return (
            (self.worker is None or line.worker == self.worker)
            and (self.level is None or rank(line.level) >= rank(self.level))
            and (self.request_id is None or line.request_id == self.request_id)
            and (self.process is None or line.process == self.process)
        )


class Found(NamedTuple):
    """The newest wanted lines, oldest first; how many older ones are wanted; how many are gone; the position after all."""

    lines: list[LogLine]
    left_out: int
    dropped: int
    end: int


class Ring:
    """Keeps the newest lines; may be used from any thread. Positions count all lines that were ever appended."""

    def __init__(self, *, lines: int = LINES, size: int = SIZE) -> None:
        self._most = lines
        self._largest = size
        self._lock = threading.Lock()  # protects all that follows
        self._lines: deque[LogLine] = deque()
        self._size = 0
        self._end = 0
        self._wakers: set[Callable[[], None]] = set()

    @property
    def end(self) -> int:
        """The position after the newest line."""
        return self._end

    def append(self, lines: Iterable[LogLine]) -> None:
        """Add lines, and drop the oldest ones that are too many."""
        with self._lock:
            for line in lines:
                self._lines.append(line)
                self._size += _size(line)
                self._end += 1
            while self._lines and (len(self._lines) > self._most or self._size > self._largest):
                self._size -= _size(self._lines.popleft())
            wakers, self._wakers = self._wakers, set()
        for wake in wakers:
            wake()

    def since(self, position: int, most: int) -> tuple[list[LogLine], int, int]:
        """Return at most `most` lines from `position` on, the position after them, and how many before them are gone."""
        with self._lock:
            oldest = self._end - len(self._lines)
            lost = max(0, oldest - position)
            start = max(position, oldest)
            first = start - oldest
            lines = [self._lines[index] for index in range(first, min(first + most, len(self._lines)))]
        return lines, start + len(lines), lost

    def newest(self, wanted: Wanted, most: int) -> "Found":
        """Return the newest `most` wanted lines."""
        with self._lock:
            lines, end = list(self._lines), self._end
        found = [line for line in lines if wanted.fits(line)]
        return Found(found[-most:], max(0, len(found) - most), end - len(lines), end)

    def wake_at_next(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, on the thread that appends the next line."""
        with self._lock:
            self._wakers.add(wake)

    def sleep_on(self, wake: Callable[[], None]) -> None:
        """Undo `wake_at_next`."""
        with self._lock:
            self._wakers.discard(wake)


class Waker:
    """Sets an asyncio event on its loop, from any thread; made on the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.event = asyncio.Event()

    def wake(self) -> None:
        """Wake whoever waits for the event."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.event.set)


def shortened(line: LogLine) -> LogLine:
    """Return a line whose message is not too long for a reply."""
    if len(line.message) <= LONGEST_MESSAGE:
        return line
    more = len(line.message) - LONGEST_MESSAGE
    cut = f"{line.message[:LONGEST_MESSAGE]}… ({more} more characters)"
    return msgspec.structs.replace(line, message=cut)


def _size(line: LogLine) -> int:
    return sys.getsizeof(line.message) + OVERHEAD
