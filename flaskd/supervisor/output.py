"""Passes on what workers write to stdout and stderr, line by line, with the worker's id before each line.

Each of our outputs has a thread: if its reader is slow, the workers that write there wait, up to the size of a pipe. Neither
the supervisor waits nor the other output. The supervisor's own lines go the same way (`stream`). Where a worker would wait
they are dropped, and the next one that gets through says how many.
"""

import contextlib
import io
import os
import select
import selectors
import socket
import threading
import time
from collections import deque
from typing import Any, Final, Self, TextIO

from flaskd.console import priority
from flaskd.console.priority import Priority, marked

READ_SIZE: Final = 65_536
"""Bytes that are read at once; a longer line is passed on in pieces."""

LAST_MOMENT: Final = 1.0
"""Seconds at the end for the readers of our output."""


class WorkerOutput:
    """Passes on what workers write, from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self._targets: dict[int, _Target] = {}
        self._streams: list[TextIO] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in self._streams:
            stream.close()
        for target in self._targets.values():
            target.end()
        deadline = time.monotonic() + LAST_MOMENT
        for target in self._targets.values():
            target.join(deadline)

    def pipe(self, prefix: str, target: int) -> int:
        """Return the write end of a new pipe, the caller's, whose lines come out at the descriptor `target`."""
        if target not in self._targets:
            started = _Target(target)
            started.start()
            self._targets[target] = started
        read_end, write_end = os.pipe()
        self._targets[target].add(read_end, prefix)
        return write_end

    def stream(self, target: int) -> TextIO:
        """Return a stream that comes out at the descriptor `target`, until `__exit__`. Writing to it never blocks."""
        stream = io.TextIOWrapper(
            _NeverWaits(self.pipe("", target)),
            errors="backslashreplace",
            line_buffering=True,
        )
        self._streams.append(stream)
        return stream


class _NeverWaits(io.BufferedIOBase):
    """The write end of a pipe; what does not go into it at once is dropped and counted, in whole lines."""

    name = "flaskd-output"

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._begun = b""  # the rest of a line that is partly written
        self._dropped = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        """Write `data`, or drop it."""
        text = bytes(data)
        self._begun = self._begun[self._send(self._begun) :]
        note = marked(f"flaskd: nobody read this output; lines dropped: {self._dropped}\n", Priority.WARNING)
        told = (note.encode() if self._dropped else b"") + text
        sent = 0 if self._begun else self._send(told)
        if sent:
            self._begun, self._dropped = told[sent:], 0
        else:
            self._dropped += text.count(b"\n")
        return len(text)

    def close(self) -> None:
        """Close the pipe; harmless twice."""
        if not self.closed:
            super().close()
            os.close(self._descriptor)

    def _send(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data) if data else 0
        except BlockingIOError:
            return 0


class _Target:
    """One of our outputs, and the thread that writes there, from `start` to `end`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._fresh: deque[tuple[int, bytes]] = deque()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="flaskd-output", daemon=True)

    def start(self) -> None:
        """Begin to pass on."""
        self._thread.start()

    def end(self) -> None:
        """Pass on what is there, and end."""
        self._ending = True
        self._wake.close()

    def join(self, deadline: float) -> None:
        """Wait for the end until `deadline` (monotonic)."""
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def add(self, read_end: int, prefix: str) -> None:
        """Pass on what comes out of a pipe."""
        self._fresh.append((read_end, prefix.encode()))
        with contextlib.suppress(BlockingIOError):  # it has been woken often enough
            self._wake.send(b"\0")

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector, self._woken:
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._ending:
                for key, _ in selector.select():
                    if isinstance(key.data, _Stream):
                        key.data.pass_on(selector)
                    else:
                        self._woken.recv(4096)
                        self._take_fresh(selector)
            self._take_fresh(selector)
            for key in list(selector.get_map().values()):  # pass on what is there, and wait for nobody
                if isinstance(key.data, _Stream):
                    key.data.pass_on(selector, last=True)

    def _take_fresh(self, selector: selectors.BaseSelector) -> None:
        while self._fresh:
            read_end, prefix = self._fresh.popleft()
            os.set_blocking(read_end, False)
            selector.register(read_end, selectors.EVENT_READ, _Stream(read_end, prefix, self._descriptor))


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
