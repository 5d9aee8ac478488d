"""One request in shared memory: written by the thread that serves it, read by any process that maps the memory.

A row has 1 KiB. It begins with eight words: the request's number, or 0; the number of the request whose route is known; six
counts of finished requests, by kind. The request's fields follow, each with a fixed width.

A reader may look at any moment, and may find that the writer has stopped or died halfway. So the number is stored after the
fields and cleared before they change: a copy with the same number before and after it is consistent. Numbers are never used
twice. (On x86, stores of one thread become visible in order; elsewhere the interpreter does much between two of ours.)

A reader does not trust the writer, which runs the application. Reading takes bounded time, bytes that are not text are escaped,
and numbers are limited to a range.
"""

import struct
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from flaskd_ctl.protocol import InFlight

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KINDS: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "aborted")
"""How a request can end, in the order of the counts."""

ROW_SIZE: Final = 1024
"""Bytes of a row."""
NUMBER, ROUTED, COUNTS = 0, 1, 2
"""Indexes of a row's words: two, and the first of the six counts."""
TEXT: Final = 64
"""Offset of the first byte after the words."""
TRIES: Final = 3
"""How often a reader copies what changes while it reads."""
LARGEST: Final = 2**53 - 1
"""The largest number that is reported: every JSON reader represents it exactly (RFC 8259, section 6)."""

_REQUEST: Final = struct.Struct("=d16s48s32s136s512s")  # since, method, client, thread, request id, path
_THREAD: Final = struct.Struct("=26s6s")  # name, identifier
_IDENT_AT: Final = TEXT + 8 + 16 + 48 + 26
_ENDPOINT: Final = 80
_ROUTE: Final = struct.Struct(f"={_ENDPOINT}s128s")  # endpoint, rule
_ROUTE_AT: Final = TEXT + _REQUEST.size
assert _ROUTE_AT + _ROUTE.size == ROW_SIZE


class _ThreadName(threading.local):
    """The encoded name and identifier of each thread, made once. A thread of granian's gets faulthandler's name for it.

    `current_thread` would leave an entry in `threading.enumerate` for each of those threads, for ever. An identifier is an
    address (pthread_self(3)), which has 48 bits at most; a longer one is stored as 0.
    """

    def __init__(self) -> None:
        number = threading.get_native_id()
        names = (thread.name for thread in threading.enumerate() if thread.native_id == number)
        ident = threading.get_ident()
        name = next(names, f"thread {ident:#018x}").encode("utf-8", "replace")
        self.name = _THREAD.pack(name, (ident if ident < 1 << 48 else 0).to_bytes(6, "little"))


_thread: Final = _ThreadName()


class Row:
    """A row of the request table. It holds one request at a time; the thread that took it writes to it, until `end`.

    `owner` is the request that holds it, and `since` when it began (monotonic), in the process that serves it.
    """

    __slots__ = ("_endpoint", "_free", "_memory", "_rule", "_words", "owner", "since")

    def __init__(self, memory: memoryview, free: "deque[Row]") -> None:
        self._memory = memory
        self._words = memory.cast("Q")
        self._free = free
        self._endpoint = self._rule = ""
        self.since = 0.0
        self.owner: Any = None

    def begin(self, number: int, request_id: str, environ: "WSGIEnvironment") -> None:
        """Record a request that enters the application now. `number` is above 0 and was never used in this table."""
        get = environ.get
        path = get("SCRIPT_NAME", "") + get("PATH_INFO", "")
        self.since = since = monotonic()
        _REQUEST.pack_into(
            self._memory,
            TEXT,
            since,
            get("REQUEST_METHOD", "").encode(),
            # WSGI's strings are bytes decoded as latin-1 (PEP 3333).
            get("REMOTE_ADDR", "").encode("latin-1", "replace"),
            _thread.name,
            request_id.encode(),
            path.encode("latin-1", "replace"),
        )
        self._words[NUMBER] = number

    def route(self, endpoint: str, rule: str) -> None:
        """Record the request's route; it is often the same as for the row's last request."""
        if rule != self._rule or endpoint != self._endpoint:
            texts = endpoint.encode("utf-8", "replace"), rule.encode("utf-8", "replace")
            self._rule = ""  # until it is written: a cancellation may arrive at each line
            _ROUTE.pack_into(self._memory, _ROUTE_AT, *texts)
            self._endpoint = endpoint
            self._rule = rule
        self._words[ROUTED] = self._words[NUMBER]

    @property
    def number(self) -> int:
        """The request's number; 0 if the row is free."""
        return self._words[NUMBER]

    def serves(self) -> tuple[int, int, str] | None:
        """Return the request's number, its thread's identifier and its endpoint; None if the row changes meanwhile."""
        words = self._words
        number, routed = words[NUMBER], words[ROUTED]
        ident = int.from_bytes(self._memory[_IDENT_AT : _IDENT_AT + 6], "little")
        endpoint = bytes(self._memory[_ROUTE_AT : _ROUTE_AT + _ENDPOINT]) if routed == number else b""
        if not number or words[NUMBER] != number:
            return None
        return number, ident, decode_field(endpoint)

    def end(self, kind: int) -> None:
        """Count the request as `KINDS[kind]` and free the row. Counting comes first, so that no reader misses the request."""
        words = self._words
        words[COUNTS + kind] += 1
        words[NUMBER] = 0
        self._free.append(self)

    def snapshot(self, now: float) -> InFlight | None:
        """Describe the request at monotonic time `now`; None if there is none, or if the row changes faster than it is read."""
        words = self._words
        for _ in range(TRIES):
            number, routed = words[NUMBER], words[ROUTED]
            if not number:
                return None
            copy = bytes(self._memory)
            if words[NUMBER] == number:
                return _decode(copy, min(number, LARGEST), routed=routed == number, now=now)
        return None

    def release(self) -> None:
        """Release the memory."""
        self._words.release()
        self._memory.release()


def _decode(row: bytes, number: int, *, routed: bool, now: float) -> InFlight:
    since, method, client, thread, request_id, path = _REQUEST.unpack_from(row, TEXT)
    endpoint, rule = _ROUTE.unpack_from(row, _ROUTE_AT) if routed else (b"", b"")
    return InFlight(
        id=number,
        method=decode_field(method),
        path=decode_field(path),
        age=round(now - since, 3) if 0 <= since <= now else 0.0,
        client=decode_field(client),
        thread=decode_field(thread[:26]),
        endpoint=decode_field(endpoint) if routed else None,
        rule=decode_field(rule) if routed else None,
        request_id=decode_field(request_id),
    )


def decode_field(field: bytes) -> str:
    """Return the text of a field that is padded with zeros. Text that was cut to fit has no zero and gets an ellipsis.

    Unprintable characters stay escaped: a client may have chosen them, and the text is shown on terminals and in logs.
    """
    cut = field[-1:] > b"\0"
    text = (field[:-1] if cut else field.rstrip(b"\0")).decode("utf-8", "replace")
    return printable(f"{text}…" if cut else text)


def printable(text: str, *, keep: str = "") -> str:
    """Return `text` with unprintable characters percent-encoded, except those in `keep`."""
    if text.isprintable():
        return text
    kept = {ord(char): char for char in keep}
    return text.translate(_PercentEncoding(kept))


class _PercentEncoding(dict[int, str]):
    """How each character is shown, computed once: text full of unprintable characters takes little longer."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        # RFC 3986, section 2.1.
        quoted = "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
        self[code] = char if char.isprintable() else quoted
        return self[code]
