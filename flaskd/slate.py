"""The slate: one worker's requests in memory that other processes read, whatever has become of the worker.

The memory is rows of 1 KiB; each begins with eight words, the last six of which count finished requests by kind.

    row 0      words: number of the last error; requests in flight that found no slot; their counts. Then the mark.
    row 1, 2   the last error, and the one before it or the next
    row 3 …    slots: the request that is in the application. Words: its number, or 0; whether it is routed; counts

Nothing is locked for a request: a slot is written by the one thread that has taken it, and totals are for readers to add up.

A reader may look at any moment, and find the writer stopped or dead in the midst of anything. So what is published is
complete and stays as it is: the number of a request is stored after its fields and wiped before they change, so a copy with
the same number before and after is whole. An error is written into the row that is not the current one, then it is made
current. (Stores of one thread become visible in order on x86; elsewhere, as the interpreter does much between two of ours.)

A reader does not trust the writer, which runs the application: every look takes bounded time, every field has a width, bytes
that are no text become such, numbers have a range. The size is sealed, so that reading never ends in SIGBUS.
"""

import fcntl
import mmap
import os
import struct
import tempfile
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from flaskd_ctl.protocol import InFlight, LastError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KINDS: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "aborted")
"""How a request may end, in the order of the counting words; `Slot.end` takes the index."""
ABORTED: Final = KINDS.index("aborted")

_ROW: Final = 1024
_WORDS: Final = _ROW // 8  # from a word to the same one of the next row
_TEXT: Final = 64  # where the words end
_HEAD: Final = 3  # rows before the first slot
_NUMBER, _ROUTED, _COUNTS = 0, 1, 2  # words of a slot
_ERRORS, _SPILLED = 0, 1  # words of row 0
_MARK: Final = b"flaskd slate 1"

_REQUEST: Final = struct.Struct("=d16s48s32s136s512s")  # since, method, client, thread, request id, path
_SINCE: Final = struct.Struct("=d")
_ROUTE: Final = struct.Struct("=80s128s")  # endpoint, rule
_ERROR: Final = struct.Struct("=d136s408s408s")  # at, request id, request, message
_ROUTE_AT: Final = _TEXT + _REQUEST.size

_TRIES: Final = 3
_LARGEST: Final = 2**53 - 1  # that every JSON reader knows (RFC 8259, section 6)


class _Thread(threading.local):
    """The name of each thread, spelled once."""

    def __init__(self) -> None:
        self.name = threading.current_thread().name.encode("utf-8", "replace")


_here: Final = _Thread()


class Slot:
    """The place of one request; whoever has it from `Slate.begin` writes it, until `end`."""

    __slots__ = ("_free", "row", "words")

    def __init__(self, row: memoryview, free: "deque[Slot]") -> None:
        self.row = row
        self.words = row.cast("Q")
        self._free = free

    def route(self, endpoint: str, rule: str) -> None:
        """Note what the framework has found to be responsible."""
        _ROUTE.pack_into(
            self.row, _ROUTE_AT, endpoint.encode("utf-8", "replace"), rule.encode("utf-8", "replace")
        )
        self.words[_ROUTED] = 1

    def age(self) -> float:
        """Return for how many seconds the request has been here."""
        since: float = _SINCE.unpack_from(self.row, _TEXT)[0]
        return time.monotonic() - since

    def end(self, kind: int) -> None:
        """Count the request as `KINDS[kind]` and give the slot back; counted first, so that no reader misses it."""
        words = self.words
        words[_COUNTS + kind] += 1
        words[_NUMBER] = 0
        words[_ROUTED] = 0
        self._free.append(self)

    def seen(self, now: float) -> InFlight | None:
        """Describe the request as of monotonic time `now`; None where there is none, or they come and go too fast."""
        number, routed, row = 0, 0, b""
        for _ in range(_TRIES):
            number, routed = self.words[_NUMBER], self.words[_ROUTED]
            row = bytes(self.row)
            if number == self.words[_NUMBER]:
                break
        else:
            return None
        if not number:
            return None
        since, method, client, thread, request_id, path = _REQUEST.unpack_from(row, _TEXT)
        endpoint, rule = _ROUTE.unpack_from(row, _ROUTE_AT)
        return InFlight(
            id=min(number, _LARGEST),
            method=legible(method),
            path=legible(path),
            age=round(now - since, 3) if 0 <= since <= now else 0.0,
            client=legible(client),
            thread=legible(thread),
            endpoint=legible(endpoint) if routed else None,
            rule=legible(rule) if routed else None,
            request_id=legible(request_id),
        )


class _Spill(Slot):
    """A slot of its own for a request that found all others taken: only its process can describe it, others count it."""

    __slots__ = ("_slate",)

    def __init__(self, slate: "Slate") -> None:
        super().__init__(memoryview(bytearray(_ROW)), deque())
        self._slate = slate

    def end(self, kind: int) -> None:
        self._slate.unspill(self, kind)


class Slate:
    """The requests of one worker: in flight, counted, and the last error.

    `create` makes the memory, `adopt` finds it in a process that has inherited the descriptor, `private` does without one.
    One process begins requests; any may read.
    """

    def __init__(self, memory: mmap.mmap | bytearray, descriptor: int | None) -> None:
        self._memory = memory
        self._descriptor = descriptor
        self._view = memoryview(memory)
        self._words = self._view.cast("Q")
        self._free: deque[Slot] = deque()
        self._slots = [
            Slot(self._view[at : at + _ROW], self._free) for at in range(_HEAD * _ROW, len(memory), _ROW)
        ]
        self._free.extend(
            reversed(self._slots)
        )  # the last is taken first: few are used, and stay in the cache
        self._spilled: set[Slot] = set()
        self._lock = threading.Lock()  # protects the words of row 0, the error rows and _spilled

    @classmethod
    def create(cls, slots: int) -> Self:
        """Make the memory for `slots` requests at once, which can be given to another process."""
        size = _size(slots)
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("flaskd-slate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        else:
            descriptor, path = tempfile.mkstemp(prefix="flaskd-slate-")
            os.unlink(path)
        try:
            os.ftruncate(descriptor, size)
            if hasattr(fcntl, "F_ADD_SEALS"):
                seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            slate = cls(mmap.mmap(descriptor, size), descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return slate._marked()

    @classmethod
    def adopt(cls, descriptor: int) -> Self:
        """Take over a slate that another process made; raises ValueError where it is none, or another version's."""
        size = os.fstat(descriptor).st_size
        memory = mmap.mmap(descriptor, size) if size >= _size(1) and not size % _ROW else None
        if memory is None or memory[_TEXT : _TEXT + len(_MARK)] != _MARK:
            raise ValueError(f"descriptor {descriptor} is no slate of this version of flaskd")
        return cls(memory, descriptor)

    @classmethod
    def private(cls, slots: int) -> Self:
        """Make one that only this process can read; it needs no closing."""
        return cls(bytearray(_size(slots)), None)._marked()

    def _marked(self) -> Self:
        self._view[_TEXT : _TEXT + len(_MARK)] = _MARK
        return self

    @property
    def descriptor(self) -> int:
        """What another process adopts; inherited by it only if told to. Raises ValueError for a private slate."""
        if self._descriptor is None:
            raise ValueError("a private slate cannot be shared")
        return self._descriptor

    def close(self) -> None:
        """Let go of the memory; nothing can be read or written here afterwards. The other processes keep theirs."""
        for slot in self._slots:
            slot.words.release()
            slot.row.release()
        self._words.release()
        self._view.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def begin(self, number: int, request_id: str, environ: "WSGIEnvironment") -> Slot:
        """Write down a request that comes into the application now; `number` is never used again, and never 0."""
        try:
            slot = self._free.pop()
        except IndexError:
            slot = self._spill()
        get = environ.get
        path = get("SCRIPT_NAME", "") + get("PATH_INFO", "")
        _REQUEST.pack_into(
            slot.row,
            _TEXT,
            time.monotonic(),
            get("REQUEST_METHOD", "").encode("latin-1", "replace"),  # WSGI's strings are bytes: PEP 3333
            get("REMOTE_ADDR", "").encode("latin-1", "replace"),
            _here.name,
            request_id.encode("latin-1", "replace"),
            path.encode("latin-1", "replace"),
        )
        slot.words[_NUMBER] = number
        return slot

    def _spill(self) -> Slot:
        slot = _Spill(self)
        with self._lock:
            self._spilled.add(slot)
            self._words[_SPILLED] += 1
        return slot

    def unspill(self, slot: Slot, kind: int) -> None:
        """Count the end of a request that had no slot in the shared memory."""
        with self._lock:
            self._words[_COUNTS + kind] += 1
            self._words[_SPILLED] -= 1
            self._spilled.remove(slot)

    def blame(self, message: str, request: InFlight) -> None:
        """Make `message` the last error; it ended, or will end, `request`."""
        asked = f"{request.method} {request.path}"
        with self._lock:
            number = self._words[_ERRORS] + 1
            _ERROR.pack_into(
                self._view,
                _error_at(number),
                time.time(),
                request.request_id.encode("utf-8", "replace"),
                asked.encode("utf-8", "replace"),
                message.encode("utf-8", "replace"),
            )
            self._words[_ERRORS] = number

    @property
    def in_flight(self) -> int:
        """How many requests the application has begun and not finished."""
        numbers = self._words[_HEAD * _WORDS + _NUMBER :: _WORDS].tolist()
        return min(len(numbers) - numbers.count(0) + self._words[_SPILLED], _LARGEST)

    def requests(self) -> list[InFlight]:
        """List what is in flight, oldest first; another process's that found no slot are only in `in_flight`."""
        now = time.monotonic()
        seen = [slot.seen(now) for slot in (*self._slots, *self._spilled)]
        return sorted((request for request in seen if request), key=lambda request: request.id)

    def served(self) -> dict[str, int]:
        """Count finished requests by status class."""
        return {
            kind: min(sum(self._words[word::_WORDS]), _LARGEST) for word, kind in enumerate(KINDS, _COUNTS)
        }

    def finished(self) -> int:
        """Count all finished requests."""
        return sum(self.served().values())

    @property
    def last_error(self) -> LastError | None:
        """The newest exception that left the application, or 500 or above that it answered."""
        number, found = 0, b""
        for _ in range(_TRIES):
            number = self._words[_ERRORS]
            at = _error_at(number)
            found = bytes(self._view[at : at + _ERROR.size])
            if number == self._words[_ERRORS]:
                break
        if not number:
            return None
        when, request_id, request, message = _ERROR.unpack(found)
        return LastError(
            at=when if 0 <= when <= _LARGEST else 0.0,
            message=legible(message),
            request=legible(request),
            request_id=legible(request_id),
        )


def legible(field: bytes) -> str:
    """Return the text of a field padded with zeros; one that fills it was too long and ends with an ellipsis.

    What cannot be printed stays encoded: it is shown on terminals and in logs, and is whatever a client made up.
    """
    text = (
        field[:-1].decode("utf-8", "replace") + "…"
        if field[-1:] > b"\0"
        else field.rstrip(b"\0").decode("utf-8", "replace")
    )
    return (
        text if text.isprintable() else "".join(char if char.isprintable() else quote(char) for char in text)
    )


def _size(slots: int) -> int:
    return (_HEAD + slots) * _ROW


def _error_at(number: int) -> int:
    return (1 + number % 2) * _ROW + _TEXT
