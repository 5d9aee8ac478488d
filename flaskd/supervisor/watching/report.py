"""How an instance with workers stands: from shared memory and from the kernel, without asking any worker."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable

from flaskd.engines.choice import Choice
from flaskd.instance import Instance
from flaskd.metrics.openmetrics import Exposed, State
from flaskd.metrics.overload_watch import OverloadWatch
from flaskd.probes.rotation import Rotation
from flaskd.shutdown import lifecycle
from flaskd.shutdown.owner import Owner
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member, requests_of
from flaskd.supervisor.process_stats import ProcessStats
from flaskd.supervisor.templates import Templates
from flaskd.supervisor.watching.numbers import Numbers
from flaskd.tuning.shown import shown
from flaskd.version import __version__
from flaskd_ctl.protocol import (
    EndpointStats,
    ErrorsResult,
    RequestsResult,
    Scaling,
    SlowResult,
    StatsParams,
    StatsResult,
    StatusResult,
    TemplateInfo,
    WorkerInfo,
)


class Report:
    """Describes an instance with workers."""

    def __init__(
        self,
        instance: Instance,
        fleet: Fleet,
        owner: Owner,
        stats: ProcessStats,
        *,
        overload: OverloadWatch,
        templates: Templates,
        scaling: Callable[[], Scaling],
    ) -> None:
        self._instance = instance
        self._fleet = fleet
        self._owner = owner
        self._stats = stats
        self._scaling = scaling
        self._overload = overload
        self._templates = templates
        self._numbers = Numbers(instance, fleet, stats, templates)

    def rotation(self) -> Rotation:
        """Return what load balancers are told; it reads no process's stats, so it may be asked often."""
        return self._rotation(sum(member.request_table.in_flight for member in self._members))

    def seconds_left(self) -> float:
        """Return the seconds until the deadline of the stop under way; 0 where there is none."""
        left = self._owner.deadline - time.monotonic() if self._owner.stop is not None else 0.0
        return max(0.0, left)

    def start_timeout(self) -> float:
        """Return the seconds that a worker may take to start."""
        return self._fleet.settings.start_timeout

    def counts_requests(self) -> bool:
        """Tell whether the ledger counts requests."""
        return self._fleet.settings.ledger

    def notify_on_next_request(self) -> None:
        """Have every worker report the next request that begins."""
        for member in self._members:
            member.request_table.notify_on_next_request()

    def requests(self) -> RequestsResult:
        """List the requests in flight in all workers, oldest first."""
        return RequestsResult(requests=requests_of(self._members))

    def errors(self, ident: str | None) -> ErrorsResult:
        """List the errors of all workers, or show one in full; raises NotFound."""
        tables = {member.id: member.errors for member in self._members}
        return self._fleet.history.records.errors(tables, ident)

    def slow(self, limit: int) -> SlowResult:
        """List the slowest requests of all workers."""
        tables = {member.id: member.slow for member in self._members}
        return self._fleet.history.records.slow(tables, limit)

    def status(self, engine: Choice) -> StatusResult:
        """Describe the instance at a glance; `engine` is the one that new workers get."""
        fleet, history = self._fleet, self._fleet.history
        workers = self.workers()
        in_flight = sum(worker.in_flight or 0 for worker in workers)
        errors = [error for member in self._members if (error := member.request_table.last_error)]
        versions: dict[str, str] = {}
        for member in fleet.serving:
            versions = member.reported.versions or versions
        return self._instance.status(
            self._owner,
            app=str(shown("app", fleet.settings.app)),
            ready=self._rotation(in_flight).ready,
            in_flight=in_flight if self.counts_requests() else None,
            connections=sum(worker.connections or 0 for worker in workers),
            served={
                kind: count + sum(worker.served[kind] for worker in workers)
                for kind, count in history.served.items()
            },
            engine=engine.name,
            engine_why=engine.why,
            threads=fleet.settings.threads,
            versions={**versions, "flaskd": __version__},
            last_error=max(errors, key=lambda error: error.at, default=None),
            workers=workers,
            wanted_workers=fleet.wanted,
            scaling=self._scaling(),
            generation=fleet.generation,
            restarts=history.restarts,
            last_failure=history.last_failure,
            queued=self._numbers.queued(),
            rejected=fleet.rejected(),
            saturated=self._overload.saturated,
            templates=self.templates(),
        )

    def stats(self, asked: StatsParams) -> StatsResult:
        """Return the numbers of all workers, or of one; raises NotFound."""
        return self._numbers.stats(asked)

    def endpoint_stats(self) -> list[EndpointStats]:
        """Return the numbers of each endpoint."""
        return self._numbers.endpoint_stats()

    def exposed(self) -> Exposed:
        """Return what is exposed as metrics."""
        rotation, scaling = self.rotation(), self._scaling()
        versions = {
            "version": __version__,
            "python": platform.python_version(),
            "app": str(shown("app", self._fleet.settings.app)),
        }
        state = State(
            name=self._instance.name,
            state=rotation.state.value,
            states=[each.value for each in lifecycle.State],
            ready=rotation.ready,
            saturated=rotation.saturated,
            wanted=rotation.wanted,
            bounds=(scaling.minimum, scaling.maximum),
            scalings=self._fleet.history.scalings,
            workers=Counter(member.state.value for member in self._members),
            versions=versions,
        )
        return self._numbers.exposed(state)

    def workers(self) -> list[WorkerInfo]:
        """Describe each worker, oldest first."""
        members = list(self._members)
        stats = self._stats.of(self._pids())
        return [self._describe(member, *stats[member.pid]) for member in members]

    def templates(self) -> list[TemplateInfo]:
        """Describe the templates, oldest first."""
        if not self._templates.all:
            return []
        stats = self._stats.of(self._pids())
        return [
            TemplateInfo(
                pid=each.pid,
                state=each.state,
                since=each.since,
                age=round(time.time() - each.started, 3),
                generation=each.generation,
                rss=stats[each.pid].rss,
                pss=stats[each.pid].pss,
            )
            for each in self._templates.all
        ]

    def _rotation(self, in_flight: int) -> Rotation:
        fleet = self._fleet
        return Rotation(
            state=self._owner.lifecycle.state,
            serving=len(fleet.serving),
            wanted=fleet.wanted,
            threads=fleet.settings.threads,
            in_flight=in_flight,
            saturated=self._overload.saturated,
            unready=fleet.settings.unready_when_saturated,
        )

    def _pids(self) -> list[int]:
        """Return the pids of all that runs the application: all at once, since each look is at all connections."""
        return [each.pid for each in self._members] + [each.pid for each in self._templates.all]

    @property
    def _members(self) -> Iterable[Member]:
        return self._fleet.members.values()

    def _describe(
        self, member: Member, rss: int | None, pss: int | None, connections: int | None
    ) -> WorkerInfo:
        member.connections_seen = connections or 0
        return WorkerInfo(
            id=member.id,
            pid=member.pid,
            state=member.state.value,
            since=member.since,
            age=round(time.time() - member.started, 3),
            generation=member.generation,
            in_flight=member.request_table.in_flight if self.counts_requests() else None,
            connections=connections,
            served=member.request_table.served(),
            rss=rss,
            pss=pss,
            why=member.why,
        )
