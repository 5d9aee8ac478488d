"""One worker's numbers in memory that other processes can read, whatever happens to the worker.

The memory is sparse: a page costs nothing before something is counted in it.

    header    eight-byte words (HEADER_WORDS names them)
    names     for each endpoint its name and rule, and the sums of its requests: seconds, bytes
    cells     for each endpoint, kind of end (see `ledger.row.KINDS`) and bucket of the duration: a count
    waits     for each bucket of the time in the queue: a count; then a cell for the requests that had waited too long
    ring      for each period of ten seconds of the last hour: the cells that were counted, with a count

The writer takes a lock, since two threads may count in the same cell. A reader takes none: it may see a request in one place
and not yet in another. What it reads may be anything, since the writer runs the application; it is bounded here.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, Self

from flaskd.ledger.row import KINDS, LARGEST, decode_field
from flaskd.metrics.buckets import BUCKETS
from flaskd.process.shared_memory import Format, check_file, create_file

PAGE: Final = 4096
NAMED: Final = 512
"""Endpoints that are counted by name; the others are counted together, as OTHER."""
OTHER: Final = NAMED
CELLS: Final = len(KINDS) * BUCKETS
"""Cells of one endpoint."""
WAITS: Final = (NAMED + 1) * CELLS
"""The number of the first cell of the waits."""
REJECTED: Final = WAITS + BUCKETS
"""The number of the cell that counts requests answered in the application's place (see `http.queue_limit`)."""
ALL_CELLS: Final = REJECTED + 1

PERIOD: Final = 10.0
"""Seconds of a period. Periods are counted from the start of the monotonic clock, which all processes share."""
PERIODS: Final = 361
"""An hour, and the period under way."""
ENTRIES: Final = (PAGE - 16) // 8
"""Cells that a period can hold."""

HEADER_WORDS: Final = (
    "endpoints",
    "waiting",
    "waits",
    "wait_ns",
    "gc_0",
    "gc_1",
    "gc_2",
    "crowded",
    "queue_0",
    "queue_1",
    "queue_2",
    "queue_3",
    "rejected",
)
WORD: Final = {name: number for number, name in enumerate(HEADER_WORDS, 3)}
"""Words of the header; the first three hold the mark of the format."""

NAME: Final = struct.Struct("=96s144s")
NAME_SIZE: Final = 256
"""Bytes of an endpoint: its name and rule, then two words with the sums."""
SUM_SECONDS, SUM_BYTES = 30, 31
"""Words of an endpoint's 32: nanoseconds in the application, and bytes of response bodies."""

MOST_CELLS: Final = 20_000
"""Cells of one worker that are read: 40 for each endpoint. Only a worker that was taken over writes more."""

MOST_QUEUES: Final = 4
"""Listeners whose accept queue a worker looks at."""

NAMES_AT: Final = PAGE
CELLS_AT: Final = NAMES_AT + -(-(NAMED + 1) * NAME_SIZE // PAGE) * PAGE
RING_AT: Final = CELLS_AT + -(-ALL_CELLS * 8 // PAGE) * PAGE
SIZE: Final = RING_AT + PERIODS * PAGE
_FORMAT: Final = Format("metrics table", b"flaskd metrics 1", mark_at=0, unit=SIZE)


def name_as_read(endpoint: str) -> str:
    """Return an endpoint's name as a reader of the memory gets it: cut to fit, unprintable characters escaped."""
    name, _ = NAME.unpack(NAME.pack(endpoint.encode("utf-8", "replace"), b""))
    return decode_field(name)


class Endpoint(NamedTuple):
    """What was counted of one endpoint: its number; `counts` by cell, from 0 to CELLS; nanoseconds; bytes."""

    number: int
    name: str
    rule: str
    counts: dict[int, int]
    nanoseconds: int
    bytes: int


class MetricsMemory:
    """The numbers of one worker. One process writes, to `map()` (see `recorder`); any process may read.

    It is read with pread(2): to read a page of a mapping that nobody has written would take memory for it (shmem has no shared
    page of zeros).
    """

    def __init__(self, descriptor: int | None, memory: mmap.mmap | None = None) -> None:
        self._descriptor = descriptor
        self._memory = memory
        self._names: list[tuple[str, str]] = []

    @classmethod
    def create(cls) -> Self:
        """Make memory that another process can map."""
        return cls(create_file(_FORMAT, SIZE))

    @classmethod
    def attach(cls, descriptor: int) -> Self:
        """Use the memory behind `descriptor`; raises ValueError for anything else, or another version's."""
        check_file(_FORMAT, descriptor, least=SIZE)
        return cls(descriptor)

    @classmethod
    def private(cls) -> Self:
        """Make memory for this process alone; it needs no `close`."""
        return cls(None, mmap.mmap(-1, SIZE))

    @property
    def descriptor(self) -> int:
        """The descriptor that another process attaches to; it is not inheritable. Raises ValueError for private memory."""
        if self._descriptor is None:
            raise ValueError("these metrics have no descriptor")
        return self._descriptor

    def map(self) -> mmap.mmap:
        """Map it, to write to it."""
        return self._memory or mmap.mmap(self.descriptor, SIZE)

    def close(self) -> None:
        """Close the descriptor; this object cannot be used afterwards. Other processes keep the memory."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def header(self) -> dict[str, int]:
        """Return the words of the header."""
        words = self._read(0, PAGE, "Q")
        return {name: min(words[number], LARGEST) for name, number in WORD.items()}

    def waiting(self) -> int:
        """Return how many requests wait for a free thread."""
        return self._word("waiting")

    def rejected(self) -> int:
        """Return how many requests were answered 503 because they had waited too long."""
        return self._word("rejected")

    def take_queues(self) -> list[int]:
        """Return the longest accept queue of each listener that the worker has seen since the last call."""
        header = self.header()
        if self._descriptor is not None:
            os.pwrite(self._descriptor, bytes(8 * MOST_QUEUES), WORD["queue_0"] * 8)
        elif self._memory is not None:
            start = WORD["queue_0"] * 8
            self._memory[start : start + 8 * MOST_QUEUES] = bytes(8 * MOST_QUEUES)
        return [header[f"queue_{number}"] for number in range(MOST_QUEUES)]

    def names(self) -> list[tuple[str, str]]:
        """Return the name and the rule of each endpoint, by number. They do not change, so each is read once."""
        known, used = len(self._names), min(self._read(0, PAGE, "Q")[WORD["endpoints"]], NAMED)
        if known < used:
            data = self._read(NAMES_AT + known * NAME_SIZE, (used - known) * NAME_SIZE, "B")
            for index in range(used - known):
                name, rule = NAME.unpack_from(data, index * NAME_SIZE)
                self._names.append((decode_field(name), decode_field(rule)))
        return self._names

    def endpoints(self) -> Iterator[Endpoint]:
        """Return what was counted of each endpoint, and of the OTHER ones, which have no name."""
        names, left = self.names(), MOST_CELLS
        for index in (*range(len(names)), OTHER):
            cells = self._read(CELLS_AT + index * CELLS * 8, CELLS * 8, "Q").tolist()
            counts = {cell: min(count, LARGEST) for cell, count in enumerate(cells) if count}
            left -= len(counts)
            if left < 0:
                return
            if counts:
                sums = self._read(NAMES_AT + index * NAME_SIZE, NAME_SIZE, "Q")
                nanoseconds, size = (min(sums[word], LARGEST) for word in (SUM_SECONDS, SUM_BYTES))
                name, rule = names[index] if index < OTHER else ("", "")
                yield Endpoint(index, name, rule, counts, nanoseconds, size)

    def waits(self) -> dict[int, int]:
        """Return how many requests waited in the queue, by bucket of their time; those that did not wait are not counted."""
        cells = self._read(CELLS_AT + WAITS * 8, BUCKETS * 8, "Q").tolist()
        return {bucket: min(count, LARGEST) for bucket, count in enumerate(cells) if count}

    def periods(self, first: int, last: int) -> Iterator[tuple[int, dict[int, int]]]:
        """Return each period from `first` to `last` that something was counted in: its number, and the counts by cell."""
        for period in range(max(first, last - PERIODS + 1), last + 1):
            at = RING_AT + period % PERIODS * PAGE
            row = self._read(at, PAGE, "Q")
            if row[0] == period:
                pairs = row.cast("B").cast("I")[4 : 4 + 2 * min(row[1], ENTRIES)].tolist()
                pairs_of = zip(pairs[::2], pairs[1::2], strict=True)
                yield period, {cell: count for cell, count in pairs_of if cell < ALL_CELLS}

    def _word(self, name: str) -> int:
        return min(self._read(WORD[name] * 8, 8, "Q")[0], LARGEST)

    def _read(self, at: int, size: int, form: Literal["Q", "B"]) -> memoryview:
        if self._memory is not None:
            return memoryview(self._memory[at : at + size]).cast(form)
        return memoryview(os.pread(self.descriptor, size, at)).cast(form)
