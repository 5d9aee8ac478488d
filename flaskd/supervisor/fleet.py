"""The workers of a daemon: what `plan` says is carried out here, on the supervisor's loop, which alone touches any of it.

A reload is decided in `plan` (who is started, who steps back), carried out here, and waited for in `changes`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

import msgspec

from flaskd.errors import ConfigError, FlaskdError
from flaskd.events import Bus
from flaskd.ledger.row import KINDS
from flaskd.process.directory import logical_directory
from flaskd.process.ending import STACKS_SIGNAL
from flaskd.settings.identity import identity_of
from flaskd.settings.reload import take_over
from flaskd.settings.schema import Settings, worker_count
from flaskd.supervisor.changes import Change, Reload, Restart, Scale
from flaskd.supervisor.member import Member
from flaskd.supervisor.output import Relay
from flaskd.supervisor.plan import Action, End, Failures, Start, StepBack, WorkerState, plan
from flaskd.supervisor.watching.incidents import Incidents, bare
from flaskd.supervisor.watching.process_stats import is_stopped
from flaskd_ctl.errors import ControlError, Failed, NotFound, WrongState
from flaskd_ctl.protocol import (
    Actor,
    IncidentEvent,
    InFlight,
    ReloadResult,
    RestartResult,
    ScaleResult,
    WorkerEvent,
    WorkerFailure,
)

MOST_WORKERS: Final = 999
LEAVE_TIME: Final = 10.0
"""Seconds after its grace period in which a worker says what it cut, ends its threads and runs the application's clean-up."""

STACKS_TIME: Final = 0.5
"""Seconds that a worker gets to write its stacks; it takes milliseconds, if it can run at all."""


class Fleet:
    """Has `wanted` workers serve, from `begin` on, until it is `held`: then it starts none any more.

    `params` are what every worker is told at its start, `inherited` the descriptors that it gets; `reread` reads the settings
    anew. `on_change` is called whenever a worker's state, or what is wanted, has changed, `on_event` with what one tells;
    `connections` counts those of a process; `on_settings` gets settings that were read anew.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wanted: int,
        reread: Callable[[], Settings],
        params: Callable[[], dict[str, Any]],
        inherited: Sequence[int],
        relay: Relay,
        bus: Bus,
        on_change: Callable[[], None],
        on_event: Callable[[Member, dict[str, Any]], None],
        connections: Callable[[int], int | None] = lambda pid: None,
        on_settings: Callable[[Settings], None] = lambda settings: None,
    ) -> None:
        self.settings = settings
        self.wanted = wanted
        self.members: dict[int, Member] = {}
        self.failures = Failures()
        self.generation = 1
        self.restarts = 0
        self.last_failure: WorkerFailure | None = None
        self.retired = dict.fromkeys(KINDS, 0)  # what workers that are gone have finished
        self.up: Future[None] = Future()
        self.lost: list[InFlight] = []
        self.workers_lost = 0
        self.incidents = Incidents()
        self._reread = reread
        self._params = params
        self._inherited = list(inherited)
        self._relay = relay
        self._bus = bus
        self._on_change = on_change
        self._on_event = on_event
        self._connections = connections
        self._on_settings = on_settings
        self._directory = logical_directory()
        self._check = settings.check
        self._why_missing = "start"
        self._last_id = 0
        self._held = False
        self._changes: list[Change] = []
        self._next_reload: list[tuple[Future[Any], str | None]] = []
        self._look: asyncio.Handle | None = None

    def begin(self) -> None:
        """Start the first workers. `up` completes when all of them serve, or fails with what kept one from it."""
        self._loop = asyncio.get_running_loop()
        self.look()

    def hold(self) -> None:
        """Start no worker any more, and end those that can have accepted nothing yet."""
        self._held = True
        for member in self._those(WorkerState.STARTING):
            if not member.admitted:
                member.dismiss()
        self._fail_changes(WrongState("the instance is stopping", hint="see `flaskd_ctl status`"))

    @property
    def serving(self) -> list[Member]:
        """The workers that accept requests."""
        return self._those(WorkerState.SERVING)

    @property
    def degraded(self) -> bool:
        """Whether fewer serve than are wanted, and starting them fails again and again."""
        return self.failures.looping and len(self.serving) < self.wanted

    def order_reload(self, by: Actor, *, check: str | None) -> "Future[ReloadResult]":
        """Replace every worker, one after the other, new before old; completes when no old one accepts anything.

        While one reload is under way the next waits, and all who ask meanwhile share that one: what it loads is no older than
        their question. Fails with what kept a new worker from serving; those not yet replaced serve on.
        """
        self._check_changeable()
        if any(isinstance(change, Reload) for change in self._changes):
            future: Future[ReloadResult] = Future()
            future.set_running_or_notify_cancel()
            self._next_reload.append((future, check))
            return future
        return self._reload(check)

    def order_scale(self, by: Actor, *, to: int | None, by_count: int | None) -> "Future[ScaleResult]":
        """Have so many workers; completes when they serve and no more do. Where one cannot start, all is as before."""
        self._check_changeable()
        wanted = to if to is not None else self.wanted + (by_count or 0)
        if not 1 <= wanted <= MOST_WORKERS:
            raise WrongState(
                f"{wanted} workers cannot be (now: {self.wanted}): at least 1, at most {MOST_WORKERS}",
                hint="`flaskd_ctl shutdown` stops the instance",
            )
        change = Scale(self.wanted)
        self.wanted = wanted
        return self._begin(change)

    def order_restart(self, by: Actor, worker: int) -> "Future[RestartResult]":
        """Replace one worker, new before old."""
        self._check_changeable()
        member = self.members.get(worker)
        if member is None or member.state is WorkerState.LEAVING:
            known = ", ".join(str(each.id) for each in self.members.values())
            raise NotFound(f"there is no worker {worker}", hint=f"the workers are {known or 'none'}")
        member.due = "restart"
        return self._begin(Restart(worker))

    def replace(self, member: Member, why: str) -> None:
        """Have a serving worker replaced, new before old, when there is room for it."""
        if not member.due and member.state is WorkerState.SERVING:
            member.due = why
            self._look_soon()

    def put_down(self, member: Member, incident: str, reason: str) -> None:
        """End a worker that does not do what it should, with the stacks of its threads kept: they are asked for first.

        faulthandler writes them in a signal handler: also while C code holds the GIL. A stopped process (SIGSTOP) writes none.
        """
        if member.verdict is None:
            member.verdict = (incident, reason)
            member.process.send(STACKS_SIGNAL)
            self._loop.call_later(STACKS_TIME, self._end_hung, member)

    def _end_hung(self, member: Member) -> None:
        """Kill a worker that was put down, having seen what is lost with it."""
        if member.state is WorkerState.GONE or member.verdict is None:
            return
        if not member.stacks():
            incident, reason = member.verdict
            stopped = " (it is stopped, as by SIGSTOP)" if is_stopped(member.pid) else ""
            member.verdict = (incident, f"{reason}; it could not write its stacks{stopped}")
        self.count_connections(member)
        member.kill()

    def count_connections(self, member: Member) -> int:
        """See how many connections a worker has now: they are lost with it if it is killed."""
        member.connections_seen = self._connections(member.pid) or 0
        return member.connections_seen

    def look(self) -> None:
        """Do what the plan says."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._held:
            return
        workers = [member.seen() for member in self.members.values()]
        todo = plan(self.wanted, workers, self.failures, time.monotonic())
        for action in todo.actions:
            self._do(action)
        if todo.look_again is not None:
            self._look = self._loop.call_later(max(0.0, todo.look_again - time.monotonic()), self.look)
        self._finish_changes()
        self._on_change()  # what is wanted, and what could not even be started, decide on `degraded`, too

    def _do(self, action: Action) -> None:
        match action:
            case Start(replaces):
                self._start(self._why_missing if replaces is None else self.members[replaces].due)
            case StepBack(worker):
                self._let_go(self.members[worker])
            case End(worker) if self.members[worker].admitted:
                self._let_go(self.members[worker])
            case End(worker):
                self.members[worker].dismiss()

    def _let_go(self, member: Member) -> None:
        settings = self.settings
        member.step_back(grace=settings.grace, linger=settings.worker_linger)
        limit = self._leave_time()
        member.timer = self._loop.call_later(limit, self._stays, member, limit)

    def _leave_time(self) -> float:
        """Return the seconds in which a worker that was told to leave is gone."""
        settings = self.settings
        hook = settings.hook_timeout if settings.pre_stop else 0.0
        return settings.grace + LEAVE_TIME + hook

    def _start(self, why: str) -> None:
        self._last_id += 1
        member = Member(
            self._last_id,
            generation=self.generation,
            why=why,
            on_change=self._changed,
            on_event=self._on_event,
            on_lost=self._lost,
        )
        settings = self.settings
        params = {
            **self._params(),
            "settings": msgspec.to_builtins(settings),
            "check": self._check,
            "generation": self.generation,
        }
        try:
            member.start(
                params,
                rows=2 * settings.threads,
                inherited=self._inherited,
                relay=self._relay,
                directory=self._directory,
                identity=identity_of(settings.worker_user),
            )
        except (OSError, ConfigError) as error:
            failure = Failed(f"worker {member.id} could not be started: {error}")
            self._failed(failure, member, str(error))
            self._fail_changes(failure)
            self._look_soon()
            return
        self.members[member.id] = member
        member.timer = self._loop.call_later(settings.start_timeout, self._overdue, member)
        self._changed(member)

    def _lost(self, member: Member) -> None:
        """Give one that serves without a line the time to end, for that is an order to leave; others have a limit already."""
        if member.state is WorkerState.SERVING:
            limit = self._leave_time()
            member.timer = self._loop.call_later(limit, self._stays_alone, member, limit)

    def _stays_alone(self, member: Member, limit: float) -> None:
        if member.state is WorkerState.SERVING:
            self.put_down(member, "hung", f"was still there {limit:g} s after its line had ended")

    def _stays(self, member: Member, limit: float) -> None:
        if member.state is WorkerState.LEAVING:
            self.put_down(member, "hung", f"was still there {limit:g} s after it was told to leave")

    def _overdue(self, member: Member) -> None:
        if member.state is WorkerState.STARTING:
            limit = self.settings.start_timeout
            self.put_down(member, "start failed", f"did not serve within {limit:g} s (--start-timeout)")

    def _changed(self, member: Member) -> None:
        if member.told is not member.state:
            member.told = member.state
            event = WorkerEvent(
                at=member.since,
                worker=member.id,
                pid=member.pid,
                state=member.state.value,
                generation=member.generation,
                why=self._why(member),
            )
            self._bus.publish(event)
        if member.state is WorkerState.GONE:
            self._gone(member)
        if member.state is WorkerState.SERVING and member.timer is not None:
            member.timer.cancel()
        if not self.up.done() and len(self.serving) >= self.wanted:
            self.up.set_result(None)
        self._look_soon()
        self._on_change()

    def _why(self, member: Member) -> str:
        """Tell why it came, or, once it leaves, why it does: who is not replaced is too many, or all are."""
        if member.state is WorkerState.GONE:
            return member.reason
        if member.state is WorkerState.LEAVING:
            return member.due or ("shutdown" if self._held else "scale")
        return member.due or member.why

    def _gone(self, member: Member) -> None:
        """Count what it did, and see whether its end was wanted."""
        del self.members[member.id]
        if member.timer is not None:
            member.timer.cancel()
        if member.result is None and not member.dismissed:
            self._ended_badly(member)
        for kind, count in member.request_table.served().items():
            self.retired[kind] += count
        member.close()

    def _ended_badly(self, member: Member) -> None:
        served = member.was is not WorkerState.STARTING
        incident = self.incidents.note(member, "crash" if served else "start failed")
        if self._held:
            self.lost += incident.requests
            self.workers_lost += served
        error = member.failure
        if not served:
            said = f"worker {member.id} could not start: {incident.reason}"
            trace = {"traceback": incident.traceback} if incident.traceback else {}
            failure: ControlError = Failed(said, hint=error.hint if error and not trace else "", data=trace)
            self._failed(failure, member, incident.reason)
            self._fail_changes(failure)
        elif member.was is WorkerState.SERVING and not self._held:
            self.restarts += 1
            self._why_missing = f"{incident.kind}: {incident.reason}"
            failure = Failed(f"worker {member.id} ended: {incident.reason}")
            self._failed(failure, member, incident.reason)
            if member.generation == self.generation:  # what is being rolled out does not last
                self._fail_changes(failure, of=Reload)
        self._bus.publish(IncidentEvent(at=incident.at, incident=bare(incident)))

    def _failed(self, error: ControlError, member: Member, reason: str) -> None:
        """Note a failure: it puts the next start off."""
        served = member.was is not WorkerState.STARTING
        self.failures = self.failures.one_more(time.monotonic(), served=served)
        self.last_failure = WorkerFailure(
            at=time.time(),
            worker=member.id,
            pid=member.pid,
            reason=reason,
            traceback=str(error.data.get("traceback", "")),
        )
        if not self.up.done():
            self.up.set_exception(member.failure or error)

    def _check_changeable(self) -> None:
        if not self.up.done() or self._held:
            state = "stopping" if self._held else "starting"
            raise WrongState(f"an instance that is {state} cannot be changed", hint="see `flaskd_ctl status`")

    def _begin(self, change: Change) -> "Future[Any]":
        self.failures = Failures()  # who asks for a change may have mended what failed
        if isinstance(change, Scale):
            self._why_missing = "scale"
        self._changes.append(change)
        self._look_soon()
        future: Future[Any] = change.reply()
        return future

    def _reload(self, check: str | None) -> "Future[ReloadResult]":
        try:
            settings = self._reread()
        except FlaskdError as error:
            raise Failed(
                f"the settings cannot be read anew: {error}; nothing was changed", hint=error.hint
            ) from None
        before, was = self.settings, self.wanted
        settings, changed, needs_restart = take_over(before, settings)
        if "workers" in changed:
            self.wanted = worker_count(settings)
        self._use(settings)
        if check is not None:
            self._check = check
        self.generation += 1
        old = [member for member in self.members.values() if member.state is not WorkerState.LEAVING]
        for member in old:
            member.due = "reload"
        return self._begin(
            Reload(
                frozenset(member.id for member in old),
                was=was if "workers" in changed else None,
                before=before,
                generation=self.generation,
                changed=changed,
                needs_restart=needs_restart,
            )
        )

    def _use(self, settings: Settings) -> None:
        self.settings = settings
        self._check = settings.check
        self._on_settings(settings)

    def _finish_changes(self) -> None:
        if not all(member.deaf for member in self._those(WorkerState.LEAVING)):
            return
        workers = [member.seen() for member in self.members.values()]
        done = [change for change in self._changes if change.done(workers, self.wanted)]
        for change in done:
            self._changes.remove(change)
            for number, reply in enumerate(change.replies):
                result = change.result(workers)
                if isinstance(result, ReloadResult) and number:
                    result = msgspec.structs.replace(result, joined=True)
                reply.set_result(result)
        if any(isinstance(change, Reload) for change in done):
            self._check = self.settings.check  # what a reload asked for was for that reload
            self._reload_next()

    def _fail_changes(self, error: ControlError, of: type = object) -> None:
        """Let the changes under way, or those of one kind, fail: what serves, serves on."""
        changes = [change for change in self._changes if isinstance(change, of)]
        self._changes = [change for change in self._changes if change not in changes]
        still_due = {ident for change in self._changes for ident in change.old}
        for change in reversed(changes):  # what is undone last is what was there first
            for member in self.members.values():
                if member.id in change.old - still_due and member.state is WorkerState.SERVING:
                    member.due = ""
            if change.was is not None and not any(isinstance(other, Scale) for other in self._changes):
                self.wanted = change.was
            if isinstance(change, Reload):
                self._use(change.before)
        serve = len(self.serving)
        serves_on = f"; {serve} worker{'s serve' if serve != 1 else ' serves'} on" if not self._held else ""
        for change in changes:
            for reply in change.replies:
                reply.set_exception(type(error)(f"{error}{serves_on}", hint=error.hint, data=error.data))
        if any(isinstance(change, Reload) for change in changes):
            self._reload_next()

    def _reload_next(self) -> None:
        """Begin the reload that was asked for meanwhile; who wants another check of it than the first has to wait once more."""
        waiting, self._next_reload = self._next_reload, []
        if not waiting:
            return
        check = next((check for _, check in waiting if check is not None), None)
        try:
            self._check_changeable()
            self._reload(check)
        except ControlError as error:
            for future, _ in waiting:
                future.set_exception(error)
            return
        self._changes[-1].replies[:] = [future for future, asked in waiting if asked in {None, check}]
        self._next_reload = [(future, asked) for future, asked in waiting if asked not in {None, check}]

    def _look_soon(self) -> None:
        if self._look is None or isinstance(self._look, asyncio.TimerHandle):
            if self._look is not None:
                self._look.cancel()
            self._look = self._loop.call_soon(self.look)

    def _those(self, state: WorkerState) -> list[Member]:
        return [member for member in self.members.values() if member.state is state]
