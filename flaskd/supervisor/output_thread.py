"""The thread of one output: it reads the pipes of the processes that write there, and writes whole lines."""

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, NamedTuple

from flaskd.console import priority
from flaskd.guard import log_failure
from flaskd.logs.form import PRIORITIES, Entry
from flaskd.logs.record import LONGEST_LINE, decode
from flaskd.logs.ring import Ring
from flaskd.logs.sinks import Sink
from flaskd_ctl.protocol import LogLine

READ_SIZE: Final = 65_536
"""Bytes that are read at once; a longer printed line is passed on in pieces."""

RECORDS: Final = "records"
RAW: Final = "raw"
"""Kinds of lines besides the streams "stdout" and "stderr": records of `logging`; lines that are passed on as they are."""


class Origin(NamedTuple):
    """Who writes to a pipe: a worker's id, or None for another `process`. `kind`: "stdout", "stderr", RECORDS or RAW."""

    worker: int | None
    kind: str
    process: str = "worker"


class OutputThread:
    """Writes to one of our outputs, on a thread of its own, from `start` to `end`."""

    def __init__(self, sink: Sink, ring: Ring) -> None:
        self._sink = sink
        self._ring = ring
        self._fresh: deque[tuple[int, Origin]] = deque()
        self._orders: deque[tuple[Callable[[], None], Future[None]]] = deque()
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

    def add(self, read_end: int, origin: Origin) -> None:
        """Pass on what comes out of a pipe."""
        self._fresh.append((read_end, origin))
        self._wake_up()

    def do(self, work: Callable[[], None]) -> "Future[None]":
        """Do some work on the thread, between two writes."""
        done: Future[None] = Future()
        self._orders.append((work, done))
        self._wake_up()
        return done

    def _wake_up(self) -> None:
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
                        self._carry_out()
            self._take_fresh(selector)
            for key in list(selector.get_map().values()):  # pass on what is there, and wait for nobody
                if isinstance(key.data, _Stream):
                    key.data.pass_on(selector, last=True)
            self._carry_out()
        self._sink.close()

    def _take_fresh(self, selector: selectors.BaseSelector) -> None:
        while self._fresh:
            read_end, origin = self._fresh.popleft()
            os.set_blocking(read_end, False)
            stream = _Stream(read_end, origin, self._sink, self._ring)
            selector.register(read_end, selectors.EVENT_READ, stream)

    def _carry_out(self) -> None:
        while self._orders:
            work, done = self._orders.popleft()
            try:
                work()
            except Exception as error:  # noqa: BLE001 - for whoever ordered it
                done.set_exception(error)
            else:
                done.set_result(None)


class _Stream:
    """One pipe of one worker."""

    def __init__(self, read_end: int, origin: Origin, sink: Sink, ring: Ring) -> None:
        self._read_end = read_end
        self._origin = origin
        self._sink = sink
        self._ring = ring
        self._longest = LONGEST_LINE if origin.kind == RECORDS else READ_SIZE
        self._rest = bytearray()

    def pass_on(self, selector: selectors.BaseSelector, *, last: bool = False) -> None:
        """Read once, or to the end of what is there; write whole lines."""
        while True:
            try:
                data = os.read(self._read_end, READ_SIZE)
            except BlockingIOError:
                data = None
            over = data == b"" or (last and not data)
            if lines := self._take_lines(data or b"", over=over):
                self._write(lines)
            if over:
                selector.unregister(self._read_end)
                os.close(self._read_end)
            if over or not last:
                return

    def _take_lines(self, data: bytes, *, over: bool) -> list[bytes]:
        """Return the lines that are complete, or too long, or the last one."""
        end = data.rfind(b"\n")
        lines: list[bytes] = []
        if end >= 0:
            lines = bytes(self._rest + data[:end]).split(b"\n")
            self._rest = bytearray(data[end + 1 :])
        else:
            self._rest += data
        if self._rest and (over or len(self._rest) >= self._longest):
            lines.append(bytes(self._rest))
            self._rest.clear()
        return lines

    def _write(self, lines: list[bytes]) -> None:
        origin, kind = self._origin, self._origin.kind
        if kind == RAW:
            self._sink.write_raw(b"\n".join([*lines, b""]))
            return
        now = time.time()
        if kind == RECORDS:
            entries = [_recorded(line, origin) or _printed(line, origin, "stderr", now) for line in lines]
        else:
            entries = [_printed(line, origin, kind, now) for line in lines]
        with log_failure("write the log", said=_said):  # without its thread, workers would wait for ever
            self._ring.append(entry.line for entry in entries)
            self._sink.write(entries)


_said: Final[set[str]] = set()
"""What has gone wrong already."""


def _recorded(line: bytes, origin: Origin) -> Entry | None:
    """Return the entry of a record; None for a line that is none."""
    found = decode(line, origin.worker, origin.process)
    return Entry(found, priority=PRIORITIES[found.level or "info"]) if found is not None else None


def _printed(line: bytes, origin: Origin, stream: str, now: float) -> Entry:
    gravity, line = priority.of(line)
    text = line.decode("utf-8", "backslashreplace")
    return Entry(
        LogLine(now, None, origin.worker, text, stream=stream, process=origin.process), line, gravity
    )
