"""`flaskd run`: one asyncio loop owns the listeners, the control socket, the workers, signals and timers.

It never imports the application, Flask or an engine: whatever those do, it answers.
"""

import asyncio
import contextlib
import functools
import gc
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from flaskd.audit import journal
from flaskd.channel.messages import Asked, Event, QuotaReached, RequestBegan
from flaskd.console import banner, priority
from flaskd.engines.choice import Choice, choose
from flaskd.errors import FlaskdError
from flaskd.events import Bus
from flaskd.guard import log_failure
from flaskd.instance import Instance, Operated, stop_times
from flaskd.metrics import openmetrics
from flaskd.operable import Orders
from flaskd.probes.metrics import MetricsPage
from flaskd.process import reaper, signals
from flaskd.process.ending import STDOUT
from flaskd.release.code import Code, on_disk
from flaskd.settings.schema import Settings, worker_count
from flaskd.settings.sources import ReadSettings
from flaskd.shutdown import lifecycle, owner
from flaskd.shutdown.lifecycle import State
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.on_loop import OwnerOnLoop
from flaskd.supervisor.changes import Change, Changes, Reload, SettingsSource
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.fleet_shutdown import FleetShutdown
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.member import Member
from flaskd.supervisor.output import WorkerOutput
from flaskd.supervisor.overdue import Overdue
from flaskd.supervisor.process_stats import ProcessStats
from flaskd.supervisor.stack_dumps import StackDumps
from flaskd.supervisor.tasks import TaskOrders
from flaskd.supervisor.tuning import FleetTuning
from flaskd.supervisor.watching.checks import Checks
from flaskd.supervisor.watching.report import Report
from flaskd.supervisor.workers import Workers
from flaskd.systemd.activation import Handed
from flaskd.systemd.notify import ServiceManager
from flaskd.systemd.status import ServiceStatus
from flaskd.systemd.watchdog import Watchdog
from flaskd.tuning.levels import LEVELS
from flaskd.tuning.shown import shown
from flaskd.tuning.tuner import Tuner
from flaskd_ctl.errors import ControlError, WrongState
from flaskd_ctl.protocol import (
    Actor,
    EndpointStats,
    ErrorsResult,
    RequestsResult,
    ShutdownParams,
    ShutdownResult,
    SlowResult,
    StatsParams,
    StatsResult,
    StatusResult,
)

END_TIME: Final = 5.0
"""Seconds in which workers that were killed must be gone; the kernel needs milliseconds."""


class Ended(NamedTuple):
    """How a daemon ended."""

    name: str
    result: ShutdownResult
    killed: bool


def run(
    read: ReadSettings,
    *,
    source: SettingsSource,
    output: WorkerOutput,
    manager: ServiceManager,
    handed: Sequence[Handed] = (),
) -> Ended:
    """Serve an application with workers until told to stop.

    `read` are its settings; `source` reads them again for a reload; `output` passes on what the workers write; `manager` is the
    service manager, `handed` are listeners that it opened. Raises FlaskdError or BadPlace, with everything undone, for what
    keeps it from serving.
    """
    return asyncio.run(_run(read, source, output, manager, handed))


async def _run(
    read: ReadSettings,
    source: SettingsSource,
    output: WorkerOutput,
    manager: ServiceManager,
    handed: Sequence[Handed],
) -> Ended:
    settings = read.settings
    report = functools.partial(journal.report, settings.name) if priority.marking() else None
    with contextlib.ExitStack() as stack:
        mailbox: Mailbox[owner.Ask | None] = stack.enter_context(Mailbox())
        instance = stack.enter_context(
            Instance(
                settings,
                name=settings.name,
                app=str(shown("app", settings.app)),
                process_exits=True,
                audit_log=settings.audit_log,
                report=report,
                handed=handed,
            )
        )
        log = os.dup(STDOUT)  # for access logs: those lines need no prefix
        stack.callback(os.close, log)
        daemon = Daemon(instance, mailbox, read=read, source=source, output=output, manager=manager, log=log)
        stack.callback(daemon.close)
        daemon.bus.subscribe(lambda event: banner.announce(daemon, event))
        result = await daemon.serve()
        return Ended(instance.name, result, killed=daemon.killed)


class Daemon(Operated):
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
            log=log,
            output=output,
        )
        self._fleet = Fleet(
            settings,
            wanted=worker_count(settings),
            launcher=self._launcher,
            overdue=Overdue(stats),
            bus=bus,
            observer=self,
        )
        self._launcher.base = settings
        self._changes = Changes(self._fleet, source=source, user=self, read=read)
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
        self._report = Report(instance, self._fleet, owned, stats)
        self._service = ServiceStatus(manager, self._report, loop)
        self.fleet = Workers(self._fleet, self._changes, self._report, self._service)
        tasks = TaskOrders(self._fleet)
        self.order_task = tasks.order
        tunes = FleetTuning(
            self._fleet,
            launcher=self._launcher,
            checks=self._checks,
            tasks=tasks,
            owner=owned,
            source=source,
            audit=instance.audit,
        )
        self.tuning = Tuner(read, tunes, own_levels=True)
        self.with_set, self.names_set = self.tuning.with_set, self.tuning.names_set
        bus.subscribe(functools.partial(tunes.follow, self.tuning))
        self.order_stack_dump = StackDumps(self._fleet).order
        self._control = instance.control(self)
        self._watchdog = Watchdog(manager, lambda: self._control is None or self._control.serving, loop)
        self._all_gone = asyncio.Event()
        bus.subscribe(self._service.receive)
        signals.handle_signals(loop, Orders(self), log_files=bool(output.files()))
        reaper.on_child_exit(loop, self._bury)

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
        for stop in (self._watchdog.stop, self._checks.stop, self._service.stop, self._turns.close):
            with log_failure("end a timer"):
                stop()

    def status(self) -> StatusResult:
        """See `Operable.status`."""
        return self._report.status(self._engine)

    def requests(self) -> RequestsResult:
        """See `Operable.requests`."""
        self.check_ledger("`flaskd_ctl status` shows the connections")
        return self._report.requests()

    def stats(self, asked: StatsParams) -> StatsResult:
        """See `Operable.stats`."""
        self.check_ledger("numbers are counted by it")
        return self._report.stats(asked)

    def endpoint_stats(self) -> list[EndpointStats]:
        """See `Operable.endpoint_stats`."""
        self.check_ledger("numbers are counted by it")
        return self._report.endpoint_stats()

    def metrics(self, accept: str) -> Callable[[], tuple[str, bytes]]:
        """See `Operable.metrics`."""
        self.check_ledger("numbers are counted by it")
        return functools.partial(openmetrics.write, self._report.exposed(), accept)

    def errors(self, ident: str | None) -> ErrorsResult:
        """See `Operable.errors`."""
        self.check_ledger("see the application's log")
        return self._report.errors(ident)

    def slow(self, limit: int) -> SlowResult:
        """See `Operable.slow`."""
        self.check_ledger("see the access log")
        return self._report.slow(limit)

    def code_on_disk(self) -> Code:
        """See `Operable.code_on_disk`."""
        return on_disk(self._fleet.settings.app, self._launcher.directory or os.getcwd())

    def counts_requests(self) -> bool:
        """See `Operated.counts_requests`."""
        return self._fleet.settings.ledger

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

    def fleet_changed(self) -> None:
        """See `fleet.Observer`."""
        self.owner.changed()
        if not self._fleet.members:
            self._all_gone.set()
        for follow in (self._judge, self._checks.check_soon, self._bury):
            with log_failure("follow a change of the workers"):
                follow()

    def plan_done(self) -> None:
        """See `fleet.Observer`."""
        self._changes.finish()

    def changes_fail(self, error: ControlError, *, after_start: bool) -> None:
        """See `fleet.Observer`: a worker that crashes after its start fails only a reload, which rolls out what crashes."""
        self._changes.fail(error, kind=Reload if after_start else Change)

    def worker_reported(self, member: Member, event: Event) -> None:
        """See `fleet.Observer`."""
        match event:
            case RequestBegan():
                self._service.request_began()
            case QuotaReached():
                self._fleet.replace(member, "max requests")
            case Asked(order, params):
                Orders(self).of_application(Actor(via="application", pid=member.pid), order, params)

    async def _serve(self) -> ShutdownResult:
        self._service.start()
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
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._turns.stopped.done():
            up.cancel()
        elif self.owner.lifecycle.state is State.STARTING:
            if isinstance(error := up.exception(), ControlError):
                raise FlaskdError(str(error), hint=error.hint)
            self.instance.publish()
            self._watchdog.start()
            self.owner.move(lifecycle.Event.READY)  # the last: whoever is told can use all of it
        else:
            up.exception()  # it stops already: how it began matters no more

    def _judge(self) -> None:
        """Move between running and degraded, as the workers are."""
        fleet, state = self._fleet, self.owner.lifecycle.state
        if state is State.RUNNING and fleet.degraded:
            self.owner.move(lifecycle.Event.CRASH_LOOP)
        elif state is State.DEGRADED and len(fleet.serving) >= fleet.wanted:
            self.owner.move(lifecycle.Event.RECOVERED)

    def _bury(self) -> None:
        reaper.reap(lambda: {member.pid for member in self._fleet.members.values()})

    async def _see_all_gone(self) -> None:
        """Kill what is left of the workers, and wait until the kernel has taken them away."""
        self._fleet.hold()
        members = list(self._fleet.members.values())
        self._all_gone.clear()
        for member in members:
            member.dismiss()
        if members:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), END_TIME)


def _engine(settings: Settings) -> Choice:
    return choose(settings.engine, tls=bool(settings.tls_cert))
