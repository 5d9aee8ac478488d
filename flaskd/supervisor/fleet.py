"""The workers of a daemon: what `plan` decides is carried out here, on the supervisor's loop, which alone touches any of it."""

import asyncio
import time
from collections import Counter
from concurrent.futures import Future
from typing import Protocol

import msgspec

from flaskd.channel.messages import Event
from flaskd.errors import ConfigError
from flaskd.events import Bus
from flaskd.guard import log_failure
from flaskd.ledger.records import Records
from flaskd.ledger.row import KINDS
from flaskd.metrics.overload_watch import Counts
from flaskd.metrics.totals import Totals
from flaskd.process.threads import explained
from flaskd.settings.schema import Settings, worker_grace
from flaskd.supervisor.incidents import Incidents, bare
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.member import Member
from flaskd.supervisor.overdue import Overdue
from flaskd.supervisor.plan import (
    OOM_PAUSE,
    Action,
    EndStart,
    Failures,
    Start,
    StopWorker,
    WorkerState,
    WorkerView,
    plan,
)
from flaskd_ctl.errors import ControlError, Failed, WrongState
from flaskd_ctl.protocol import IncidentEvent, InFlight, WorkerEvent, WorkerFailure


class Observer(Protocol):
    """Is told of the fleet: the daemon."""

    def fleet_changed(self) -> None:
        """Take note that a worker's state, or what is wanted, has changed."""

    def plan_done(self) -> None:
        """Take note that the plan of this moment was carried out."""

    def changes_fail(self, error: ControlError, *, after_start: bool) -> None:
        """Let changes under way fail: no worker can be started, or (`after_start`) one of the newest generation crashed."""

    def worker_reported(self, member: Member, event: Event) -> None:
        """Take note of what a worker reports."""

    def first_serves(self, member: Member) -> None:
        """Take note that a worker serves while the instance starts: more may be wanted now."""

    def out_of_memory(self, member: Member, workers: int) -> None:
        """Take note that the OOM killer has ended a worker; it was one of so many."""


class History(msgspec.Struct):
    """What became of the workers that are gone.

    `served` counts what they finished, by status class; `totals` has all of their numbers; `records` their errors and slowest
    requests; `starts` and `ends` count workers by why they came and left, `scalings` changes of their number by itself;
    `lost` are requests lost with workers that ended during a shutdown.
    """

    failures: Failures = Failures()
    incidents: Incidents = msgspec.field(default_factory=Incidents)
    restarts: int = 0
    last_failure: WorkerFailure | None = None
    served: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    totals: Totals = msgspec.field(default_factory=Totals)
    starts: Counter[str] = msgspec.field(default_factory=Counter)
    ends: Counter[str] = msgspec.field(default_factory=Counter)
    scalings: Counter[str] = msgspec.field(default_factory=Counter)
    records: Records = msgspec.field(default_factory=Records)
    lost: list[InFlight] = msgspec.field(default_factory=list)
    workers_lost: int = 0


class Fleet:
    """Has `wanted` workers serve, from `begin` on, until it is held: then it starts none any more.

    `up` completes when the first workers serve, or fails with what kept one from it. New workers get `settings` and, before
    they serve, must answer the path `check`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wanted: int,
        launcher: Launcher,
        overdue: Overdue,
        bus: Bus,
        observer: Observer,
    ) -> None:
        self.settings = settings
        self.wanted = wanted
        self.check = settings.check
        self.generation = 1
        self.members: dict[int, Member] = {}
        self.history = History()
        self.overdue = overdue
        self.up: Future[None] = Future()
        self.held = False
        self.why_missing = "start"
        self.why_surplus = "scale"
        self._launcher = launcher
        self._bus = bus
        self._observer = observer
        self._last_id = 0
        self._next_look: asyncio.Handle | None = None

    def counts(self) -> Counts:
        """Count the requests since the start, of all workers that there were."""
        return Counts(self.rejected(), self.finished())

    def rejected(self) -> int:
        """Count the requests that were answered 503 because they had waited too long, of all workers that there were."""
        return self.history.totals.rejected(member.metrics for member in self.members.values())

    def finished(self) -> int:
        """Count the requests that are finished, of all workers that there were."""
        living = sum(member.request_table.finished() for member in self.members.values())
        return sum(self.history.served.values()) + living

    def begin(self) -> None:
        """Start the first workers."""
        self.look()

    def hold(self) -> None:
        """Start no worker any more. Those that load go on while no other serves: somebody may wait in the queue."""
        self.held = True
        if self.serving:
            self.end_starts()
        stopping = WrongState("the instance is stopping", hint="see `flaskd_ctl status`")
        self._observer.changes_fail(stopping, after_start=False)

    def end_starts(self) -> None:
        """End workers that can have accepted nothing yet."""
        for member in self.in_state(WorkerState.STARTING):
            if not member.admitted:
                with log_failure(f"end worker {member.id}"):
                    member.dismiss()

    @property
    def can_accept(self) -> bool:
        """Whether a worker accepts requests, or will once it has loaded."""
        return any(
            member.state is WorkerState.SERVING
            or (member.state is WorkerState.STARTING and not member.dismissed)
            for member in self.members.values()
        )

    @property
    def serving(self) -> list[Member]:
        """The workers that accept requests."""
        return self.in_state(WorkerState.SERVING)

    @property
    def degraded(self) -> bool:
        """Whether fewer serve than are wanted, and starting them fails again and again."""
        return self.history.failures.looping and len(self.serving) < self.wanted

    def in_state(self, state: WorkerState) -> list[Member]:
        """List the workers in a state."""
        return [member for member in self.members.values() if member.state is state]

    def views(self) -> list[WorkerView]:
        """Return the workers as the plan sees them."""
        return [member.view() for member in self.members.values()]

    def replace(self, member: Member, why: str) -> None:
        """Have a serving worker replaced, new before old, when there is room for it."""
        if not member.due and member.state is WorkerState.SERVING:
            member.due = why
            self.look_soon()

    def look(self) -> None:
        """Carry out the plan."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        if self.held:
            return
        todo = plan(self.wanted, self.views(), self.history.failures, time.monotonic())
        for action in todo.actions:
            with log_failure("change the workers"):
                self._do(action)
        if todo.look_again is not None:
            wait = max(0.0, todo.look_again - time.monotonic())
            self._next_look = asyncio.get_running_loop().call_later(wait, self.look)
        self._observer.plan_done()
        # What is wanted, and what could not even be started, decide whether it is degraded.
        self._observer.fleet_changed()

    def look_soon(self) -> None:
        """Carry out the plan once what is going on now has been done."""
        if self._next_look is None or isinstance(self._next_look, asyncio.TimerHandle):
            if self._next_look is not None:
                self._next_look.cancel()
            self._next_look = asyncio.get_running_loop().call_soon(self.look)

    def begin_generation(self) -> None:
        """Have workers that are started from now on load the application anew."""
        self.generation += 1
        self._launcher.templates.renew()

    def end_generation(self, *, failed: bool) -> None:
        """Start workers only from the new generation from now on, or only from the old one if the new one has failed."""
        if failed:
            self._launcher.templates.revert()
        else:
            self._launcher.templates.settle()

    def member_changed(self, member: Member) -> None:
        """See `member.Watcher`."""
        self._bus.publish(
            WorkerEvent(
                at=member.since,
                worker=member.id,
                pid=member.pid,
                state=member.state.value,
                generation=member.generation,
                why=self._why(member),
            )
        )
        if member.state is WorkerState.GONE:
            del self.members[member.id]
            with log_failure(f"account for worker {member.id}, which is gone"):
                self._gone(member)
        if member.state is WorkerState.SERVING:
            self.overdue.call_off(member)
        if not self.up.done() and member.state is WorkerState.SERVING:
            self._observer.first_serves(member)
        if not self.up.done() and len(self.serving) >= self.wanted:
            self.up.set_result(None)
        self.member_stopped_accepting(member)

    def member_stopped_accepting(self, member: Member) -> None:
        """See `member.Watcher`."""
        self.look_soon()
        self._observer.fleet_changed()

    def member_reported(self, member: Member, event: Event) -> None:
        """See `member.Watcher`."""
        self._observer.worker_reported(member, event)

    def member_lost(self, member: Member) -> None:
        """See `member.Watcher`; the end of its channel is an order to leave, others have a limit already."""
        if member.state is WorkerState.SERVING:
            self.overdue.limit_alone(member, self.settings)

    def _do(self, action: Action) -> None:
        match action:
            case Start(replaces):
                self._start(self.why_missing if replaces is None else self.members[replaces].due)
            case EndStart(worker) if not self.members[worker].admitted:
                self.members[worker].dismiss()
            case EndStart(worker) | StopWorker(worker):
                member = self.members[worker]
                member.stop_gracefully(grace=worker_grace(self.settings), linger=self.settings.worker_linger)
                self.overdue.limit_leaving(member, self.settings)

    def _start(self, why: str) -> None:
        self._last_id += 1
        member = Member(self._last_id, generation=self.generation, why=why, watcher=self)
        member.alone = not self.serving
        try:
            self._launcher.launch(member, self.settings, check=self.check)
        except Exception as raised:  # noqa: BLE001 - a change that waits for this worker fails with it
            error = explained(raised) or raised
            hint = error.hint if isinstance(error, ConfigError) else ""
            failure = Failed(f"worker {member.id} could not be started: {error}", hint=hint)
            self._failed(failure, member, str(error))
            self._observer.changes_fail(failure, after_start=False)
            self.look_soon()
            return
        self.members[member.id] = member
        self.history.starts[why.partition(":")[0]] += 1
        self.overdue.limit_start(member, self.settings)
        if member.has_process:
            self.member_changed(member)

    def _why(self, member: Member) -> str:
        """Tell why it came, or, once it leaves, why it does."""
        if member.state is WorkerState.GONE:
            return member.reason
        if member.state is WorkerState.LEAVING:
            return member.due or ("shutdown" if self.held else self.why_surplus)
        return member.due or member.why

    def _gone(self, member: Member) -> None:
        """Count what it did, and see whether its end was wanted."""
        self.overdue.call_off(member)
        reason = member.due or ("shutdown" if self.held else self.why_surplus)
        if member.reported.result is None and not member.dismissed:
            reason = self._ended_badly(member)
        self.history.ends[reason.partition(":")[0]] += 1
        for kind, count in member.request_table.served().items():
            self.history.served[kind] += count
        self.history.totals.add_last(member.id, member.metrics)
        with log_failure(f"keep the errors of worker {member.id}"):
            self.history.records.add(member.errors, member.slow, member.id)
        member.close()

    def _ended_badly(self, member: Member) -> str:
        """Note that a worker has failed, and return the kind of failure."""
        history, served = self.history, member.served
        workers = len(self.serving) + 1
        incident = history.incidents.note(member, "crash" if served else "start failed")
        if self.held:
            history.lost += incident.requests
            history.workers_lost += served
        if not served:
            error = member.reported.failure
            trace = {"traceback": incident.traceback} if incident.traceback else {}
            failure = Failed(
                f"worker {member.id} could not start: {incident.reason}",
                hint=error.hint if error and not trace else "",
                data=trace,
            )
            self._failed(failure, member, incident.reason)
            if member.out_of_memory and self.up.done() and not self.held:
                self._observer.out_of_memory(member, workers)
            self._observer.changes_fail(failure, after_start=False)
        elif member.was is not WorkerState.LEAVING and not self.held:
            history.restarts += 1
            self.why_missing = f"{incident.kind}: {incident.reason}"
            failure = Failed(f"worker {member.id} ended: {incident.reason}")
            self._failed(failure, member, incident.reason)
            if member.out_of_memory:
                self._observer.out_of_memory(member, workers)
            if member.generation == self.generation:
                self._observer.changes_fail(failure, after_start=True)
        self._bus.publish(IncidentEvent(at=incident.at, incident=bare(incident)))
        return incident.kind

    def _failed(self, error: Failed, member: Member, reason: str) -> None:
        """Note a failure: it puts the next start off."""
        pause = OOM_PAUSE if member.out_of_memory else 0.0
        self.history.failures = self.history.failures.one_more(
            time.monotonic(), served=member.served, pause=pause
        )
        self.history.last_failure = WorkerFailure(
            at=time.time(),
            worker=member.id,
            pid=member.pid,
            reason=reason,
            traceback=str(error.data.get("traceback", "")),
        )
        if not self.up.done() and not member.served:  # a crash is no reason to end what can start
            self.up.set_exception(member.reported.failure or error)
