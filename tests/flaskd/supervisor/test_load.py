"""What the workers do is read from their shared memory: at a moment, and since the last look."""

from dataclasses import dataclass, field

from flaskd.ledger.row import KINDS
from flaskd.ledger.shared_memory import RequestTable
from flaskd.metrics.memory import MetricsMemory
from flaskd.metrics.recorder import Recorder
from flaskd.supervisor.scaling.load import Meter
from flaskd.supervisor.scaling.policy import Sample


@dataclass
class Worker:
    """A worker's shared memory, and its writer."""

    id: int
    pid: int = 0
    request_table: RequestTable = field(default_factory=lambda: RequestTable.private(8))
    metrics: MetricsMemory = field(default_factory=MetricsMemory.private)

    def __post_init__(self) -> None:
        self.pid = self.id
        self.recorder = Recorder(self.metrics)
        self.number = 0

    def serves(self, count: int, *, waited: float) -> None:
        """Begin and finish so many requests that had waited."""
        for _ in range(count):
            self.begins(1)
            self.last.end(KINDS.index("2xx"))
            self.recorder.record("index", "/", KINDS.index("2xx"), 0.1, 10, waited)

    def begins(self, count: int) -> None:
        """Begin so many requests."""
        for _ in range(count):
            self.number += 1
            self.last = self.request_table.begin(
                self.number, "x", {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
            )


class Queue:
    """A listener with connections that nobody has accepted."""

    def waiting(self) -> int:
        return 2


def test_a_sample_is_of_now_and_of_the_time_since_the_last() -> None:
    """A worker that was not there at the last look counts only with what it does now."""
    one, other = Worker(1), Worker(2)
    cpu = {1: 10.0, 2: 50.0}
    meter = Meter([Queue()], cpu_of=cpu.get)
    one.serves(5, waited=9.0)
    meter.begin(100.0, [one])

    one.serves(3, waited=0.2)
    one.serves(1, waited=0.0)
    one.begins(2)
    one.recorder.waiting(1)
    other.serves(7, waited=5.0)
    other.begins(1)
    cpu[1] = 11.5
    sample = meter.sample(102.0, [one, other], threads=4, cpus=8)
    assert sample._replace(waited=0.0) == Sample(102.0, 2, 4, busy=3, waiting=3, cpu=0.75, cpus=8)
    assert round(sample.waited, 6) == 0.15

    cpu[2] = 50.5
    sample = meter.sample(103.0, [one, other], threads=4, cpus=8)
    assert (sample.waited, sample.cpu, sample.busy) == (0.0, 0.5, 3)


def test_a_worker_whose_process_is_gone_used_no_cpu() -> None:
    """Its memory can still be read."""
    one = Worker(1)
    meter = Meter([], cpu_of=lambda pid: None)
    meter.begin(1.0, [one])
    assert meter.sample(2.0, [one], threads=4, cpus=8) == Sample(2.0, 1, 4, busy=0, cpus=8)
