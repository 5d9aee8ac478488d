"""Passes on the log: what workers print to stdout and stderr, and the records that they and the supervisor log.

Each output has a thread: if its reader is slow, the workers that write there wait, up to the size of a pipe. Neither
the supervisor waits nor the other output. The supervisor's own lines go the same way (`stream`, `records`). Where a worker
would wait they are dropped, and the next one that gets through says how many.

Each worker has a pipe for each kind of line, so the supervisor knows who wrote what, whatever the line says. The newest lines
are kept in `ring`. With log files, one thread writes to each, whatever the kind of line.
"""

import io
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Self, TextIO

from flaskd.console.priority import Priority
from flaskd.logs.file import LogFile
from flaskd.logs.record import encode
from flaskd.logs.ring import Ring
from flaskd.logs.sinks import JournalSink, Sink, StreamSink, Style
from flaskd.process.ending import STDERR, STDOUT
from flaskd.supervisor.never_waits import NeverWaits, note_printed, note_recorded
from flaskd.supervisor.output_thread import RAW, RECORDS, Origin, OutputThread

LAST_MOMENT: Final = 1.0
"""Seconds at the end for the readers of our output."""

STREAMS: Final = {STDOUT: "stdout", STDERR: "stderr"}


class WorkerOutput:
    """Passes on what workers write, from `__enter__` to `__exit__`.

    `log_file` and `access_log_file` are paths, or empty: then lines go to stdout and stderr. A file of `log_max_size` bytes is
    rotated; 0: never. Raises ConfigError.
    """

    def __init__(
        self,
        style: Style | None = None,
        *,
        log_file: str = "",
        access_log_file: str = "",
        log_max_size: int = 0,
    ) -> None:
        self.ring = Ring()
        self.style = style or Style()
        self._targets: dict[int | str, OutputThread] = {}
        self._streams: list[TextIO] = []
        self._files: dict[str, LogFile] = {}
        self._said: Callable[[bytes], object] | None = None
        for setting, path in (("--log-file", log_file), ("--access-log-file", access_log_file)):
            if path:
                file = LogFile(path, self.style, setting=setting, report=self._report, max_size=log_max_size)
                self._files[setting] = file

    def __enter__(self) -> Self:
        if self._files:
            end = self._pipe(Origin(None, RECORDS, "supervisor"), STDERR)
            self._said = self._never_waits(end, note_recorded).buffer.write
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
        end = self.pipe(Origin(None, kind, "supervisor"), descriptor)
        return self._never_waits(end, note_printed)

    def records(self, descriptor: int) -> Callable[[bytes], object]:
        """Return a function that takes the supervisor's own records, until `__exit__`. It never blocks."""
        return self._never_waits(
            self.pipe(Origin(None, RECORDS, "supervisor"), descriptor), note_recorded
        ).buffer.write

    def has_access_log_file(self) -> bool:
        """Return whether lines of the access log go to a file of their own."""
        return "--access-log-file" in self._files

    def files(self) -> list[str]:
        """Return the paths of the log files."""
        return [file.path for file in self._files.values()]

    def reopen(self) -> "Future[list[str]]":
        """Open each log file again, whatever becomes of another one.

        The future has their paths when later lines go there, or the first failure (Failed).
        """
        done: Future[list[str]] = Future()
        done.set_running_or_notify_cancel()
        left = list(self._files.items())
        failures: list[BaseException] = []

        def following(before: "Future[None] | None" = None) -> None:
            if before is not None and (error := before.exception()) is not None:
                failures.append(error)
            if left:
                setting, file = left.pop(0)
                self._target(setting).do(file.reopen).add_done_callback(following)
            elif failures:
                done.set_exception(failures[0])
            else:
                done.set_result(self.files())

        following()
        return done

    def _pipe(self, origin: Origin, target: int | str) -> int:
        read_end, write_end = os.pipe()
        self._target(target).add(read_end, origin)
        return write_end

    def _target(self, key: int | str) -> "OutputThread":
        if key not in self._targets:
            sink: Sink
            if isinstance(key, str):
                sink = self._files[key]
            elif self.style.journal:
                sink = JournalSink(key, self.style)
            else:
                sink = StreamSink(key, self.style)
            self._targets[key] = OutputThread(sink, self.ring)
            self._targets[key].start()
        return self._targets[key]

    def _never_waits(self, end: int, note: Callable[[int], bytes]) -> TextIO:
        stream = io.TextIOWrapper(
            NeverWaits(end, note),
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
