"""Counts finished requests in the memory of `metrics.memory`, on the request's thread, once, with little work."""

import gc
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from flaskd.metrics.buckets import BOUNDS, BUCKETS
from flaskd.metrics.memory import (
    ALL_CELLS,
    CELLS,
    CELLS_AT,
    ENTRIES,
    MOST_QUEUES,
    NAME,
    NAME_SIZE,
    NAMED,
    NAMES_AT,
    OTHER,
    PAGE,
    PERIOD,
    PERIODS,
    REJECTED,
    RING_AT,
    SUM_BYTES,
    SUM_SECONDS,
    WAITS,
    WORD,
    MetricsMemory,
)

CROWDED: Final = ENTRIES - 188
"""Cells of a period from which on further ones are counted as OTHER's. If those are too many, the last place has the rest."""

SHORTEST_WAIT: Final = 0.001
"""Seconds in the queue below which a request has not waited."""

LOOK_PAUSE: Final = 0.05
"""Seconds between two looks at the accept queues, at least."""

_WAITING, _WAITS, _WAIT_NS = WORD["waiting"], WORD["waits"], WORD["wait_ns"]
_COLLECTIONS, _REJECTED = WORD["gc_0"], WORD["rejected"]


class Recorder:
    """Counts the requests of this process, from any thread. `on_reject` is called after each that was rejected."""

    def __init__(self, memory: MetricsMemory) -> None:
        view = memoryview(memory.map())
        self._words = view[:PAGE].cast("Q")
        self._names = view[NAMES_AT:CELLS_AT]
        self._sums = self._names.cast("Q")
        self._cells = view[CELLS_AT : CELLS_AT + ALL_CELLS * 8].cast("Q")
        self._periods = view[RING_AT:].cast("Q")
        self._entries = view[RING_AT:].cast("I")
        self._indexes: dict[str, int] = {}
        self._lock = threading.Lock()  # protects the memory and what follows
        self._next_period = 0.0  # monotonic
        self._places: dict[int, int] = {}  # where the present period has the count of a cell
        self._row = 0
        self.on_reject: Callable[[], None] = lambda: None
        self._queues: Sequence[Callable[[], int]] = ()
        self._next_look = 0.0  # at the queues, monotonic

    def record(self, endpoint: str, rule: str, kind: int, seconds: float, size: int, waited: float) -> None:
        """Count a request that ended as `KINDS[kind]` after `seconds`, with a body of `size` bytes.

        `endpoint` is "" for a request without a route. `waited` is its time in the queue, in seconds.
        """
        index = self._indexes.get(endpoint)
        if index is None:
            index = self._index(endpoint, rule)
        cell = index * CELLS + kind * BUCKETS + bisect_right(BOUNDS, seconds)
        now = monotonic()
        # No call in the usual case, so that no other thread runs while this one holds the lock. `with` takes twice as long.
        lock = self._lock
        lock.acquire()
        try:
            self._cells[cell] += 1
            sums = index * 32
            self._sums[sums + SUM_SECONDS] += int(seconds * 1e9)
            self._sums[sums + SUM_BYTES] += size
            if now >= self._next_period:
                self._turn(now)
            place = self._places.get(cell)
            if place is None:
                place = self._place(cell)
            self._entries[place] += 1
        finally:
            lock.release()
        if waited >= SHORTEST_WAIT:
            self._wait(waited)

    def reject(self, waited: float) -> None:
        """Count a request that was answered 503 after it had waited for `waited` seconds, too long; no other number has it."""
        now = monotonic()
        with self._lock:
            if now >= self._next_period:
                self._turn(now)
            self._words[_REJECTED] += 1
            place = self._places.get(REJECTED)
            self._entries[self._place(REJECTED) if place is None else place] += 1
        self._wait(waited)
        self.on_reject()

    def waiting(self, change: int) -> None:
        """Note that one more request waits for a free thread, or one fewer."""
        with self._lock:
            self._words[_WAITING] += change

    def watch_queues(self, lengths: Sequence[Callable[[], int]]) -> None:
        """Look at the accept queues, whose lengths are returned by `lengths`: once in each period, and while requests wait."""
        self._queues = lengths[:MOST_QUEUES]

    def _look_at_queues(self, now: float) -> None:
        self._next_look = now + LOOK_PAUSE
        for number, length in enumerate(self._queues, WORD["queue_0"]):
            self._words[number] = max(self._words[number], length())

    def _wait(self, seconds: float) -> None:
        cell = WAITS + bisect_right(BOUNDS, seconds)
        now = monotonic()
        with self._lock:
            if now >= self._next_look:
                self._look_at_queues(now)
            self._words[_WAITS] += 1
            self._words[_WAIT_NS] += int(seconds * 1e9)
            self._cells[cell] += 1
            place = self._places.get(cell)
            self._entries[self._place(cell) if place is None else place] += 1

    def _index(self, endpoint: str, rule: str) -> int:
        """Return the number of an endpoint that is new, or one too many."""
        with self._lock:
            used = self._words[WORD["endpoints"]]
            index = self._indexes.get(endpoint)
            if index is not None:
                return index
            if used >= NAMED:
                return OTHER
            texts = endpoint.encode("utf-8", "replace"), rule.encode("utf-8", "replace")
            NAME.pack_into(self._names, used * NAME_SIZE, *texts)
            self._words[WORD["endpoints"]] = used + 1
            self._indexes[endpoint] = used
            return used

    def _turn(self, now: float) -> None:
        """Begin another period, in the place of the one an hour ago."""
        period = int(now / PERIOD)
        self._next_period = (period + 1) * PERIOD
        self._row = period % PERIODS
        header = self._row * (PAGE // 8)
        self._periods[header] = self._periods[header + 1] = 0
        self._periods[header] = period
        self._places.clear()
        self._look_at_queues(now)
        # Not by gc.callbacks: a function of ours that runs in the application's thread could swallow a cancellation.
        for generation, each in enumerate(gc.get_stats()[:3]):
            self._words[_COLLECTIONS + generation] = each["collections"]

    def _place(self, cell: int) -> int:
        """Return where the present period has the count of a cell that is new in it."""
        header = self._row * (PAGE // 8) + 1
        used = self._periods[header]
        shown = cell
        if used >= CROWDED and cell < WAITS:  # without its endpoint, if that saves a place
            self._words[WORD["crowded"]] += 1
            shown = OTHER * CELLS + cell % CELLS
        place = self._places.get(shown)
        if place is None:
            used = min(used, ENTRIES - 1)
            place = self._row * (PAGE // 4) + 4 + 2 * used + 1
            if used == self._periods[header]:
                self._entries[place - 1], self._entries[place] = shown, 0
                self._periods[header] = used + 1
            self._places[shown] = place
        self._places[cell] = place
        return place
