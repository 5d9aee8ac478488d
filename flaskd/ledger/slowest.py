"""The slowest requests of the last hour, in memory that other processes can read, whatever happens to the writer.

Time is divided into slices of ten minutes. For each of the last seven slices the memory has the KEPT slowest requests that
ended in it; a slice's place is used again after an hour and ten minutes. A request that ends is compared with the fastest one
that is kept of the current slice: only if it is slower, or the slice is over, is there more to do.

The memory begins with a header: how many entries of each slice are in use, and a mark for the format. An entry begins with a
sequence number, odd while it changes. A reader passes over one that changes while it is read, or whose writer has stopped
halfway. It trusts nothing: texts are bounded and escaped, numbers limited to a range.
"""

import heapq
import struct
import threading
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from flaskd.ledger.row import LARGEST, TEXT, TRIES, decode_field
from flaskd.process.shared_memory import Format, SharedMemory, SharedTable
from flaskd_ctl.protocol import InFlight, SlowRequest

KEPT: Final = 50
"""Requests of each slice."""
SLICE: Final = 600.0
"""Seconds."""
SPAN: Final = 3600.0
"""Seconds for which a request is kept."""
SLICES: Final = int(SPAN // SLICE) + 1

_ENTRY_SIZE: Final = 784
_FORMAT: Final = Format("slow table", b"flaskd slow 1", mark_at=TEXT, unit=_ENTRY_SIZE)
_TIMES: Final = struct.Struct("=Qdd")  # sequence; when it ended, monotonic; seconds
_ENTRY: Final = struct.Struct(
    "=dQI16s512s80s132s"
)  # when, Unix time; number, status; method, path, endpoint, request id
assert _TIMES.size + _ENTRY.size <= _ENTRY_SIZE


class Slow(NamedTuple):
    """A request with the monotonic time of its end."""

    ended: float
    request: SlowRequest


class SlowTable(SharedTable):
    """The slowest requests of one process, which alone records them.

    A request has to be recorded if it took longer than `least`, or ends after `until` (monotonic).
    """

    form = _FORMAT
    entry = (1 + SLICES * KEPT) * _ENTRY_SIZE

    def __init__(self, memory: SharedMemory) -> None:
        super().__init__(memory)
        self._lock = threading.Lock()  # protects what the writer changes: the memory, and what follows
        self._slowest: list[tuple[float, int]] = []  # a heap of this slice's: seconds, entry
        self._slice = -1
        self.least = 0.0
        self.until = 0.0

    def record(self, request: InFlight, status: int, *, seconds: float, now: float) -> None:
        """Keep a request that ended at monotonic time `now`, if it is slow enough."""
        with self._lock:
            if now >= self.until:
                self._next_slice(now)
            base = self._slice % SLICES * KEPT
            if len(self._slowest) < KEPT:
                entry = base + len(self._slowest)
                heapq.heappush(self._slowest, (seconds, entry))
            elif seconds > self._slowest[0][0]:
                entry = heapq.heapreplace(self._slowest, (seconds, self._slowest[0][1]))[1]
            else:
                return
            self._write(entry, request, status, seconds=seconds, now=now)
            self._memory.words[self._slice % SLICES] = len(self._slowest)
            if len(self._slowest) == KEPT:
                self.least = self._slowest[0][0]

    def slowest(self, limit: int, now: float) -> list[Slow]:
        """Return the slowest requests that ended within the hour before `now` (monotonic)."""
        found = []
        for number in range(SLICES):
            for place in range(min(self._memory.words[number], KEPT)):
                at = _at(number * KEPT + place)
                _, ended, seconds = _TIMES.unpack_from(self._memory.bytes, at)
                if now - SPAN <= ended <= now and 0 <= seconds <= LARGEST:
                    found.append((seconds, at))
        slowest = heapq.nlargest(limit, found)
        return [slow for _, at in slowest if (slow := self._read(at)) is not None]

    def _next_slice(self, now: float) -> None:
        self._slice = int(now // SLICE)
        self.until = (self._slice + 1) * SLICE
        self.least = 0.0
        self._slowest = []
        self._memory.words[self._slice % SLICES] = 0

    def _write(self, entry: int, request: InFlight, status: int, *, seconds: float, now: float) -> None:
        at, memory = _at(entry), self._memory.bytes
        words = self._memory.words
        words[at // 8] |= 1
        _ENTRY.pack_into(
            memory,
            at + _TIMES.size,
            time.time(),
            request.id,
            status,
            request.method.encode("utf-8", "replace"),
            request.path.encode("utf-8", "replace"),
            (request.endpoint or "").encode("utf-8", "replace"),
            request.request_id.encode("utf-8", "replace"),
        )
        _TIMES.pack_into(memory, at, words[at // 8], now, seconds)
        words[at // 8] += 1

    def _read(self, at: int) -> Slow | None:
        words = self._memory.words
        for _ in range(TRIES):
            sequence = words[at // 8]
            copy = bytes(self._memory.bytes[at : at + _ENTRY_SIZE])
            if words[at // 8] == sequence and not sequence & 1:
                return _decode(copy)
        return None


class Slowest:
    """The slowest requests of an instance's processes, of those that are gone, too: KEPT of each slice."""

    def __init__(self) -> None:
        self._gone: list[Slow] = []

    def add(self, table: SlowTable, worker: int, now: float) -> None:
        """Keep what a process that is gone has recorded."""
        slices: dict[float, int] = {}
        kept = []
        found = [*self._gone, *_of(table, worker, KEPT * SLICES, now)]
        for slow in sorted(found, key=_seconds, reverse=True):
            number = slow.ended // SLICE
            slices[number] = slices.get(number, 0) + 1
            if slices[number] <= KEPT and slow.ended >= now - SPAN:
                kept.append(slow)
        self._gone = kept

    def listed(self, tables: dict[int, SlowTable], limit: int, now: float) -> list[SlowRequest]:
        """Return the slowest, slowest first, with those in `tables` (by worker)."""
        found = [slow for slow in self._gone if slow.ended >= now - SPAN]
        for worker, table in tables.items():
            found += _of(table, worker, limit, now)
        return [slow.request for slow in heapq.nlargest(limit, found, key=_seconds)]


def _of(table: SlowTable, worker: int, limit: int, now: float) -> Iterable[Slow]:
    return [
        slow._replace(request=msgspec.structs.replace(slow.request, worker=worker))
        for slow in table.slowest(limit, now)
    ]


def _seconds(slow: Slow) -> float:
    return slow.request.seconds


def _at(entry: int) -> int:
    return (1 + entry) * _ENTRY_SIZE


def _decode(entry: bytes) -> Slow | None:
    _, ended, seconds = _TIMES.unpack_from(entry)
    if not (0 <= seconds <= LARGEST and 0 <= ended <= LARGEST):
        return None
    at, number, status, method, path, endpoint, request_id = _ENTRY.unpack_from(entry, _TIMES.size)
    request = SlowRequest(
        id=min(number, LARGEST),
        at=at if 0 <= at <= LARGEST else 0.0,
        seconds=round(seconds, 3),
        method=decode_field(method),
        path=decode_field(path),
        endpoint=decode_field(endpoint),
        status=status,
        request_id=decode_field(request_id),
    )
    return Slow(ended, request)
