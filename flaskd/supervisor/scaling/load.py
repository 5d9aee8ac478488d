"""What the workers do, from shared memory and /proc, without asking them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from flaskd.ledger.shared_memory import RequestTable
from flaskd.metrics.memory import MetricsMemory
from flaskd.supervisor.process_stats import cpu_seconds
from flaskd.supervisor.scaling.policy import Sample


class Queue(Protocol):
    """A listener."""

    def waiting(self) -> int:
        """Return the number of connections in its accept queue."""


class Worker(Protocol):
    """A worker that serves."""

    id: int

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def request_table(self) -> RequestTable:
        """Its requests."""

    @property
    def metrics(self) -> MetricsMemory:
        """What it has counted."""


class _Counts(NamedTuple):
    """What one worker has counted so far: finished requests, nanoseconds in the queue, seconds of CPU time."""

    finished: int
    waited: int
    cpu: float


class Meter:
    """Samples the load of an instance with these listeners; each sample is about the time since the one before, or `begin`."""

    def __init__(
        self, listeners: Sequence[Queue], *, cpu_of: Callable[[int], float | None] = cpu_seconds
    ) -> None:
        self._listeners = listeners
        self._cpu_of = cpu_of
        self._before: dict[int, _Counts] = {}
        self._at = 0.0

    def begin(self, now: float, workers: Sequence[Worker]) -> None:
        """Begin to measure."""
        self._at = now
        self._before = {each.id: self._counts(each, each.metrics.header()["wait_ns"]) for each in workers}

    def sample(self, now: float, workers: Sequence[Worker], *, threads: int, cpus: float) -> Sample:
        """Return what these workers, with so many `threads` each, do now and have done since."""
        headers = {each.id: each.metrics.header() for each in workers}
        counts = {each.id: self._counts(each, headers[each.id]["wait_ns"]) for each in workers}
        known = [(self._before[ident], after) for ident, after in counts.items() if ident in self._before]
        passed = max(0.001, now - self._at)
        self._before, self._at = counts, now
        finished = sum(after.finished - before.finished for before, after in known)
        waited = sum(after.waited - before.waited for before, after in known)
        return Sample(
            at=now,
            workers=len(workers),
            threads=threads,
            busy=sum(each.request_table.in_flight for each in workers),
            waiting=sum(header["waiting"] for header in headers.values())
            + sum(each.waiting() for each in self._listeners),
            waited=waited / 1e9 / finished if finished > 0 else 0.0,
            cpu=sum(after.cpu - before.cpu for before, after in known) / passed,
            cpus=cpus,
        )

    def _counts(self, worker: Worker, waited: int) -> _Counts:
        return _Counts(worker.request_table.finished(), waited, self._cpu_of(worker.pid) or 0.0)
