"""Adds the numbers of all workers up, also of those that are gone: nothing is lost when a worker ends.

What is counted in a period does not change after it; so each period of a worker is read once, and the sum of the last hour is
kept. Endpoints have numbers here that hold for all workers.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Final

import msgspec

from flaskd.metrics.memory import CELLS, NAMED, OTHER, PERIOD, WAITS, MetricsMemory

HOUR: Final = 360
"""Periods of an hour."""

LATE: Final = 2
"""Periods after which nothing is counted in a period any more, also if its writer was held up."""


class Series(msgspec.Struct):
    """What was counted of one endpoint: requests by cell, nanoseconds in the application, bytes of bodies."""

    name: str
    rule: str
    counts: Counter[int] = msgspec.field(default_factory=Counter)
    nanoseconds: int = 0
    bytes: int = 0


class Names:
    """The numbers of endpoints, by name; those beyond NAMED share the number OTHER."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """Return the number of an endpoint."""
        if name not in self._numbers and len(self._numbers) >= NAMED:
            return OTHER
        return self._numbers.setdefault(name, len(self._numbers))

    def known(self, name: str) -> int | None:
        """Return the number of an endpoint that was counted; None for another."""
        return self._numbers.get(name)


class Sums:
    """Numbers since the start: each endpoint's, the time in the queue, garbage collections."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.series: dict[int, Series] = {}
        self.waits: Counter[int] = Counter()
        self.header: Counter[str] = Counter()

    def add(self, memory: MetricsMemory) -> None:
        """Add what a worker has counted so far."""
        for each in memory.endpoints():
            number = OTHER if each.number == OTHER else self.names.number(each.name)
            series = self.series.get(number)
            if series is None:
                name, rule = ("", "") if number == OTHER else (each.name, each.rule)
                series = self.series[number] = Series(name, rule)
            series.counts.update(each.counts)
            series.nanoseconds += each.nanoseconds
            series.bytes += each.bytes
        self.waits.update(memory.waits())
        self.header.update(memory.header())

    def copy(self) -> "Sums":
        """Return a copy to which more can be added."""
        other = Sums(self.names)
        other.waits, other.header = self.waits.copy(), self.header.copy()
        for number, one in self.series.items():
            other.series[number] = Series(one.name, one.rule, one.counts.copy(), one.nanoseconds, one.bytes)
        return other


class Periods:
    """What was counted in each period of the last hour, by cell."""

    def __init__(self, names: Names, clock: Callable[[], float] = monotonic) -> None:
        self._names = names
        self._clock = clock
        self._complete: dict[int, Counter[int]] = {}
        self._hour: Counter[int] = Counter()  # the sum of _complete
        self._read_until: dict[int, int] = {}  # the last period of each worker that is in _complete

    def read(self, worker: int, memory: MetricsMemory) -> None:
        """Take over what is complete of a worker's periods."""
        self._take(worker, memory, self._now() - LATE)

    def read_rest(self, worker: int, memory: MetricsMemory) -> None:
        """Take over all of a worker that is gone."""
        self._take(worker, memory, self._now())
        self._read_until.pop(worker, None)

    def last(self, count: int, memories: Iterable[MetricsMemory]) -> Counter[int]:
        """Sum up the last `count` periods and the one under way, with what is not complete yet in `memories`."""
        now = self._now()
        self._forget(now - HOUR + 1)
        if count >= HOUR:
            found = self._hour.copy()
        else:
            found = Counter()
            for period in range(now - count, now + 1):
                found.update(self._complete.get(period, Counter()))
        for memory in memories:
            for _, counts in self._periods_of(memory, max(now - LATE + 1, now - count), now):
                found.update(counts)
        return found

    def each(self, memories: Iterable[MetricsMemory]) -> dict[int, Counter[int]]:
        """Return each period of the last hour by its number: 0 is under way, -1 was before it."""
        now = self._now()
        self._forget(now - HOUR + 1)
        found: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for period, counts in self._complete.items():
            found[period - now].update(counts)
        for memory in memories:
            for period, counts in self._periods_of(memory, now - LATE + 1, now):
                found[period - now].update(counts)
        return found

    def elapsed(self) -> float:
        """Return the seconds of the period under way that have passed."""
        return self._clock() % PERIOD

    def _now(self) -> int:
        return int(self._clock() / PERIOD)

    def _take(self, worker: int, memory: MetricsMemory, until: int) -> None:
        first = max(self._read_until.get(worker, 0) + 1, self._now() - HOUR)
        for period, counts in self._periods_of(memory, first, until):
            self._complete.setdefault(period, Counter()).update(counts)
            self._hour.update(counts)
        self._read_until[worker] = max(until, first - 1)
        self._forget(self._now() - HOUR + 1)

    def _periods_of(self, memory: MetricsMemory, first: int, last: int) -> Iterator[tuple[int, Counter[int]]]:
        numbers = [self._names.number(name) for name, _ in memory.names()]
        for period, counts in memory.periods(first, last):
            renumbered: Counter[int] = Counter()
            for cell, count in counts.items():
                index, rest = divmod(cell, CELLS)
                if cell >= WAITS:
                    renumbered[cell] += count
                else:
                    number = numbers[index] if index < len(numbers) else OTHER
                    renumbered[number * CELLS + rest] += count
            yield period, renumbered

    def _forget(self, before: int) -> None:
        """Drop the periods before `before`."""
        old = [period for period in self._complete if period < before]
        for period in old:
            self._hour.subtract(self._complete.pop(period))
        if old:
            self._hour += Counter()  # which drops what is counted 0 times


class Totals:
    """The numbers of an instance."""

    def __init__(self) -> None:
        self.names = Names()
        self.periods = Periods(self.names)
        self._gone = Sums(self.names)

    def add_last(self, worker: int, memory: MetricsMemory) -> None:
        """Add all that a worker has counted: it is gone, and its memory goes next."""
        self._gone.add(memory)
        self._gone.header["waiting"] = 0  # which nobody does any more
        self.periods.read_rest(worker, memory)

    def rejected(self, memories: Iterable[MetricsMemory]) -> int:
        """Count the requests that were answered 503 because they had waited too long."""
        living = sum(memory.rejected() for memory in memories)
        return self._gone.header["rejected"] + living

    def sums(self, memories: Mapping[int, MetricsMemory]) -> Sums:
        """Sum up everything since the start; `memories` are those of the workers that are there."""
        found = self._gone.copy()
        for worker, memory in memories.items():
            found.add(memory)
            self.periods.read(worker, memory)
        return found
