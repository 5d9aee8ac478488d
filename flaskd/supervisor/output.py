"""Passes on the log: what workers print to stdout and stderr, and the records that they and the supervisor log.

Each output has a thread: if its reader is slow, the workers that write there wait, up to the size of a pipe. Neither
the supervisor waits nor the other output. The supervisor's own lines go the same way (`stream`, `records`). Where a worker
would wait they are dropped, and the next one that gets through says how many.

Each worker has a pipe for each kind of line, so the supervisor knows who wrote what, whatever the line says. The newest lines
are kept in `ring`. With log files, one thread writes to each, whatever the kind of line.
"""

import contextlib
import io
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, Self, TextIO

from flaskd.console import priority
from flaskd.console.priority import Priority
from flaskd.guard import log_failure
from flaskd.logs.file import LogFile
from flaskd.logs.form import PRIORITIES, Entry
from flaskd.logs.record import LONGEST_LINE, decode, encode
from flaskd.logs.ring import Ring
from flaskd.logs.sinks import JournalSink, Sink, StreamSink, Style
from flaskd.process.ending import STDERR, STDOUT
from flaskd_ctl.protocol import LogLine

READ_SIZE: Final = 65_536
"""Bytes that are read at once; a longer printed line is passed on in pieces."""

LAST_MOMENT: Final = 1.0
"""Seconds at the end for the readers of our output."""

RECORDS: Final = "records"
RAW: Final = "raw"
"""Kinds of lines besides the streams "stdout" and "stderr": records of `logging`; lines that are passed on as they are."""

STREAMS: Final = {STDOUT: "stdout", STDERR: "stderr"}


class Origin(NamedTuple):
    """Who writes to a pipe: a worker's id, or None for the supervisor. `kind`: "stdout", "stderr", RECORDS or RAW."""

    worker: int | None
    kind: str


class WorkerOutput:
    """Passes on what workers write, from `__enter__` to `__exit__`.

    `log_file` and `access_log_file` are paths, or empty: then lines go to stdout and stderr. Raises ConfigError.
    """

    def __init__(self, style: Style | None = None, *, log_file: str = "", access_log_file: str = "") -> None:
        self.ring = Ring()
        self.style = style or Style()
        self._targets: dict[int | str, _Target] = {}
        self._streams: list[TextIO] = []
        self._files: dict[str, LogFile] = {}
        self._said: Callable[[bytes], object] | None = None
        for setting, path in (("--log-file", log_file), ("--access-log-file", access_log_file)):
            if path:
                self._files[setting] = LogFile(path, self.style, setting=setting, report=self._report)

    def __enter__(self) -> Self:
        if self._files:
            end = self._pipe(Origin(None, RECORDS), STDERR)
            self._said = self._never_waits(end, _note_recorded).buffer.write
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in self._streams:
            stream.close()
        for target in self._targets.values():
            target.end()
        deadline = time.monotonic() + LAST_MOMENT
        for target in self._targets.values():
            target.join(deadline)

    def pipe(self, origin: Origin, descriptor: int) -> int:
        """Return the write end of a new pipe, the caller's, whose lines come out at `descriptor`, or in the log file."""
        file = "--access-log-file" if origin.kind == RAW else "--log-file"
        return self._pipe(origin, file if file in self._files else descriptor)

    def stream(self, descriptor: int) -> TextIO:
        """Return a stream for the supervisor's own prints, until `__exit__`. Writing to it never blocks."""
        kind = STREAMS.get(descriptor, "stderr")
        end = self.pipe(Origin(None, kind), descriptor)
        return self._never_waits(end, _note_printed)

    def records(self, descriptor: int) -> Callable[[bytes], object]:
        """Return a function that takes the supervisor's own records, until `__exit__`. It never blocks."""
        return self._never_waits(self.pipe(Origin(None, RECORDS), descriptor), _note_recorded).buffer.write

    def has_access_log_file(self) -> bool:
        """Return whether lines of the access log go to a file of their own."""
        return "--access-log-file" in self._files

    def files(self) -> list[str]:
        """Return the paths of the log files."""
        return [file.path for file in self._files.values()]

    def reopen(self) -> "Future[list[str]]":
        """Open each log file again; the future has their paths when later lines go there, or the first failure (Failed)."""
        done: Future[list[str]] = Future()
        done.set_running_or_notify_cancel()
        left = list(self._files.items())

        def following(before: "Future[None] | None" = None) -> None:
            if before is not None and (error := before.exception()) is not None:
                done.set_exception(error)
            elif left:
                setting, file = left.pop(0)
                self._target(setting).do(file.reopen).add_done_callback(following)
            else:
                done.set_result(self.files())

        following()
        return done

    def _pipe(self, origin: Origin, target: int | str) -> int:
        read_end, write_end = os.pipe()
        self._target(target).add(read_end, origin)
        return write_end

    def _target(self, key: int | str) -> "_Target":
        if key not in self._targets:
            sink: Sink
            if isinstance(key, str):
                sink = self._files[key]
            elif self.style.journal:
                sink = JournalSink(key, self.style)
            else:
                sink = StreamSink(key, self.style)
            self._targets[key] = _Target(sink, self.ring)
            self._targets[key].start()
        return self._targets[key]

    def _never_waits(self, end: int, note: Callable[[int], bytes]) -> TextIO:
        stream = io.TextIOWrapper(
            _NeverWaits(end, note),
            errors="backslashreplace",
            line_buffering=True,
        )
        self._streams.append(stream)
        return stream

    def _report(self, line: str, gravity: Priority) -> None:
        """Say on stderr, not in the log file, that something is wrong with the log file."""
        level = logging.ERROR if gravity is Priority.ERR else logging.WARNING
        text = line.removeprefix("flaskd: ")
        assert self._said is not None, "nothing is written before `__enter__`"
        self._said(encode(time.time(), level, "flaskd", request_id="", text=text))


def _note_printed(dropped: int) -> bytes:
    return f"flaskd: nobody read this output; lines dropped: {dropped}\n".encode()


def _note_recorded(dropped: int) -> bytes:
    text = f"nobody read this output; lines dropped: {dropped}"
    return encode(time.time(), logging.WARNING, "flaskd", request_id="", text=text)


class _NeverWaits(io.BufferedIOBase):
    """The write end of a pipe; what does not go into it at once is dropped and counted, in whole lines."""

    name = "flaskd-output"

    def __init__(self, descriptor: int, note: Callable[[int], bytes]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._note = note
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
        told = (self._note(self._dropped) if self._dropped else b"") + text
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
        worker, kind = self._origin
        if kind == RAW:
            self._sink.write_raw(b"\n".join([*lines, b""]))
            return
        now = time.time()
        if kind == RECORDS:
            entries = [_recorded(line, worker) or _printed(line, worker, "stderr", now) for line in lines]
        else:
            entries = [_printed(line, worker, kind, now) for line in lines]
        with log_failure("write the log", said=_said):  # without its thread, workers would wait for ever
            self._ring.append(entry.line for entry in entries)
            self._sink.write(entries)


_said: Final[set[str]] = set()
"""What has gone wrong already."""


def _recorded(line: bytes, worker: int | None) -> Entry | None:
    """Return the entry of a record; None for a line that is none."""
    found = decode(line, worker)
    return Entry(found, priority=PRIORITIES[found.level or "info"]) if found is not None else None


def _printed(line: bytes, worker: int | None, stream: str, now: float) -> Entry:
    gravity, line = priority.of(line)
    text = line.decode("utf-8", "backslashreplace")
    return Entry(LogLine(now, None, worker, text, stream=stream), line, gravity)
