"""The numbers of an instance with workers: from shared memory and from the kernel, without asking any worker."""

import resource
import time

from flaskd.instance import Instance
from flaskd.metrics.openmetrics import Exposed, State
from flaskd.metrics.report import Memory, Process, Served, stats_result
from flaskd.metrics.summary import Summary
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member
from flaskd.supervisor.process_stats import ProcessStats, Stats, cpu_seconds
from flaskd.supervisor.templates import Templates
from flaskd_ctl.errors import NotFound
from flaskd_ctl.protocol import EndpointStats, StatsParams, StatsResult


class Numbers:
    """Adds up what the workers have counted, also those that are gone."""

    def __init__(self, instance: Instance, fleet: Fleet, stats: ProcessStats, templates: Templates) -> None:
        self._instance = instance
        self._fleet = fleet
        self._stats = stats
        self._templates = templates
        self._cpu_before = _of_children()

    def stats(self, asked: StatsParams) -> StatsResult:
        """Return the numbers of all workers, or of one, and of all endpoints, or of one; raises NotFound."""
        members = self._chosen(asked.worker)
        memories = {member.id: member.metrics for member in members}
        if asked.worker is None:
            summary = Summary.of(self._fleet.history.totals, memories)
        else:
            summary = Summary.of_worker(memories[asked.worker])
        return stats_result(summary, asked, self._served(members, whole=asked.worker is None), memories)

    def endpoint_stats(self) -> list[EndpointStats]:
        """Return the numbers of each endpoint, of all workers."""
        memories = {member.id: member.metrics for member in self._chosen(None)}
        summary = Summary.of(self._fleet.history.totals, memories)
        return summary.endpoints(summary.count())

    def exposed(self, state: State) -> Exposed:
        """Return what is exposed as metrics, with `state`."""
        members = self._chosen(None)
        sums = self._fleet.history.totals.sums({member.id: member.metrics for member in members})
        queues = [(each.url, each.waiting()) for each in self._instance.listeners]
        return Exposed(sums, self._served(members, whole=True), state, queues)

    def queued(self) -> int:
        """Return how many requests wait for a free thread, and connections in the accept queues."""
        waiting = sum(member.metrics.waiting() for member in self._chosen(None))
        return waiting + sum(each.waiting() for each in self._instance.listeners)

    def _chosen(self, worker: int | None) -> list[Member]:
        members = self._fleet.members
        if worker is None:
            return list(members.values())
        if worker not in members:
            raise NotFound(f"there is no worker {worker}", hint="see `flaskd_ctl workers`")
        return [members[worker]]

    def _served(self, members: list[Member], *, whole: bool) -> Served:
        history = self._fleet.history
        templates = [each.pid for each in self._templates.all] if whole else []
        # All at once: each call looks at all connections.
        stats = self._stats.of([*(member.pid for member in members), *templates])
        return Served(
            since=self._instance.started,
            threads=self._fleet.settings.threads * len(members),
            listeners=self._instance.listeners,
            processes={member.id: self._process(member, stats[member.pid]) for member in members},
            cpu_gone=_of_children() - self._cpu_before if whole else 0.0,
            starts=history.starts,
            ends=history.ends,
            templates=[Memory(stats[pid].rss or 0, stats[pid].pss or 0) for pid in templates],
        )

    def _process(self, member: Member, stats: Stats) -> Process:
        return Process(
            worker=member.id,
            pid=member.pid,
            state=member.state.value,
            age=round(time.time() - member.started, 3),
            in_flight=member.request_table.in_flight,
            cpu=cpu_seconds(member.pid),
            rss=stats.rss,
            pss=stats.pss,
        )


def _of_children() -> float:
    """Return the CPU time of all processes that this one has waited for, in seconds (getrusage(2))."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
