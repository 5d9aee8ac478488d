"""The access log: one line for each request, written by its own thread, so that no request waits for it.

If nobody reads it, lines wait in memory up to MOST_WAITING, and further ones are dropped; stderr says how many.

`common` is the Common Log Format of NCSA httpd, followed by the seconds taken and the request's id. `combined` has the referer
and the user agent too, and at its end the worker and the trace's id; `json` is one object a line, with all of that. `short`
is for people at a terminal: time, request, status and duration. Text from clients is escaped. Unlike everywhere else, the path
is logged with its query string, without the values that look secret: an access log is for that, and is off by default because
of it.

What can be done by the thread that writes is not done on a request's thread.
"""

import logging
import queue
import re
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TextIO
from urllib.parse import quote

from flaskd.http.late_answers import ANSWERED
from flaskd.http.secrets import mask_url
from flaskd.logs.form import json_text

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

FORMATS: Final = ("off", "common", "combined", "json", "short")

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
"""https://www.w3.org/TR/trace-context/#traceparent-header; versions after 00 may have more fields."""

LAST_MOMENT: Final = 1.0
"""Seconds that the last lines get to be written at the end: a log that nobody reads must not delay it further."""


MOST_WAITING: Final = 4 * 1024 * 1024
"""Bytes, about, of lines that wait to be written."""

REPORT_PAUSE: Final = 10.0
"""Seconds between two reports of dropped lines, at least."""

SHORTEST: Final = 512
"""Bytes, about, that a line takes in memory besides its target."""

log = logging.getLogger("flaskd.http")


class Line(NamedTuple):
    """A finished request. `began` is Unix time, `seconds` how long it took, `size` the bytes of the response's body.

    Texts are as the client sent them (WSGI's: bytes decoded as latin-1).
    """

    began: float
    client: str
    method: str
    target: str
    protocol: str
    status: int
    size: int
    seconds: float
    request_id: str
    referer: str = ""
    user_agent: str = ""
    traceparent: str = ""


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
        referer=environ.get("HTTP_REFERER", ""),
        user_agent=environ.get("HTTP_USER_AGENT", ""),
        traceparent=environ.get("HTTP_TRACEPARENT", ""),
    )


class AccessLog:
    """Writes lines to `stream` in the background, from `__enter__` to `__exit__`, which waits a moment for the rest.

    `worker` is the id of the worker that this is, 0 if the instance is one process. `coloured`: `short` in colour.
    """

    def __init__(self, form: str, stream: TextIO, *, worker: int = 0, coloured: bool = False) -> None:
        self._format = _coloured if form == "short" and coloured else _WRITERS[form]
        self._worker = worker
        self._stream = stream
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # protects the counts
        self._waiting = 0  # bytes
        self._dropped = 0  # lines
        self._next_report = 0.0  # of dropped lines, monotonic
        self._thread = threading.Thread(target=self._write, name="flaskd-access-log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.put(None)
        self._thread.join(LAST_MOMENT)
        if self._thread.is_alive():
            with self._lock:
                self._dropped += self._lines.qsize()
        self._report_dropped()

    def put(self, line: Line) -> None:
        """Log `line`, without waiting; from any thread."""
        size = _size(line)
        with self._lock:
            if self._waiting + size > MOST_WAITING:
                self._dropped += 1
                return
            self._waiting += size
        self._lines.put(line)

    def _report_dropped(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._next_report = time.monotonic() + REPORT_PAUSE
            log.warning("access log: nobody reads it, or too slowly; lines dropped: %d", dropped)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with self._lock:
                self._waiting -= _size(line)
            if self._dropped and time.monotonic() >= self._next_report:
                self._report_dropped()
            try:
                self._stream.write(self._format(line, self._worker) + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads it any more, or the disk is full; requests are served anyway


def _size(line: Line) -> int:
    return SHORTEST + len(line.target) + len(line.referer) + len(line.user_agent) + len(line.traceparent)


def trace_id(traceparent: str) -> str:
    """Return the id of the trace that a request belongs to; "" if its `traceparent` is missing or invalid."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found is not None and (found[2] is None or traceparent[:2] != "00") else ""


def _common(line: Line, worker: int) -> str:
    return f"{_head(line)} {line.seconds:.3f} {line.request_id}"


def _combined(line: Line, worker: int) -> str:
    referer, agent = _quoted(mask_url(line.referer) or "-"), _quoted(line.user_agent or "-")
    trace = trace_id(line.traceparent) or "-"
    return f"{_head(line)} {referer} {agent} {line.seconds:.3f} {line.request_id} {worker} {trace}"


def _json(line: Line, worker: int) -> str:
    return json_text(
        {
            "began": round(line.began, 3),
            "client": line.client,
            "method": line.method,
            "target": _text(mask_url(line.target)),
            "protocol": line.protocol,
            "status": line.status,
            "size": line.size,
            "seconds": round(line.seconds, 6),
            "request_id": line.request_id,
            "worker": worker,
            "trace_id": trace_id(line.traceparent) or None,
            "referer": _text(mask_url(line.referer)) or None,
            "user_agent": _text(line.user_agent) or None,
        }
    )


def _short(line: Line, worker: int) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(line.began))
    asked = _quoted(f"{line.method} {mask_url(line.target)}")[1:-1]
    return f"{when} {asked} {line.status} {_duration(line.seconds)}"


def _coloured(line: Line, worker: int) -> str:
    """Return the line of `short` in the colour of its status, for a terminal (ECMA-48)."""
    return f"\x1b[{_COLOURS.get(line.status // 100, _RED)}m{_short(line, worker)}\x1b[0m"


_RED: Final = 31
_COLOURS: Final = {1: 36, 2: 32, 3: 36, 4: 33}
"""Cyan, green, cyan and yellow, by the first digit of the status."""

_WRITERS: Final = {"common": _common, "combined": _combined, "json": _json, "short": _short}


def _duration(seconds: float) -> str:
    if seconds >= 999.5:
        return f"{seconds:.0f} s"
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def _head(line: Line) -> str:
    """Return what `common` and `combined` begin with."""
    when = _clock(int(line.began))
    asked = _quoted(f"{line.method} {mask_url(line.target)} {line.protocol}")
    return f"{line.client or '-'} - - [{when}] {asked} {line.status} {line.size}"


@lru_cache(maxsize=64)
def _clock(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))


def _quoted(text: str) -> str:
    """Return text from a client in quotes that it cannot leave, in ASCII."""
    if not text.isascii() or not text.isprintable() or "\\" in text or '"' in text:
        text = "".join(
            _ESCAPES.get(char) or (char if " " <= char <= "~" else _hexadecimal(char)) for char in text
        )
    return f'"{text}"'


_ESCAPES: Final = {"\\": "\\\\", '"': '\\"'}


def _hexadecimal(char: str) -> str:
    return "".join(
        f"\\x{byte:02x}" for byte in char.encode("latin-1" if char <= "\xff" else "utf-8", "replace")
    )


def _text(text: str) -> str:
    """Return what the client meant: nearly everybody sends UTF-8."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "backslashreplace")
