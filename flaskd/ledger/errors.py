"""The errors of one process, grouped, in memory that other processes can read, whatever happens to the writer.

The memory begins with a header: how many slots are in use, how many groups gave way to newer ones, and a mark for the format.
Each slot has one group: errors of one exception type from one place, or responses of one endpoint with one status of 500 or
above. It costs nothing where no error happens: nobody writes, and unused slots take no memory.

A slot begins with a sequence number, odd while the slot changes, and a count, which is 0 while the slot changes hands. A reader
copies again what changes while it reads, and takes what it has got if the writer has stopped halfway: a group is then described
by parts of two of its errors. It trusts nothing: texts are bounded and escaped, numbers limited to a range.
"""

import hashlib
import struct
import threading
import time
from typing import Final, NamedTuple

from flaskd.ledger.error_report import LONGEST_TRACE, ErrorReport
from flaskd.ledger.row import LARGEST, TEXT, TRIES, decode_field, printable
from flaskd.process.shared_memory import Format, SharedMemory, SharedTable
from flaskd_ctl.protocol import ErrorGroup, InFlight

GROUPS: Final = 100
"""Groups that are kept: of each process, and of an instance."""

SLOT_SIZE: Final = 10_752
_HEADER: Final = 512
_FORMAT: Final = Format("error table", b"flaskd errors 1", mark_at=TEXT, unit=512)
_USED, _DROPPED = 0, 1  # words of the header
_SEQUENCE, _COUNT = 0, 1  # words of a slot
_KEY: Final = struct.Struct("=dII128s256s128s")  # first; line, status; exception, file, function
_LAST: Final = struct.Struct(
    "=dQI16s512s80s136s1024s"
)  # last, request, status; method, path, endpoint, request id, message
_COUNTED: Final = struct.Struct("=Q")
_TIME: Final = struct.Struct("=d")
_KEY_AT: Final = 16
_LAST_AT: Final = _KEY_AT + _KEY.size
_TRACE_AT: Final = _LAST_AT + _LAST.size
assert _TRACE_AT + LONGEST_TRACE <= SLOT_SIZE
_LONGEST_FILE: Final = 240

Key = tuple[str, str, str, int, int]
"""Exception type, file, function (or endpoint), line, status."""


class Recorded(NamedTuple):
    """A group as it lies in memory, with its numbers: only what is shown is decoded, which takes longer than all the rest."""

    times: int
    first: float
    last: float
    worker: int
    slot: bytes

    @property
    def key(self) -> bytes:
        """What makes it a group."""
        return self.slot[_KEY_AT + _TIME.size : _LAST_AT]

    def group(self, *, whole: bool = False) -> ErrorGroup:
        """Describe the group, if `whole` with its traceback."""
        return _decode(self, self.slot[_TRACE_AT : _TRACE_AT + LONGEST_TRACE] if whole else b"")

    def plus(self, other: "Recorded") -> "Recorded":
        """Return both as one group, described as the one with the newest error."""
        newest = self if self.last > other.last else other
        times = min(self.times + other.times, LARGEST)
        return newest._replace(times=times, first=min(self.first, other.first))


class ErrorTable(SharedTable):
    """The groups of errors of one process, which alone records them."""

    form = _FORMAT
    head = _HEADER
    entry = SLOT_SIZE
    usual = GROUPS

    def __init__(self, memory: SharedMemory) -> None:
        super().__init__(memory)
        count = (len(memory.bytes) - _HEADER) // SLOT_SIZE
        starts = [_HEADER + slot * SLOT_SIZE for slot in range(count)]
        self._slots = [memory.bytes[start : start + SLOT_SIZE] for start in starts]
        self._words = [slot[:16].cast("Q") for slot in self._slots]
        self._lock = threading.Lock()  # protects what the writer changes: the memory, and what follows
        self._places: dict[Key, int] = {}
        self._newest: dict[int, float] = {}  # when each slot was written to

    def close(self) -> None:
        """Release the memory; this object cannot be used afterwards. Other processes keep theirs."""
        for view in (*self._words, *self._slots):
            view.release()
        super().close()

    def record(self, report: ErrorReport | None, request: InFlight, status: int) -> None:
        """Count an error of `request`; without a `report` it is a response of that status."""
        key = _key_of(report, request, status)
        with self._lock:
            slot = self._places.get(key)
            new = slot is None
            if slot is None:
                slot = self._places[key] = self._room()
            memory, words, now = self._slots[slot], self._words[slot], time.time()
            words[_SEQUENCE] |= 1
            if new:
                words[_COUNT] = 0
                _KEY.pack_into(memory, _KEY_AT, now, key[3], key[4], *_encoded(*key[:3]))
            texts = _encoded(
                request.method,
                request.path,
                request.endpoint or "",
                request.request_id,
                report.message if report else "",
            )
            _LAST.pack_into(memory, _LAST_AT, now, request.id, status, *texts)
            trace = report.trace.encode("utf-8", "replace")[:LONGEST_TRACE] if report else b""
            memory[_TRACE_AT : _TRACE_AT + LONGEST_TRACE] = trace.ljust(LONGEST_TRACE, b"\0")
            words[_COUNT] += 1
            words[_SEQUENCE] += 1
            self._newest[slot] = now

    def recorded(self, worker: int = 0) -> list[Recorded]:
        """Return the groups, as those of `worker`."""
        used = min(self._memory.words[_USED], len(self._slots))
        return [found for slot in range(used) if (found := self._read(slot, worker)) is not None]

    @property
    def dropped(self) -> int:
        """How many groups gave way to newer ones."""
        return min(self._memory.words[_DROPPED], LARGEST)

    def _room(self) -> int:
        """Return a slot for a new group: an unused one, or that of the group which had no error for the longest time."""
        words = self._memory.words
        used = words[_USED]
        if used < len(self._slots):
            words[_USED] = used + 1
            return int(used)
        oldest = min(self._newest, key=self._newest.__getitem__)
        for key in [key for key, slot in self._places.items() if slot == oldest]:
            del self._places[key]
        words[_DROPPED] += 1
        return oldest

    def _read(self, slot: int, worker: int) -> Recorded | None:
        words, copy = self._words[slot], b""
        for _ in range(TRIES):
            sequence = words[_SEQUENCE]
            copy = bytes(self._slots[slot])
            if words[_SEQUENCE] == sequence and not sequence & 1:
                break
        (count,) = _COUNTED.unpack_from(copy, 8 * _COUNT)
        (first,), (last,) = _TIME.unpack_from(copy, _KEY_AT), _TIME.unpack_from(copy, _LAST_AT)
        return Recorded(min(count, LARGEST), _moment(first), _moment(last), worker, copy) if count else None


class Errors:
    """The groups of an instance's processes, of those that are gone, too. The newest GROUPS of them are kept."""

    def __init__(self) -> None:
        self._gone: dict[bytes, Recorded] = {}
        self._dropped = 0

    def add(self, table: ErrorTable, worker: int) -> None:
        """Keep what a process that is gone has recorded."""
        self._dropped += table.dropped
        _merge(self._gone, table, worker)
        for key in sorted(self._gone, key=lambda key: self._gone[key].last)[:-GROUPS]:
            del self._gone[key]
            self._dropped += 1

    def listed(self, tables: dict[int, ErrorTable]) -> tuple[list[Recorded], int]:
        """Return the newest groups, newest last, with those in `tables` (by worker), and how many there were before."""
        found = dict(self._gone)
        dropped = self._dropped + sum(table.dropped for table in tables.values())
        for worker, table in tables.items():
            _merge(found, table, worker)
        newest = sorted(found.values(), key=lambda each: each.last)
        return newest[-GROUPS:], min(dropped + max(0, len(newest) - GROUPS), LARGEST)


def _merge(found: dict[bytes, Recorded], table: ErrorTable, worker: int) -> None:
    for each in table.recorded(worker):
        key = each.key
        found[key] = found[key].plus(each) if key in found else each


def _key_of(report: ErrorReport | None, request: InFlight, status: int) -> Key:
    if report is None:
        return "", "", request.endpoint or "", 0, status
    file = report.file if len(report.file) <= _LONGEST_FILE else f"…{report.file[-_LONGEST_FILE:]}"
    return report.exception, file, report.function, report.line, 0


def _encoded(*texts: str) -> list[bytes]:
    return [text.encode("utf-8", "replace") for text in texts]


def _decode(recorded: Recorded, trace: bytes) -> ErrorGroup:
    _, line, grouped, exception, file, function = _KEY.unpack_from(recorded.slot, _KEY_AT)
    _, number, status, method, path, endpoint, request_id, message = _LAST.unpack_from(
        recorded.slot, _LAST_AT
    )
    key: Key = (decode_field(exception), decode_field(file), decode_field(function), line, grouped)
    return ErrorGroup(
        id=_digest(key),
        exception=key[0],
        message=decode_field(message),
        file=key[1],
        line=line,
        function=key[2] if key[0] else "",
        status=status,
        count=recorded.times,
        first=recorded.first,
        last=recorded.last,
        method=decode_field(method),
        path=decode_field(path),
        endpoint=decode_field(endpoint),
        request_id=decode_field(request_id),
        request=min(number, LARGEST),
        worker=recorded.worker,
        traceback=printable(trace.rstrip(b"\0").decode("utf-8", "replace"), keep="\n\t"),
    )


def _digest(key: Key) -> str:
    """Return a group's id: the same in each process, after each restart."""
    return hashlib.blake2s(repr(key).encode(), digest_size=4).hexdigest()


def _moment(at: float) -> float:
    return at if 0 <= at <= LARGEST else 0.0
