"""A slot: the place of one request in memory, written by the thread that serves it and read by whoever may see the memory.

A row of 1 KiB. Eight words come first: the request's number, or 0; the number of the request whose route is known; six that
count finished requests by kind. Then come the request's fields, each of a fixed width.

A reader may look at any moment, and find the writer stopped or dead in the midst of anything. So what is published is
complete and stays as it is: the number is stored after the fields and wiped before they change, so a copy with the same number
before and after is whole. Numbers are not used again. (Stores of one thread become visible in order on x86; elsewhere the
interpreter does much between two of ours.)

A reader does not trust the writer, which runs the application: a look takes bounded time, bytes that are no text become such,
numbers have a range.
"""

import struct
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from flaskd_ctl.protocol import InFlight

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KINDS: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "aborted")
"""How a request may end, in the order of the counting words."""

ROW: Final = 1024
"""Bytes of a slot."""
NUMBER, ROUTED, COUNTS = 0, 1, 2
"""The words of a row: two, and the first of six."""
TEXT: Final = 64
"""Where the words end."""
TRIES: Final = 3
"""How often a reader looks again at what changes under its eyes."""
LARGEST: Final = 2**53 - 1
"""The largest number that is told: every JSON reader knows it (RFC 8259, section 6)."""

_SINCE: Final = struct.Struct("=d")
_REQUEST: Final = struct.Struct("=d16s48s32s136s512s")  # since, method, client, thread, request id, path
_ROUTE: Final = struct.Struct("=80s128s")  # endpoint, rule
_ROUTE_AT: Final = TEXT + _REQUEST.size
assert _ROUTE_AT + _ROUTE.size == ROW


class _Here(threading.local):
    """The name of each thread, spelled once. An engine's own (granian's) has none: it is called as faulthandler calls it.

    Not by `current_thread`, which would leave an entry in `threading.enumerate` for each of those, for ever.
    """

    def __init__(self) -> None:
        number = threading.get_native_id()
        names = (thread.name for thread in threading.enumerate() if thread.native_id == number)
        self.name = next(names, f"thread {threading.get_ident():#018x}").encode("utf-8", "replace")


_here: Final = _Here()


class Slot:
    """The place of one request at a time; whoever took it may write, until `end`."""

    __slots__ = ("_endpoint", "_home", "_row", "_rule", "_words")

    def __init__(self, row: memoryview, home: "deque[Slot]") -> None:
        self._row = row
        self._words = row.cast("Q")
        self._home = home
        self._endpoint = self._rule = ""

    def begin(self, number: int, request_id: str, environ: "WSGIEnvironment") -> None:
        """Write down a request that comes into the application now; `number` is above 0 and was never used here."""
        get = environ.get
        path = get("SCRIPT_NAME", "") + get("PATH_INFO", "")
        _REQUEST.pack_into(
            self._row,
            TEXT,
            monotonic(),
            get("REQUEST_METHOD", "").encode(),
            get("REMOTE_ADDR", "").encode(
                "latin-1", "replace"
            ),  # WSGI's strings are bytes in disguise: PEP 3333
            _here.name,
            request_id.encode(),
            path.encode("latin-1", "replace"),
        )
        self._words[NUMBER] = number

    def route(self, endpoint: str, rule: str) -> None:
        """Note what the framework has found to be responsible; often the same as for the slot's last request."""
        if rule != self._rule or endpoint != self._endpoint:
            self._rule, self._endpoint = rule, endpoint
            texts = endpoint.encode("utf-8", "replace"), rule.encode("utf-8", "replace")
            _ROUTE.pack_into(self._row, _ROUTE_AT, *texts)
        self._words[ROUTED] = self._words[NUMBER]

    @property
    def number(self) -> int:
        """The request's number, 0 where there is none."""
        return self._words[NUMBER]

    def age(self) -> float:
        """Return for how many seconds the request has been here."""
        since: float = _SINCE.unpack_from(self._row, TEXT)[0]
        return monotonic() - since

    def end(self, kind: int) -> None:
        """Count the request as `KINDS[kind]` and give the slot back. It is counted first, so that no reader misses it."""
        words = self._words
        words[COUNTS + kind] += 1
        words[NUMBER] = 0
        self._home.append(self)

    def seen(self, now: float) -> InFlight | None:
        """Describe the request as of monotonic time `now`; None where there is none, or they come and go too fast."""
        words = self._words
        for _ in range(TRIES):
            number, routed = words[NUMBER], words[ROUTED]
            if not number:
                return None
            row = bytes(self._row)
            if words[NUMBER] == number:
                return _spelled(row, min(number, LARGEST), routed=routed == number, now=now)
        return None

    def release(self) -> None:
        """Let go of the memory."""
        self._words.release()
        self._row.release()


def _spelled(row: bytes, number: int, *, routed: bool, now: float) -> InFlight:
    since, method, client, thread, request_id, path = _REQUEST.unpack_from(row, TEXT)
    endpoint, rule = _ROUTE.unpack_from(row, _ROUTE_AT) if routed else (b"", b"")
    return InFlight(
        id=number,
        method=legible(method),
        path=legible(path),
        age=round(now - since, 3) if 0 <= since <= now else 0.0,
        client=legible(client),
        thread=legible(thread),
        endpoint=legible(endpoint) if routed else None,
        rule=legible(rule) if routed else None,
        request_id=legible(request_id),
    )


def legible(field: bytes) -> str:
    """Return the text of a field that zeros fill up; one without any was too long for it and ends with an ellipsis.

    What cannot be printed stays encoded: it is shown on terminals and in logs, and is whatever a client made up.
    """
    full = field[-1:] > b"\0"
    text = (
        field[:-1].decode("utf-8", "replace") + "…"
        if full
        else field.rstrip(b"\0").decode("utf-8", "replace")
    )
    return printable(text)


def printable(text: str, *, keep: str = "") -> str:
    """Return `text` with what cannot be printed spelled as in a URL, but for the characters in `keep`."""
    if text.isprintable():
        return text
    kept = {ord(char): char for char in keep}
    return text.translate(_Spelling(kept))


class _Spelling(dict[int, str]):
    """How a character is shown, worked out once for each: a text full of what cannot be printed takes little longer."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        # As in a URL (RFC 3986, section 2.1).
        quoted = "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
        self[code] = char if char.isprintable() else quoted
        return self[code]
