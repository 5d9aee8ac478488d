"""The access log: a line a request, written by a thread of its own so that no request waits for it.

`common` is the Common Log Format of NCSA httpd with the seconds taken and the request's id behind it; `json` is one object a
line. What a client made up is escaped. The path is logged with its query string, unlike anywhere else: that is what an
access log is for, and why it is off by default.
"""

import json
import queue
import threading
import time
from typing import Final, NamedTuple, Self, TextIO

FORMATS: Final = ("off", "common", "json")

LAST_MOMENT: Final = 1.0
"""Seconds at the end for whoever reads the log: where nobody does, nobody is kept from ending."""


class Line(NamedTuple):
    """What is known of a finished request. `began` is Unix time, `seconds` how long it took, `size` bytes of body."""

    began: float
    client: str
    method: str
    target: str
    protocol: str
    status: int
    size: int
    seconds: float
    request_id: str


class AccessLog:
    """Writes lines to `stream` in the background, from `__enter__` to `__exit__`, which waits for that a moment."""

    def __init__(self, form: str, stream: TextIO) -> None:
        self._spell = _common if form == "common" else _json
        self._stream = stream
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="flaskd-access-log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.put(None)
        self._thread.join(LAST_MOMENT)

    def put(self, line: Line) -> None:
        """Log `line` soon; returns at once, from any thread."""
        self._lines.put(line)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(self._spell(line) + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads it any more, or the disk is full: requests are served all the same


def _common(line: Line) -> str:
    when = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(line.began))
    asked = _escaped(f"{line.method} {line.target} {line.protocol}").replace('"', '\\"')
    return (
        f'{line.client or "-"} - - [{when}] "{asked}" {line.status} {line.size} '
        f"{line.seconds:.3f} {line.request_id}"
    )


def _json(line: Line) -> str:
    return json.dumps({**line._asdict(), "began": round(line.began, 3), "seconds": round(line.seconds, 6)})


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
