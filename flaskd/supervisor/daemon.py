"""`Daemon`: what `flaskd run` is. One asyncio loop owns the listeners, the control socket, the workers, signals and timers.

It never imports the application, Flask or an engine: whatever those do, it answers. What it starts is told by `supervisor`.
"""

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

import msgspec

from flaskd import __version__
from flaskd.audit import journal
from flaskd.audit.last_stop import Note
from flaskd.audit.log import Audit
from flaskd.console import priority
from flaskd.console.say import say
from flaskd.control.access.grants import rules_of
from flaskd.control.claim import Claim
from flaskd.control.server import ControlServer, remote_of
from flaskd.engines.choice import choose
from flaskd.errors import ConfigError, FlaskdError
from flaskd.events import Bus
from flaskd.listening import listeners
from flaskd.operable import Orders
from flaskd.probes import listener as probes
from flaskd.process import reaper, signals
from flaskd.process.ending import STDOUT
from flaskd.settings.schema import Settings, worker_count
from flaskd.shutdown import owner
from flaskd.shutdown.lifecycle import Event, State
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.phases import LameDuck
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.fleet_shutdown import FleetCharge
from flaskd.supervisor.member import Member, requests_of
from flaskd.supervisor.output import Relay
from flaskd.supervisor.watching.checks import Rounds
from flaskd.supervisor.watching.process_stats import Looks
from flaskd.supervisor.watching.report import Report
from flaskd.systemd.activation import Handed, still_to_bind
from flaskd.systemd.news import News
from flaskd.systemd.notify import Manager
from flaskd.systemd.watchdog import Watchdog
from flaskd_ctl.contract.commands import PROTOCOL_VERSION
from flaskd_ctl.contract.endpoint import place_for
from flaskd_ctl.errors import ControlError, WrongState
from flaskd_ctl.protocol import (
    Actor,
    IncidentsResult,
    ReloadResult,
    RequestsResult,
    RestartResult,
    ScaleResult,
    ShutdownParams,
    ShutdownResult,
    StateResult,
    StatusResult,
    WorkersResult,
)

END_TIME: Final = 5.0
"""Seconds in which workers that were killed must be gone; the kernel needs milliseconds."""


class Daemon:
    """Serve an application with workers until told to stop. `reread` reads the settings anew, for a reload.

    `relay` passes on what the workers write, `manager` is told how it stands, `handed` are listeners that it opened for us.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings],
        relay: Relay,
        manager: Manager,
        handed: Sequence[Handed] = (),
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.version = __version__
        self.bus = Bus()
        self.endpoints: list[str] = []
        self.audit: Audit
        self._note: Note | None = None
        self._reread = reread
        self._relay = relay
        self._manager = manager
        self._handed = handed
        self._choice = choose(settings.engine, tls=bool(settings.tls_cert))
        self._listeners: list[listeners.Listener] = []
        self._all_gone: asyncio.Event | None = None
        self._fleet: Fleet
        self._owner: owner.Owner
        self._report: Report

    @property
    def fleet(self) -> "Daemon":
        """The workers, for the control plane: this daemon is asked about them too."""
        return self

    def order_reload(self, by: Actor, *, check: str | None) -> "Future[ReloadResult]":
        """See `Fleet.order_reload`."""
        return self._news.follow(lambda: self._fleet.order_reload(by, check=check))

    def order_scale(self, by: Actor, *, to: int | None, by_count: int | None) -> "Future[ScaleResult]":
        """See `Fleet.order_scale`."""
        return self._fleet.order_scale(by, to=to, by_count=by_count)

    def order_restart(self, by: Actor, worker: int) -> "Future[RestartResult]":
        """See `Fleet.order_restart`."""
        return self._fleet.order_restart(by, worker)

    def incidents(self, ident: int | None) -> IncidentsResult:
        """See `Fleet.incidents`."""
        return self._fleet.incidents.told(ident)

    @property
    def listeners(self) -> list[str]:
        """The URLs that are served, with the real ports."""
        return [listener.url for listener in self._listeners]

    @property
    def killed(self) -> bool:
        """Whether it ended by `kill`: nothing in flight was waited for."""
        return self._owner.killed

    def run(self) -> ShutdownResult:
        """Serve until stopped. Raises FlaskdError or BadPlace, with everything undone, for what keeps it from serving."""
        return asyncio.run(self._main())

    def status(self) -> StatusResult:
        """Tell what an operator wants to know at a glance."""
        return self._report.status(*self._choice)

    def workers(self) -> WorkersResult:
        """Describe every worker."""
        return WorkersResult(workers=self._report.workers())

    def requests(self) -> RequestsResult:
        """List the requests in flight in all workers, oldest first; raises WrongState where the ledger is off."""
        if not self._fleet.settings.ledger:
            raise WrongState(
                "the ledger of requests is off (--no-ledger)",
                hint="`flaskd_ctl status` shows the connections",
            )
        return RequestsResult(requests=requests_of(self._fleet.members.values()))

    def order_drain(self, by: Actor) -> "Future[StateResult]":
        """Go out of rotation, asked for by `by`."""
        return self._owner.ask(owner.Drain(by))

    def order_resume(self, by: Actor) -> "Future[StateResult]":
        """Go back into rotation, asked for by `by`."""
        return self._owner.ask(owner.Resume(by))

    def order_shutdown(
        self,
        by: Actor,
        *,
        grace: float | None,
        lame_duck: float | None = None,
        wait_unrouted: float | None = None,
    ) -> "Future[ShutdownResult]":
        """Stop, asked for by `by`; completes when every worker is gone, before the control socket closes.

        Raises WrongState where requests are to be counted and no ledger does.
        """
        owner.check_countable(wait_unrouted, ledger=self._fleet.settings.ledger)
        return self._owner.ask(
            owner.Shutdown(by, grace=grace, lame_duck=lame_duck, wait_unrouted=wait_unrouted)
        )

    def order_kill(self, by: Actor) -> None:
        """End without waiting for any request."""
        self._owner.ask(owner.Kill(by))

    async def _main(self) -> ShutdownResult:
        self._loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            claim = self._claim = self._acquire(stack)
            control = self._control = None
            if claim is not None:
                control = self._control = ControlServer(claim, self, self._rules, remote=self._remote)
            if control is not None:
                await control.open()
            self._watchdog = Watchdog(self._manager, lambda: control is None or control.serving, self._loop)
            stack.callback(self._watchdog.end)
            for each in self._probes.values():
                await each.open()
            try:
                result = await self._serve(claim)
            finally:
                await self._see_all_gone()
                if control is not None:
                    await control.close()
            if self._note is not None:  # while the place is ours still: the next one's note comes after it
                by, killed = self._owner.ended_by, self.killed
                self._note.ended(by, result=result, killed=killed, who=self.audit.who_asked(by))
        return result

    def _acquire(self, stack: contextlib.ExitStack) -> Claim | None:
        """Take everything that has to be ours before a worker can be started."""
        settings = self.settings
        self._rules = rules_of(settings, owner=os.geteuid())
        mailbox: Mailbox[owner.Ask | None] = stack.enter_context(Mailbox())
        claim = None
        if settings.control:
            place = place_for(
                self.name,
                runtime_dir=settings.runtime_dir or None,
                environ=os.environ,
                uid=os.geteuid(),
            )
            claim = stack.enter_context(Claim(place, self._rules))
            self._remote = remote_of(settings, place)
            if self._remote is not None:
                stack.enter_context(self._remote)
            self.endpoints = [*place.endpoints, *(self._remote.urls if self._remote else [])]
        say = functools.partial(journal.tell, self.name) if priority.marking() else None
        self.audit = Audit.of(settings.audit_log, self.name, tell=say)
        if claim is not None:
            note = Note(self.name, claim.place.directory, audit_log=self.audit.path)
            self._note = stack.enter_context(note)
        self._listen(stack)
        self._probes = probes.listen(settings, lambda: self._report.rotation(), stack)
        looks = Looks(self._listeners)
        self._log = os.dup(STDOUT)  # for access logs: those lines need no relay
        stack.callback(os.close, self._log)
        self._fleet = Fleet(
            settings,
            wanted=worker_count(settings),
            reread=self._reread,
            params=self._params,
            inherited=[*(listener.socket.fileno() for listener in self._listeners), self._log],
            relay=self._relay,
            bus=self.bus,
            on_change=self._changed,
            on_event=self._told,
            connections=looks.connections,
            on_settings=self._take_settings,
        )
        self._rounds = Rounds(self._fleet, self.bus)
        stack.callback(self._rounds.end)
        self._charge = FleetCharge(
            self._fleet,
            self._listeners,
            deadline=self._deadline,
        )
        self._owner = owner.Owner(
            mailbox=mailbox,
            charge=self._charge,
            bus=self.bus,
            grace=settings.grace,
            linger=settings.linger,
            lame_duck=LameDuck(settings.lame_duck, settings.wait_unrouted),
            pid=os.getpid(),
            process_exits=True,
        )
        self._report = Report(
            self._fleet,
            self._owner,
            self._listeners,
            looks=looks,
            name=self.name,
            endpoints=self.endpoints,
            last_stop=self._note.before if self._note is not None else None,
        )
        self._news = News(
            self._manager,
            loop=self._loop,
            rotation=self._report.rotation,
            left=lambda: (
                max(0.0, self._deadline() - time.monotonic()) if self._owner.retreat is not None else 0.0
            ),
            step=lambda: self._fleet.settings.start_timeout,
            arm=self._arm_bells,
            counted=lambda: self._fleet.settings.ledger,
        )
        stack.callback(self._news.end)
        self.bus.subscribe(self._news.hear)
        self._stopped: asyncio.Future[ShutdownResult] = self._loop.create_future()
        self._next_turn: asyncio.TimerHandle | None = None
        self._loop.add_reader(mailbox.read_descriptor(), self._turn)
        stack.callback(self._loop.remove_reader, mailbox.read_descriptor())
        signals.supervise(
            self._loop,
            stop=lambda by, again: Orders(self).shutdown(by, ShutdownParams(grace=0.0 if again else None)),
            reload=lambda by: self.audit.ordered("reload", {}, by, lambda: self.order_reload(by, check=None)),
            scale=lambda by, count: self.audit.ordered(
                "scale", {"by": count}, by, lambda: self.order_scale(by, to=None, by_count=count)
            ),
        )
        reaper.adopt(self._loop, self._bury)
        return claim

    def _listen(self, stack: contextlib.ExitStack) -> None:
        """Take over the listeners that we were handed, and bind the rest."""
        scheme = "https" if self.settings.tls_cert else "http"
        for each in self._handed:
            self._listeners.append(listeners.Inherited(each.descriptor, scheme=scheme))
            stack.callback(self._listeners[-1].close)
        for address in still_to_bind(self.settings.bind, self._handed):
            self._listeners.append(listeners.bind(address, backlog=self.settings.backlog, scheme=scheme))
            stack.callback(self._listeners[-1].close)

    async def _serve(self, claim: Claim | None) -> ShutdownResult:
        self._news.begin()
        self._fleet.begin()
        up = asyncio.wrap_future(self._fleet.up)
        either: list[asyncio.Future[Any]] = [up, self._stopped]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._stopped.done():
            try:
                up.result()
            except ControlError as error:
                # Another worker may serve by now: what has reached it is answered.
                self.order_shutdown(Actor(via="code", detail="a worker that cannot start"), grace=None)
                await self._stopped
                raise FlaskdError(str(error), hint=error.hint) from None
            if self._owner.lifecycle.state is State.STARTING:
                if claim is not None:
                    claim.publish(self._facts())
                self._watchdog.begin()
                self._owner.move(Event.READY)  # the last: who is told so can use all of it
        else:
            up.cancel()
        result = await self._stopped
        self._owner.answer_rest()
        return result

    def _params(self) -> dict[str, Any]:
        """Return what each worker is told at its start."""
        return {
            "engine": self._choice.name,
            "name": self.name,
            "listeners": [listener.socket.fileno() for listener in self._listeners],
            "log": self._log,
            "closing": self._charge.closing,
            "marked": priority.marking(),
        }

    def _turn(self) -> None:
        """Let the owner take what is in its mailbox, or the step that is due."""
        if self._stopped.done():
            return
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        try:
            result = self._owner.turn(0)
        except BaseException as error:
            self._stopped.set_exception(error)
            raise
        self._judge()  # who goes back into rotation may be degraded by now
        if result is not None:
            self._stopped.set_result(result)
        elif self._owner.look_again is not None:
            wait = self._owner.look_again - time.monotonic()
            self._next_turn = self._loop.call_later(max(0.0, wait), self._turn)

    def _changed(self) -> None:
        """Look what a change among the workers means for the whole."""
        self._judge()
        self._owner.changed()
        self._rounds.look_soon()
        self._bury()
        if self._all_gone is not None and not self._fleet.members:
            self._all_gone.set()

    def _bury(self) -> None:
        reaper.bury(lambda: {member.pid for member in self._fleet.members.values()})

    def _judge(self) -> None:
        """Move between running and degraded, as the workers are."""
        fleet = self._fleet
        state = self._owner.lifecycle.state
        if state is State.RUNNING and fleet.degraded:
            self._owner.move(Event.CRASH_LOOP)
        elif state is State.DEGRADED and len(fleet.serving) >= fleet.wanted:
            self._owner.move(Event.RECOVERED)

    def _take_settings(self, settings: Settings) -> None:
        """Use what a reload has read anew, as far as it is the supervisor's."""
        self._choice = choose(settings.engine, tls=bool(settings.tls_cert))
        self._owner.grace, self._owner.linger = settings.grace, settings.linger
        self._owner.lame_duck = LameDuck(settings.lame_duck, settings.wait_unrouted)
        self._take_rules(settings)

    def _take_rules(self, settings: Settings) -> None:
        """Let those near, and do what they may, whom the settings name now; a reload does not fail for it."""
        if self._control is None or self._claim is None:
            return
        try:
            rules = rules_of(settings, owner=os.geteuid())
        except ConfigError as error:  # it was there when the settings were read
            say(f"flaskd: {error}; who may do what is as it was")
            return
        self._control.take(rules)  # first: whatever becomes of the files, who has lost a role has lost it
        try:
            self._claim.admit(rules)
        except OSError as error:  # somebody has removed them
            say(f"flaskd: cannot change who may reach {error.filename}: {error.strerror}")

    def _told(self, member: Member, event: dict[str, Any]) -> None:
        """Do what the application asked for through its extension, and what the worker needs."""
        match event:
            case {"event": "busy"}:
                self._news.rung()
            case {"event": "worn"}:
                self._fleet.replace(member, "max requests")
            case {"event": "asked"}:
                Orders(self).of_application(Actor(via="application", pid=member.pid), event)

    def _arm_bells(self) -> None:
        for member in self._fleet.members.values():
            member.request_table.notify_on_next_request()

    def _deadline(self) -> float:
        retreat = self._owner.retreat
        return retreat.deadline if retreat is not None else float("inf")

    async def _see_all_gone(self) -> None:
        """Kill what is left of the workers, and wait until the kernel has taken them away."""
        self._fleet.hold()
        members = list(self._fleet.members.values())
        self._all_gone = asyncio.Event()
        for member in members:
            member.dismiss()
        if members:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), END_TIME)

    def _facts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pid": os.getpid(),
            "app": self.settings.app,
            "started": self._report.started,
            "protocol": PROTOCOL_VERSION,
            "version": self.version,
            "endpoints": self.endpoints,
            "listeners": self.listeners,
            **{what: each.address for what, each in self._probes.items()},
            "process_exits": True,
            "audit_log": self.audit.path,
            "last_stop": msgspec.to_builtins(self._note.before) if self._note is not None else None,
        }
