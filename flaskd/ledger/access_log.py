"""The access log: one line for each request, written by its own thread, so that no request waits for it.

`common` is the Common Log Format of NCSA httpd, followed by the seconds taken and the request's id; `json` is one object a
line. Text from clients is escaped. Unlike everywhere else, the path is logged with its query string: an access log is for
that, and is off by default because of it.
"""

import json
import queue
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TextIO
from urllib.parse import quote

from flaskd.http.late_answers import ANSWERED

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

FORMATS: Final = ("off", "common", "json")

LAST_MOMENT: Final = 1.0
"""Seconds that the last lines get to be written at the end: a log that nobody reads must not delay it further."""


class Line(NamedTuple):
    """A finished request. `began` is Unix time, `seconds` how long it took, `size` the bytes of the response's body."""

    began: float
    client: str
    method: str
    target: str
    protocol: str
    status: int
    size: int
    seconds: float
    request_id: str


def line_of(environ: "WSGIEnvironment", status: int, *, size: int, seconds: float, request_id: str) -> Line:
    """Return the line of a request that has just ended."""
    path, query = (
        environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
        environ.get("QUERY_STRING", ""),
    )
    return Line(
        began=time.time() - seconds,
        client=environ.get("REMOTE_ADDR", ""),
        method=environ.get("REQUEST_METHOD", ""),
        target=environ.get("REQUEST_URI") or quote(path, encoding="latin-1") + (f"?{query}" if query else ""),
        protocol=environ.get("SERVER_PROTOCOL", ""),
        status=environ.get(ANSWERED) or status,
        size=size,
        seconds=seconds,
        request_id=request_id,
    )


class AccessLog:
    """Writes lines to `stream` in the background, from `__enter__` to `__exit__`, which waits a moment for the rest."""

    def __init__(self, form: str, stream: TextIO) -> None:
        self._format = _common if form == "common" else _json
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
        """Log `line`, without waiting; from any thread."""
        self._lines.put(line)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(self._format(line) + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads it any more, or the disk is full; requests are served anyway


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
