"""Makes the result of `stats`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from flaskd.metrics.memory import MetricsMemory
from flaskd.metrics.summary import Summary, collections, last_minute, served as served_by_class, total
from flaskd.metrics.totals import Names, Sums
from flaskd_ctl.protocol import ListenerStats, StatsParams, StatsResult, WorkerStats


class Queue(Protocol):
    """A listener."""

    url: str

    def waiting(self) -> int:
        """Return the number of connections in its accept queue."""


class Process(NamedTuple):
    """A process that serves, as the kernel and the request table have it; see `WorkerStats`."""

    worker: int
    pid: int
    state: str
    age: float
    in_flight: int
    cpu: float | None
    rss: int | None
    pss: int | None


class Memory(NamedTuple):
    """Bytes of memory of a process; `pss` shares out what processes share (proc(5))."""

    rss: int
    pss: int


class Served(NamedTuple):
    """What is known of an instance besides what was counted; see `StatsResult`. `cpu_gone` is of processes that are gone.

    `templates` are processes that serve nothing, and that workers were forked from.
    """

    since: float
    threads: int
    listeners: Sequence[Queue]
    processes: Mapping[int, Process]
    cpu_gone: float = 0.0
    starts: Mapping[str, int] = {}
    ends: Mapping[str, int] = {}
    templates: Sequence[Memory] = ()


def stats_result(
    summary: Summary, asked: StatsParams, served: Served, memories: Mapping[int, MetricsMemory]
) -> StatsResult:
    """Return the numbers of `summary` as `asked`; `memories` are those of the processes. Raises NotFound for an endpoint."""
    only = asked.endpoint
    endpoints = summary.endpoints(asked.limit) if only is None else [summary.endpoint(only)]
    processes = served.processes.values()
    queues = [memory.take_queues() for memory in memories.values()]
    return StatsResult(
        since=served.since,
        threads=served.threads,
        in_flight=sum(each.in_flight for each in processes),
        total=summary.total(),
        endpoints=endpoints,
        not_shown=0 if only is not None else summary.count() - len(endpoints),
        history=summary.history(only, step=asked.step),
        queue=summary.queue(),
        listeners=[_listener(each, number, queues) for number, each in enumerate(served.listeners)],
        workers=[_worker(process, memories[number]) for number, process in served.processes.items()],
        cpu=round(served.cpu_gone + sum(each.cpu or 0.0 for each in processes), 3),
        starts=dict(served.starts),
        ends=dict(served.ends),
        step=float(asked.step),
    )


def _listener(listener: Queue, number: int, queues: Sequence[Sequence[int]]) -> ListenerStats:
    now = listener.waiting()
    seen = [each[number] for each in queues if number < len(each)]
    return ListenerStats(listener=listener.url, queue=now, most=max([now, *seen]))


def _worker(process: Process, memory: MetricsMemory) -> WorkerStats:
    sums = Sums(Names())
    sums.add(memory)
    return WorkerStats(
        **process._asdict(),
        waiting=sums.header["waiting"],
        served=served_by_class(total(series.counts for series in sums.series.values())),
        minute=last_minute(memory),
        collections=collections(sums),
    )
