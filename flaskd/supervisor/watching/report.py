"""What is told of an instance with workers: from shared memory and from the kernel, without asking any worker."""

import os
import time
from collections.abc import Sequence

from flaskd.listening.listeners import Listener
from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State
from flaskd.shutdown.owner import Owner
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.watching.process_stats import Looks
from flaskd_ctl.protocol import LastStop, StatusResult, WorkerInfo


class Report:
    """Describes an instance, from its start on."""

    def __init__(
        self,
        fleet: Fleet,
        owner: Owner,
        listeners: Sequence[Listener],
        *,
        looks: Looks,
        name: str,
        endpoints: list[str],
        last_stop: LastStop | None,
    ) -> None:
        self.started = time.time()
        self._looks = looks
        self._fleet = fleet
        self._owner = owner
        self._listeners = listeners
        self._name = name
        self._endpoints = endpoints
        self._last_stop = last_stop

    def rotation(self) -> Rotation:
        """Tell what balancers are told; it looks at no process, so it may be asked often."""
        fleet = self._fleet
        return Rotation(
            state=self._owner.lifecycle.state,
            serving=len(fleet.serving),
            wanted=fleet.wanted,
            threads=fleet.settings.threads,
            in_flight=sum(member.request_table.in_flight for member in fleet.members.values()),
        )

    def status(self, engine: str, engine_why: str) -> StatusResult:
        """Tell what an operator wants to know at a glance; `engine` is the one that new workers get, and why."""
        lifecycle, retreat, fleet = self._owner.lifecycle, self._owner.retreat, self._fleet
        workers = self.workers()
        stop = retreat if lifecycle.state is State.STOPPING else None
        members = fleet.members.values()
        errors = [error for member in members if (error := member.request_table.last_error)]
        versions: dict[str, str] = {}
        for member in fleet.serving:
            versions = member.versions or versions
        return StatusResult(
            name=self._name,
            state=lifecycle.state.value,
            since=lifecycle.since,
            uptime=round(time.time() - self.started, 3),
            pid=os.getpid(),
            app=fleet.settings.app,
            ready=self.rotation().ready,
            in_flight=sum(worker.in_flight or 0 for worker in workers) if fleet.settings.ledger else None,
            connections=sum(worker.connections or 0 for worker in workers),
            served={
                kind: retired + sum(worker.served[kind] for worker in workers)
                for kind, retired in fleet.retired.items()
            },
            engine=engine,
            engine_why=engine_why,
            threads=fleet.settings.threads,
            versions=versions,
            listeners=[listener.url for listener in self._listeners],
            endpoints=self._endpoints,
            process_exits=True,
            requested_by=lifecycle.by,
            requested_at=lifecycle.since if lifecycle.by else None,
            phase=stop.phase.value if stop else None,
            deadline_left=round(max(0.0, stop.deadline - time.monotonic()), 3) if stop else None,
            last_error=max(errors, key=lambda error: error.at, default=None),
            workers=workers,
            wanted_workers=fleet.wanted,
            generation=fleet.generation,
            restarts=fleet.restarts,
            last_failure=fleet.last_failure,
            last_stop=self._last_stop,
        )

    def workers(self) -> list[WorkerInfo]:
        """Describe each worker, oldest first."""
        members = list(self._fleet.members.values())
        looks = self._looks.at([member.pid for member in members])
        now, ledger = time.time(), self._fleet.settings.ledger
        found = []
        for member in members:
            look = looks[member.pid]
            member.connections_seen = look.connections or 0
            info = WorkerInfo(
                id=member.id,
                pid=member.pid,
                state=member.state.value,
                since=member.since,
                age=round(now - member.started, 3),
                generation=member.generation,
                in_flight=member.request_table.in_flight if ledger else None,
                connections=look.connections,
                served=member.request_table.served(),
                rss=look.rss,
                pss=look.pss,
                why=member.why,
            )
            found.append(info)
        return found
