"""What a daemon and a `Server` have in common: what an instance holds, and the orders that its owner takes."""

import abc
import contextlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

import msgspec

from flaskd.audit.last_stop import LastStopNote
from flaskd.audit.log import Audit, Reporter
from flaskd.console.say import say
from flaskd.control.access.grants import rules_of
from flaskd.control.claim import Claim
from flaskd.control.server import ControlServer, tcp_endpoints
from flaskd.errors import ConfigError
from flaskd.events import Bus
from flaskd.guard import log_failure
from flaskd.installed import installed_version
from flaskd.listening import addresses, listeners
from flaskd.operable import Operable
from flaskd.probes.listener import ProbeListener, listen
from flaskd.settings.schema import Settings
from flaskd.shutdown.lifecycle import State
from flaskd.shutdown.owner import Drain, Kill, Owner, Resume, Shutdown
from flaskd.shutdown.phases import LameDuck, StopTimes
from flaskd.systemd.activation import Handed, still_to_bind
from flaskd.version import __version__
from flaskd_ctl.contract.commands import PROTOCOL_VERSION
from flaskd_ctl.contract.endpoint import place_for
from flaskd_ctl.contract.process_record import identify
from flaskd_ctl.errors import WrongState
from flaskd_ctl.protocol import (
    Actor,
    LastStop,
    PingResult,
    ShutdownParams,
    ShutdownResult,
    StateResult,
    StatusResult,
)

if TYPE_CHECKING:
    from flaskd.control.tcp.endpoints import TcpEndpoints


class Instance:
    """Holds an instance's name, control sockets, audit log, note of the last stop, listeners and probe ports.

    A context manager: entering takes all of it, in the order in which it must not be seen too early, and raises FlaskdError
    or BadPlace with everything undone. `handed` are listeners that systemd opened. `report` says each order's outcome.
    `endpoints` are the URLs of the control socket; none where it is off. `restart_command` is for `status`. Without
    `keep_note`, nothing is known of the instance once it has stopped: its name is used once.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        app: str,
        process_exits: bool,
        audit_log: str,
        report: Reporter | None = None,
        handed: Sequence[Handed] = (),
        keep_note: bool = True,
    ) -> None:
        self.settings = settings
        self.name = name
        self.app = app
        self.process_exits = process_exits
        self.started = time.time()
        self.audit = Audit("", report=report)
        self.listeners: list[listeners.Listener] = []
        self.probes: dict[str, ProbeListener] = {}
        self.endpoints: list[str] = []
        self.restart_command = ""
        self._audit = (audit_log, report)
        self._handed = handed
        self._keep_note = keep_note
        self._rules = rules_of(settings, owner=os.geteuid())
        self._claim: Claim | None = None
        self._remote: TcpEndpoints | None = None
        self._note: LastStopNote | None = None
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        settings = self.settings
        with contextlib.ExitStack() as stack:
            if settings.control:
                place = place_for(
                    self.name,
                    runtime_dir=settings.runtime_dir or None,
                    environ=os.environ,
                    uid=os.geteuid(),
                )
                self._claim = stack.enter_context(Claim.hold(place, self._rules))
                self._remote = stack.enter_context(tcp_endpoints(settings, place))
                self.endpoints = [*place.endpoints, *(self._remote.urls if self._remote else [])]
            audit_log, report = self._audit
            self.audit = Audit.from_setting(audit_log, self.name, report=report)
            if self._claim is not None and self._keep_note:
                note = LastStopNote(self.name, self._claim.place.directory, audit_log=self.audit.path)
                self._note = stack.enter_context(note)
            self._listen(stack)
            self.probes = listen(settings, stack)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        with log_failure("close everything"):  # each is closed, also after one that fails
            self._resources.__exit__(*exc)

    def _listen(self, stack: contextlib.ExitStack) -> None:
        """Take over the listeners that we were handed, and bind the rest."""
        scheme = "https" if self.settings.tls_cert else "http"
        for each in self._handed:
            self.listeners.append(listeners.SharedListener(each.descriptor, scheme=scheme))
            stack.callback(self.listeners[-1].close)
        for address in still_to_bind(self.settings.bind, self._handed):
            self.listeners.append(addresses.bind(address, backlog=self.settings.backlog, scheme=scheme))
            stack.callback(self.listeners[-1].close)

    @property
    def urls(self) -> list[str]:
        """The URLs that are served, with the real ports."""
        return [listener.url for listener in self.listeners]

    @property
    def last_stop(self) -> LastStop | None:
        """How the run before this one ended; None where that is not known."""
        return self._note.previous if self._note is not None else None

    def control(self, operable: Operable) -> ControlServer | None:
        """Make the control server, not yet open; None where there is to be none."""
        if self._claim is None:
            return None
        return ControlServer(self._claim, operable, self._rules, tcp=self._remote)

    def publish(self) -> None:
        """Write instance.json: from now on others find this instance."""
        if self._claim is not None:
            self._claim.publish(self._facts())

    def set_rules(self, settings: Settings, control: ControlServer | None) -> None:
        """Use the access rules of settings that were read again; a reload does not fail for them."""
        if self._claim is None or control is None:
            return
        try:
            rules = rules_of(settings, owner=os.geteuid())
        except ConfigError as error:  # the user or group was there when the settings were read
            say(f"flaskd: {error}; the access rules are unchanged")
            return
        control.set_rules(rules)  # first: whatever becomes of the files, a role that was taken away is gone
        try:
            self._claim.set_rules(rules)
        except OSError as error:  # somebody has removed the files
            say(f"flaskd: cannot change who may connect to {error.filename}: {error.strerror}")

    def ended(self, owner: Owner, result: ShutdownResult) -> None:
        """Note how it ended. Call it before leaving, while the name is still ours: the next instance's note comes after it."""
        with log_failure("note how it ended"):
            if self._note is None:
                return
            by = owner.ending.by if owner.ending is not None else None
            self._note.record_end(by, result=result, killed=owner.killed, who=self.audit.stop_requester(by))

    def status(self, owner: Owner, **others: Any) -> StatusResult:
        """Describe the instance at a glance: what is known here, and `others`."""
        lifecycle = owner.lifecycle
        stop = owner.stop if lifecycle.state is State.STOPPING else None
        known = {
            "name": self.name,
            "state": lifecycle.state.value,
            "since": lifecycle.since,
            "uptime": round(time.time() - self.started, 3),
            "pid": os.getpid(),
            "app": self.app,
            "ready": lifecycle.ready,
            "threads": self.settings.threads,
            "listeners": self.urls,
            "endpoints": self.endpoints,
            "process_exits": self.process_exits,
            "requested_by": lifecycle.by,
            "requested_at": lifecycle.since if lifecycle.by else None,
            "phase": stop.phase.value if stop else None,
            "deadline_left": round(max(0.0, stop.deadline - time.monotonic()), 3) if stop else None,
            "last_stop": self.last_stop,
            "installed_flaskd": installed_version(),
            "restart_command": self.restart_command,
            "probes": {name: probe.address for name, probe in self.probes.items()},
        }
        return StatusResult(**{**known, **others})

    def _facts(self) -> dict[str, Any]:
        """Return what instance.json says."""
        return {
            "name": self.name,
            **identify(os.getpid()),
            "app": self.app,
            "started": self.started,
            "protocol": PROTOCOL_VERSION,
            "version": __version__,
            "endpoints": self.endpoints,
            "listeners": self.urls,
            **{name: probe.address for name, probe in self.probes.items()},
            "process_exits": self.process_exits,
            "audit_log": self.audit.path,
            "last_stop": msgspec.to_builtins(self.last_stop),
        }


class Operated(abc.ABC):
    """The orders of `operable.Operable` that go to an instance's owner."""

    def __init__(self, instance: Instance, owner: Owner, bus: Bus) -> None:
        self.instance = instance
        self.owner = owner
        self.bus = bus

    @property
    def audit(self) -> Audit:
        """The audit log."""
        return self.instance.audit

    @property
    def killed(self) -> bool:
        """Whether it ended by `kill`: nothing in flight was waited for."""
        return self.owner.killed

    def ping(self) -> PingResult:
        """See `Operable.ping`."""
        state = self.owner.lifecycle.state.value
        return PingResult(name=self.instance.name, pid=os.getpid(), state=state, protocol=PROTOCOL_VERSION)

    @abc.abstractmethod
    def counts_requests(self) -> bool:
        """Tell whether the ledger counts requests."""

    def check_ledger(self, hint: str = "turn the setting `ledger` on to count requests") -> None:
        """Raise WrongState with `hint` if the ledger counts no requests."""
        if not self.counts_requests():
            raise WrongState("the ledger of requests is off (--no-ledger)", hint=hint)

    def order_drain(self, by: Actor) -> "Future[StateResult]":
        """See `Operable.order_drain`."""
        return self.owner.ask(Drain(by))

    def order_resume(self, by: Actor) -> "Future[StateResult]":
        """See `Operable.order_resume`."""
        return self.owner.ask(Resume(by))

    def order_shutdown(self, by: Actor, asked: ShutdownParams) -> "Future[ShutdownResult]":
        """See `Operable.order_shutdown`; raises WrongState if requests are to be counted and no ledger does."""
        if asked.wait_unrouted and not self.counts_requests():
            raise WrongState(
                "the ledger of requests is off (--no-ledger), so there is nothing for --wait-unrouted to count",
                hint="use --lame-duck, which waits for a fixed time",
            )
        return self.owner.ask(Shutdown(by, asked=asked))

    def order_kill(self, by: Actor) -> None:
        """See `Operable.order_kill`."""
        self.owner.ask(Kill(by))


def stop_times(settings: Settings) -> StopTimes:
    """Return what `settings` say a stop may take."""
    return StopTimes(settings.grace, settings.linger, LameDuck(settings.lame_duck, settings.wait_unrouted))
