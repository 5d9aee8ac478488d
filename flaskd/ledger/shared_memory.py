"""The slate: one worker's requests in memory that other processes read, whatever has become of the worker.

The memory is rows of 1 KiB that begin with eight words, as a slot does:

    row 0      words: number of the last error; requests in flight that found no slot; counts of those. Then the mark and
               the bell, a byte
    row 1, 2   the last error, and the one before it or the next: it is written where the current one is not, then made current
    row 3 …    slots

Nothing is locked for a request: each slot has counts of its own, which readers add up. The size is sealed, so that reading
never ends in SIGBUS.
"""

import fcntl
import mmap
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from flaskd.ledger.row import COUNTS, KINDS, LARGEST, NUMBER, ROW, TEXT, TRIES, Slot, legible
from flaskd_ctl.protocol import InFlight, LastError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_HEAD: Final = 3  # rows before the first slot
_WORDS: Final = ROW // 8  # from a word to the same one of the next row
_ERRORS, _SPILLED = 0, 1  # words of row 0
_MARK: Final = b"flaskd slate 2"
_BELL: Final = TEXT + 32  # 1: whoever begins the next request is to ring
_ERROR: Final = struct.Struct("=d136s408s408s")  # at, request id, request, message
assert TEXT + _ERROR.size == ROW


_Memory = mmap.mmap | bytearray


class Slate:
    """The requests of one worker: in flight, counted, and the last error.

    `create` makes the memory, `adopt` finds it in a process that has inherited the descriptor, `private` does without one.
    One process begins requests; any may read. `on_ring` is called there when one begins after `arm`, once.
    """

    def __init__(self, memory: _Memory, descriptor: int | None) -> None:
        self._memory = memory
        self._descriptor = descriptor
        self._rows = memoryview(memory)
        self._words = self._rows.cast("Q")
        self._free: deque[Slot] = deque()
        starts = range(_HEAD * ROW, len(memory), ROW)
        self._slots = [Slot(self._rows[start : start + ROW], self._free) for start in starts]
        self._free.extend(reversed(self._slots))  # used from the end: few of them are, and stay in the cache
        self._spilled: set[Slot] = set()
        self.on_ring: Callable[[], None] = lambda: None
        self._lock = threading.Lock()  # protects what is written of rows 0 to 2, and _spilled

    @classmethod
    def create(cls, slots: int) -> Self:
        """Make the memory for `slots` requests at once, which can be given to another process."""
        size = (_HEAD + slots) * ROW
        descriptor = _nameless()
        try:
            os.ftruncate(descriptor, size)
            if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
                seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            return cls(_marked(mmap.mmap(descriptor, size)), descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def adopt(cls, descriptor: int) -> Self:
        """Take over the descriptor of a slate; raises ValueError where it is none, or another version's."""
        size = os.fstat(descriptor).st_size
        if size > _HEAD * ROW and not size % ROW:
            memory = mmap.mmap(descriptor, size)
            if memory[TEXT : TEXT + len(_MARK)] == _MARK:
                os.set_inheritable(
                    descriptor, False
                )  # it came through an exec; the application's children go without
                return cls(memory, descriptor)
            memory.close()
        raise ValueError(f"descriptor {descriptor} is no slate of this version of flaskd")

    @classmethod
    def private(cls, slots: int) -> Self:
        """Make one that only this process can read; it needs no closing."""
        return cls(_marked(bytearray((_HEAD + slots) * ROW)), None)

    @property
    def descriptor(self) -> int:
        """What another process adopts; inherited by it only if told to. Raises ValueError for a private slate."""
        if self._descriptor is None:
            raise ValueError("this slate has no descriptor")
        return self._descriptor

    def close(self) -> None:
        """Let go of the memory; nothing can be read or written here afterwards. Other processes keep theirs."""
        for slot in self._slots:
            slot.release()
        self._words.release()
        self._rows.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def begin(self, number: int, request_id: str, environ: "WSGIEnvironment") -> Slot:
        """Write down a request that comes into the application now; `number` is above 0 and was never used here."""
        try:
            slot = self._free.pop()
        except IndexError:
            slot = _Spill(self)
        slot.begin(number, request_id, environ)
        if self._rows[_BELL]:
            self._rows[_BELL] = 0
            self.on_ring()
        return slot

    def arm(self) -> None:
        """Have whoever begins the next request ring: so nobody has to look again and again whether one has begun."""
        self._rows[_BELL] = 1

    def blame(self, message: str, request: InFlight) -> None:
        """Make `message` the last error, seen in `request`."""
        texts = (request.request_id, f"{request.method} {request.path}", message)
        encoded = [text.encode("utf-8", "replace") for text in texts]
        with self._lock:
            number = self._words[_ERRORS] + 1
            _ERROR.pack_into(self._rows, _error_at(number), time.time(), *encoded)
            self._words[_ERRORS] = number

    @property
    def in_flight(self) -> int:
        """How many requests the application has begun and not finished."""
        numbers = self._words[_HEAD * _WORDS + NUMBER :: _WORDS].tolist()
        return min(len(numbers) - numbers.count(0) + self._words[_SPILLED], LARGEST)

    def requests(self) -> list[InFlight]:
        """List what is in flight, oldest first. Those of another process that found no slot are in `in_flight` only."""
        now = time.monotonic()
        seen = [slot.seen(now) for slot in (*self._slots, *self._spilled)]
        return sorted((request for request in seen if request), key=lambda request: request.id)

    def served(self) -> dict[str, int]:
        """Count finished requests by status class."""
        return {
            kind: min(sum(self._words[word::_WORDS].tolist()), LARGEST)
            for word, kind in enumerate(KINDS, COUNTS)
        }

    def finished(self) -> int:
        """Count all finished requests."""
        return sum(self.served().values())

    @property
    def last_error(self) -> LastError | None:
        """The newest exception that left the application, or 500 or above that it answered."""
        found = b""
        for _ in range(TRIES):
            number = self._words[_ERRORS]
            if not number:
                return None
            at = _error_at(number)
            found = bytes(self._rows[at : at + _ERROR.size])
            if self._words[_ERRORS] == number:
                break
        when, request_id, request, message = _ERROR.unpack(found)
        return LastError(
            at=when if 0 <= when <= LARGEST else 0.0,
            message=legible(message),
            request=legible(request),
            request_id=legible(request_id),
        )


class _Spill(Slot):
    """A slot made for a request that found all others taken: only its process can describe it, others count it."""

    __slots__ = ("_slate",)

    def __init__(self, slate: Slate) -> None:
        super().__init__(memoryview(bytearray(ROW)), deque())
        self._slate = slate
        with slate._lock:
            slate._spilled.add(self)
            slate._words[_SPILLED] += 1

    def end(self, kind: int) -> None:
        slate = self._slate
        with slate._lock:
            slate._words[COUNTS + kind] += 1
            slate._words[_SPILLED] -= 1
            slate._spilled.discard(self)


def _nameless() -> int:
    """Open memory without a name, or where the system has none (it is Linux's) a file without one."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("flaskd-slate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="flaskd-slate-")
    os.unlink(path)
    return descriptor


def _marked(memory: _Memory) -> _Memory:
    memory[TEXT : TEXT + len(_MARK)] = _MARK
    return memory


def _error_at(number: int) -> int:
    return (1 + number % 2) * ROW + TEXT
