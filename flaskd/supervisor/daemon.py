"""An instance with workers: one asyncio loop owns the listeners, the control socket, the workers, signals and timers."""

import asyncio
import contextlib
import functools
import gc
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from flaskd.channel.messages import Asked, Event, QuotaReached, RequestBegan, RequestRejected
from flaskd.console.say import say
from flaskd.engines.choice import Choice, choose
from flaskd.errors import FlaskdError
from flaskd.events import Bus
from flaskd.guard import log_failure
from flaskd.instance import Instance, stop_times
from flaskd.metrics.overload_watch import OverloadWatch
from flaskd.operable import Orders
from flaskd.probes.metrics import MetricsPage
from flaskd.process import reaper, signals
from flaskd.process.load_table import LoadTable
from flaskd.settings.schema import Settings
from flaskd.settings.sources import ReadSettings
from flaskd.shutdown import lifecycle, owner
from flaskd.shutdown.lifecycle import State
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.on_loop import OwnerOnLoop
from flaskd.start.starter import SLOW_START
from flaskd.supervisor.answers import Answers
from flaskd.supervisor.changes import Change, Changes, Reload, SettingsSource
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.fleet_shutdown import FleetShutdown
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.member import Member
from flaskd.supervisor.output import WorkerOutput
from flaskd.supervisor.overdue import Overdue
from flaskd.supervisor.plan import WorkerState
from flaskd.supervisor.process_stats import ProcessStats
from flaskd.supervisor.scaling.scaler import Scaler
from flaskd.supervisor.stack_dumps import StackDumps
from flaskd.supervisor.tasks import TaskOrders
from flaskd.supervisor.template import Template
from flaskd.supervisor.tuning import FleetTuning
from flaskd.supervisor.watching.checks import Checks
from flaskd.supervisor.watching.report import Report
from flaskd.supervisor.workers import Workers
from flaskd.systemd.notify import ServiceManager
from flaskd.systemd.status import ServiceStatus
from flaskd.systemd.watchdog import Watchdog
from flaskd.tuning.levels import LEVELS
from flaskd.tuning.shown import shown
from flaskd.tuning.tuner import Tuner
from flaskd_ctl.contract.endpoint import client_command
from flaskd_ctl.errors import ControlError, WrongState
from flaskd_ctl.protocol import (
    Actor,
    IncidentEvent,
    ShutdownParams,
    ShutdownResult,
    TemplateEvent,
)

if TYPE_CHECKING:
    from flaskd.supervisor.dev.reloader import Reloader

END_TIME: Final = 5.0
"""Seconds in which workers that were killed must be gone; the kernel needs milliseconds."""

MOST_ORDERS: Final = 16
"""Orders of one worker's application that wait to be carried out: the supervisor keeps them."""


class Daemon(Answers):
    """An instance with workers (see `operable.Operable`); made on the running loop."""

    def __init__(
        self,
        instance: Instance,
        mailbox: Mailbox[owner.Ask | None],
        *,
        read: ReadSettings,
        source: SettingsSource,
        output: WorkerOutput,
        manager: ServiceManager,
        log: int,
    ) -> None:
        settings, loop = instance.settings, asyncio.get_running_loop()
        bus = Bus()
        self._output = output
        self.log_ring = output.ring
        self._engine = _engine(settings)
        stats = ProcessStats(instance.listeners)
        self._launcher = Launcher(
            name=instance.name,
            engine=self._engine.name,
            listeners=instance.listeners,
            loads=LoadTable.create(),
            log=log,
            output=output,
        )
        self._scaler = Scaler(settings, listeners=instance.listeners, bus=bus, audit=instance.audit)
        self._fleet = Fleet(
            settings,
            wanted=self._scaler.wanted_first,
            launcher=self._launcher,
            overdue=Overdue(stats),
            bus=bus,
            observer=self,
        )
        self._launcher.base = settings
        self._changes = Changes(self._fleet, source=source, user=self, read=read)
        self._scaler.attach(self._fleet, lambda: self._changes.under_way)
        self._checks = Checks(self._fleet, bus)
        owned = owner.Owner(
            FleetShutdown(self._fleet, instance.listeners, self._launcher),
            mailbox=mailbox,
            bus=bus,
            times=stop_times(settings),
            process_exits=True,
        )
        super().__init__(instance, owned, bus)
        self._turns = OwnerOnLoop(owned, mailbox, after_turn=self._judge)
        self._overload = OverloadWatch(
            bus, counts=self._fleet.counts, later=lambda seconds, look: loop.call_later(seconds, look).cancel
        )
        self._report = Report(
            instance,
            self._fleet,
            owned,
            stats,
            overload=self._overload,
            templates=self._launcher.templates,
            scaling=self._scaler.status,
        )
        self._service = ServiceStatus(manager, self._report, loop)
        self.fleet = Workers(self._fleet, self._changes, self._scaler, self._report, self._service)
        tasks = TaskOrders(self._fleet)
        self.order_task = tasks.order
        tunes = FleetTuning(
            self._fleet,
            launcher=self._launcher,
            checks=self._checks,
            scaler=self._scaler,
            tasks=tasks,
            owner=owned,
            source=source,
            audit=instance.audit,
        )
        self.tuning = Tuner(read, tunes, own_levels=True)
        self.with_set, self.names_set = self.tuning.with_set, self.tuning.names_set
        bus.subscribe(functools.partial(tunes.follow, self.tuning))
        if settings.dev:
            from flaskd.supervisor.dev import terminal

            self._launcher.terminal = terminal.is_ours()
        self._reloader = _reloader(
            settings,
            fleet=self._fleet,
            changes=self._changes,
            bus=bus,
            directory=self._launcher.directory or os.getcwd(),
            order=tasks.order,
        )
        self.order_stack_dump = StackDumps(self._fleet).order
        self._control = instance.control(self)
        self._watchdog = Watchdog(manager, lambda: self._control is None or self._control.serving, loop)
        self._all_gone = asyncio.Event()
        bus.subscribe(self._service.receive)
        signals.handle_signals(loop, Orders(self), log_files=bool(output.files()))
        reaper.on_child_exit(loop, self._bury)
        self._templates = self._launcher.templates
        self._templates.adopt = lambda: reaper.adopt_orphans(loop, self._bury)
        self._templates.children = self._children
        self._templates.on_change = self._template_changed
        self._templates.on_fork = self._bury

    @property
    def name(self) -> str:
        """The instance's name."""
        return self.instance.name

    async def serve(self) -> ShutdownResult:
        """Serve until stopped. Raises FlaskdError for a worker that cannot start."""
        if self._control is not None:
            await self._control.open()
        # What is loaded stays: collecting the garbage of a flood must not walk through it, or find
        # 60,000 objects at once. Either takes 70 ms in which nobody is answered.
        gc.freeze()
        gc.enable()
        gc.set_threshold(700, 10, 2)
        for probe in self.instance.probes.values():
            await probe.open(self._report.rotation, MetricsPage(self.metrics))
        try:
            result = await self._serve()
        finally:
            with log_failure("wait for the workers' end"):
                await self._see_all_gone()
            if self._control is not None:
                with log_failure("close the control socket"):
                    await self._control.close()
        self.instance.ended(self.owner, result)
        return result

    def close(self) -> None:
        """End all timers."""
        timers = (self._watchdog, self._checks, self._overload, self._scaler, self._service)
        reloads = () if self._reloader is None else (self._reloader.stop,)
        for stop in (*reloads, *(each.stop for each in timers), self._turns.close):
            with log_failure("end a timer"):
                stop()

    def order_reopen_logs(self) -> "Future[list[str]]":
        """See `Operable.order_reopen_logs`."""
        if not self._output.files():
            raise WrongState(f"{self.name} writes no log file", hint="start it with --log-file FILE")
        return self._output.reopen()

    def use_settings(self, read: ReadSettings) -> None:
        """Use settings that a reload has read, as far as they are the supervisor's."""
        settings = self.with_set(read.settings)
        LEVELS.use_own(settings.log_level)
        self._output.style.form = settings.log_format
        self._engine = _engine(settings)
        self._launcher.base = read.settings
        self.tuning.use_read(read)
        self._launcher.engine = self._engine.name
        self.owner.times = stop_times(settings)
        self.instance.set_rules(settings, self._control)
        self._scaler.use(settings)

    def wanted_by(self, settings: Settings) -> int:
        """See `changes.SettingsUser`; the settings are in use already."""
        return self._scaler.own_number()

    def fleet_changed(self) -> None:
        """See `fleet.Observer`."""
        self.owner.changed()
        if not self._fleet.members and not self._templates.all:
            self._all_gone.set()
        for follow in (self._judge, self._checks.check_soon, self._bury, self._scaler.fleet_changed):
            with log_failure("follow a change of the workers"):
                follow()

    def plan_done(self) -> None:
        """See `fleet.Observer`."""
        self._changes.finish()

    def changes_fail(self, error: ControlError, *, after_start: bool) -> None:
        """See `fleet.Observer`: a worker that crashes after its start fails only a reload, which rolls out what crashes."""
        self._changes.fail(error, kind=Reload if after_start else Change)
        if not after_start:
            self._scaler.start_failed()

    def first_serves(self, member: Member) -> None:
        """See `fleet.Observer`."""
        self._scaler.first_serves(member)

    def out_of_memory(self, member: Member, workers: int) -> None:
        """See `fleet.Observer`."""
        self._scaler.out_of_memory(member, workers)

    def worker_reported(self, member: Member, event: Event) -> None:
        """See `fleet.Observer`."""
        match event:
            case RequestBegan():
                self._service.request_began()
                self._scaler.request_began()
            case RequestRejected():
                self._overload.rejected()
            case QuotaReached():
                self._fleet.replace(member, "max requests")
            case Asked(order, params):
                self._obey_application(member, order, params)

    def _obey_application(self, member: Member, order: str, params: dict[str, Any]) -> None:
        """Carry out what a worker's application asks for; what it asks faster than that is refused."""
        orders, by = Orders(self), Actor(via="application", pid=member.pid)
        if member.orders == MOST_ORDERS:
            orders.refuse(by, order, f"{MOST_ORDERS} orders of this worker are not carried out yet")
        elif reply := orders.of_application(by, order, params):
            member.orders += 1
            reply.add_done_callback(lambda _: member.order_carried_out())

    async def _serve(self) -> ShutdownResult:
        self._service.start()
        if self._reloader is not None:
            self._reloader.start()
        self._fleet.begin()
        failure: Exception | None = None
        try:
            await self._begin()
        except Exception as error:  # noqa: BLE001 - raised at the end
            # A worker may serve by now, or come to: what has reached us is answered first.
            failure = error
            self.order_shutdown(Actor(via="code", detail="a failed start"), ShutdownParams())
        result = await self._turns.stopped
        self.owner.answer_rest()
        if failure is not None:
            raise failure
        return result

    async def _begin(self) -> None:
        """Wait for the first workers, and say that the instance serves; returns early if it is stopped before."""
        up = asyncio.wrap_future(self._fleet.up)
        either: list[asyncio.Future[Any]] = [up, self._turns.stopped]
        done, _ = await asyncio.wait(either, timeout=SLOW_START, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self._report_slow_start()
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._turns.stopped.done():
            up.cancel()
        elif self.owner.lifecycle.state is State.STARTING:
            if isinstance(error := up.exception(), ControlError):
                raise FlaskdError(str(error), hint=error.hint)
            self.instance.publish()
            self._watchdog.start()
            self._scaler.look_soon()
            self.owner.move(lifecycle.Event.READY)  # the last: whoever is told can use all of it
        else:
            up.exception()  # it stops already: how it began matters no more

    def _report_slow_start(self) -> None:
        """Say that the start takes its time, what it waits for, and how to see where that is."""
        starting = f"flaskd: {self.name} is still starting after {SLOW_START:g} s"
        app = shown("app", self._fleet.settings.app)
        for template in self._templates.all:
            if template.state == "loading":
                say(f"{starting}: the template (pid {template.pid}) loads {app}")
                return
        workers = self._fleet.in_state(WorkerState.STARTING)
        loading = ", ".join(f"worker {each.id} (pid {each.pid})" for each in workers)
        stacks = ""
        if endpoints := self.instance.endpoints:
            stacks = f"; see where: {client_command(endpoints, os.environ, os.geteuid())} stacks"
        say(f"{starting}: {loading or 'no worker'} loads {app}{stacks}")

    def _judge(self) -> None:
        """Move between running and degraded, as the workers are."""
        fleet, state = self._fleet, self.owner.lifecycle.state
        if state is State.RUNNING and fleet.degraded:
            self.owner.move(lifecycle.Event.CRASH_LOOP)
        elif state is State.DEGRADED and len(fleet.serving) >= fleet.wanted:
            self.owner.move(lifecycle.Event.RECOVERED)

    def _template_changed(self, template: Template) -> None:
        self.bus.publish(
            TemplateEvent(
                at=template.since,
                pid=template.pid,
                state=template.state,
                generation=template.generation,
                why=template.why,
            )
        )
        if template.crashed:
            incident = self._fleet.history.incidents.note_template(template)
            self.bus.publish(IncidentEvent(at=incident.at, incident=incident))
        if not self._fleet.members and not self._templates.all:
            self._all_gone.set()

    def _children(self) -> set[int]:
        templates = {each.pid for each in self._templates.all}
        return templates | {member.pid for member in self._fleet.members.values()}

    def _bury(self) -> None:
        if not self._templates.forking:  # else it may be a worker whose pid is not known yet
            reaper.reap(self._children)

    async def _see_all_gone(self) -> None:
        """Kill what is left of the workers, and wait until the kernel has taken them away."""
        self._fleet.hold()
        members = list(self._fleet.members.values())
        self._all_gone.clear()
        for member in members:
            member.dismiss()
        templates = self._templates.all
        self._templates.end()
        if members or templates:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), END_TIME)


def _reloader(settings: Settings, **parts: Any) -> "Reloader | None":
    """Make what reloads in `flaskd dev`; others do not import it."""
    if not settings.dev:
        return None
    from flaskd.supervisor.dev.reloader import Reloader

    return Reloader(settings, **parts)


def _engine(settings: Settings) -> Choice:
    return choose(settings.engine, tls=bool(settings.tls_cert))
