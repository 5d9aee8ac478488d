"""Passes on what workers write to stdout and stderr, line by line, with the worker's id before each line.

It runs on a thread: if the reader of our output is slow, the workers that write it wait, not the supervisor. The supervisor's
own lines go the same way (`stream`), and are dropped where a worker would wait.
"""

import contextlib
import os
import select
import selectors
import socket
import threading
from collections import deque
from typing import Final, Self, TextIO

from flaskd.console import priority

READ_SIZE: Final = 65_536
"""Bytes that are read at once; a longer line is passed on in pieces."""

LAST_MOMENT: Final = 1.0
"""Seconds at the end for the reader of our output."""


class WorkerOutput:
    """Passes on what workers write, from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self._fresh: deque[tuple[int, bytes, int]] = deque()
        self._streams: list[TextIO] = []
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="flaskd-output", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in self._streams:
            with contextlib.suppress(OSError):  # full: what it still holds is dropped
                stream.close()
        self._ending = True
        self._wake.close()
        self._thread.join(LAST_MOMENT)

    def pipe(self, prefix: str, target: int) -> int:
        """Return the write end of a new pipe, the caller's, whose lines come out at the descriptor `target`."""
        read_end, write_end = os.pipe()
        self._fresh.append((read_end, prefix.encode(), target))
        with contextlib.suppress(BlockingIOError):  # it has been woken often enough
            self._wake.send(b"\0")
        return write_end

    def stream(self, target: int) -> TextIO:
        """Return a stream that comes out at the descriptor `target`, until `__exit__`. Writing to it never blocks."""
        descriptor = self.pipe("", target)
        os.set_blocking(descriptor, False)
        self._streams.append(os.fdopen(descriptor, "w", buffering=1, errors="backslashreplace"))
        return self._streams[-1]

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector, self._woken:
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._ending:
                for key, _ in selector.select():
                    if isinstance(key.data, _Stream):
                        key.data.pass_on(selector)
                    else:
                        self._woken.recv(4096)
                        self._add(selector)
            self._add(selector)
            for key in list(selector.get_map().values()):  # pass on what is there, and wait for nobody
                if isinstance(key.data, _Stream):
                    key.data.pass_on(selector, last=True)

    def _add(self, selector: selectors.BaseSelector) -> None:
        while self._fresh:
            read_end, prefix, target = self._fresh.popleft()
            os.set_blocking(read_end, False)
            selector.register(read_end, selectors.EVENT_READ, _Stream(read_end, prefix, target))


class _Stream:
    """One pipe of one worker."""

    def __init__(self, read_end: int, prefix: bytes, target: int) -> None:
        self._read_end = read_end
        self._prefix = prefix
        self._target = target
        self._rest = b""

    def pass_on(self, selector: selectors.BaseSelector, *, last: bool = False) -> None:
        """Read once, or to the end of what is there; write whole lines."""
        while True:
            try:
                data = os.read(self._read_end, READ_SIZE)
            except BlockingIOError:
                data = None
            *lines, self._rest = (self._rest + (data or b"")).split(b"\n")
            over = data == b"" or (last and not data)
            if self._rest and (over or len(self._rest) >= READ_SIZE):
                lines.append(self._rest)
                self._rest = b""
            if lines:
                _write(self._target, b"".join(priority.before(self._prefix, line) + b"\n" for line in lines))
            if over:
                selector.unregister(self._read_end)
                os.close(self._read_end)
            if over or not last:
                return


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # whoever else has it open may have set O_NONBLOCK (open(2))
            poller = select.poll()  # not select(2), which takes no descriptor above 1023
            poller.register(descriptor, select.POLLOUT)
            poller.poll()
        except OSError:
            return  # nobody reads it any more, or the disk is full: the application goes on
