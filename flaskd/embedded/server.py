"""`Server`: an application, its listeners, its engine and its control socket, composed in one process.

Threads: the *owner* (the caller of `serve`, or one of ours after `start`) moves the lifecycle; `flaskd-control` answers the
control socket; `flaskd-accept` and `flaskd-http-N` are the engine's and touch only the ledger. The control socket answers
whenever Python threads can run: an extension that holds the GIL silences it, since this is one process.
"""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

import msgspec

from flaskd import __version__
from flaskd.app.loader import name_of
from flaskd.audit.last_stop import Note
from flaskd.audit.log import Audit, quiet
from flaskd.control.access.grants import rules_of
from flaskd.control.claim import Claim
from flaskd.control.server import ControlThread, remote_of
from flaskd.engines.choice import choose
from flaskd.engines.factory import make_engine
from flaskd.errors import ConfigError, IllegalMove
from flaskd.events import Bus
from flaskd.ledger.access_log import AccessLog, Line
from flaskd.listening import listeners, tls
from flaskd.operable import Orders
from flaskd.process import signals
from flaskd.serving import Core, engine_options
from flaskd.settings.checks import check, check_alone
from flaskd.settings.schema import Settings
from flaskd.shutdown import owner
from flaskd.shutdown.lifecycle import Event, State
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.phases import LameDuck
from flaskd_ctl.contract.commands import PROTOCOL_VERSION
from flaskd_ctl.contract.endpoint import place_for
from flaskd_ctl.errors import WrongState
from flaskd_ctl.protocol import (
    Actor,
    RequestsResult,
    ShutdownParams,
    ShutdownResult,
    StateResult,
    StatusResult,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Server:
    """Serve a WSGI application until told to stop, and let it be operated through its control socket.

        with Server(app, bind="127.0.0.1:0") as server:
            print(server.listeners)

    `serve()` blocks and takes SIGTERM and SIGINT as a graceful shutdown; `start()` returns when it serves. A server serves
    once. Keyword arguments are the settings of `flaskd.settings.schema.Settings`; a bad one raises ConfigError.
    """

    fleet = None  # it serves in one process: no workers (see `control.commands.Daemon`)

    def __init__(
        self,
        app: "WSGIApplication",
        settings: Settings | None = None,
        *,
        bind: str | Sequence[str] | None = None,
        name: str | None = None,
        process_exits: bool = False,
        **others: Any,
    ) -> None:
        given = {"bind": bind if isinstance(bind, str | None) else tuple(bind), "name": name, **others}
        checked = {
            key: check(key, value, f"Server({key}=)") for key, value in given.items() if value is not None
        }
        self.settings = check_alone(msgspec.structs.replace(settings or Settings(), **checked))
        self.app = app
        self.name = self.settings.name or name_of(app)
        self.bus = Bus()
        self.version = __version__
        self._process_exits = process_exits
        self._mailbox: Mailbox[owner.Ask | None] = Mailbox()
        self._owner: owner.Owner | None = None
        self._core: Core
        self._listeners: list[listeners.Listener] = []
        self._resources = contextlib.ExitStack()
        self._control: ControlThread | None = None
        self._note: Note | None = None
        self.audit = Audit("", tell=quiet)
        self._endpoints: list[str] = []
        self._stop_early: Actor | None = None  # a signal that came before there was an owner to tell
        self._started = 0.0
        self._stopped: Future[ShutdownResult] = Future()
        self._pid = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if os.getpid() == self._pid:  # a forked child that leaves the block too has no server
            self.shutdown().exception()  # waits; how it went is for who asked

    @property
    def listeners(self) -> list[str]:
        """The URLs that are served, with the real ports."""
        return [listener.url for listener in self._listeners]

    @property
    def endpoints(self) -> list[str]:
        """The URLs of the control socket; none where it is off."""
        return list(self._endpoints)

    @property
    def killed(self) -> bool:
        """Whether it ended by `kill`: nothing in flight was waited for."""
        return self._owner is not None and self._owner.killed

    def start(self) -> None:
        """Begin to serve; returns when requests are answered. Raises what keeps it from that, with everything undone.

        Serves until `shutdown`, or until the program ends, which then waits for the requests in flight.
        """
        self._open()
        atexit.register(self._at_exit)
        threading.Thread(target=self._own, name="flaskd-owner", daemon=True).start()

    def serve(self) -> ShutdownResult:
        """Serve until stopped; on the main thread SIGTERM and SIGINT are a graceful shutdown, a second one cuts.

        Raises what keeps it from serving, with everything undone.
        """
        with signals.stopping(self._signalled):
            self._open()
            self._own()
        return self._stopped.result()

    def shutdown(
        self,
        *,
        grace: float | None = None,
        lame_duck: float | None = None,
        wait_unrouted: float | None = None,
    ) -> "Future[ShutdownResult]":
        """Stop without losing a request; returns at once, the future completes when all is closed.

        From any thread, a request handler (whose own request is answered first) or a signal handler. All are seconds, None is
        the setting. `grace` is what requests may still take; 0 cuts them. Before it, with readiness off, it serves on for
        `lame_duck`, or until no new request came for `wait_unrouted`. A second call joins the first, or brings its deadline
        nearer. Do not wait for the future in a request handler: it waits for you. Raises ConfigError for seconds that are none,
        WrongState for `wait_unrouted` without the ledger.
        """
        said = {"grace": grace, "lame_duck": lame_duck, "wait_unrouted": wait_unrouted}
        try:
            asked = msgspec.convert(said, ShutdownParams)
        except msgspec.ValidationError as error:
            shown = ", ".join(f"{name}={seconds!r}" for name, seconds in said.items() if seconds is not None)
            raise ConfigError(f"shutdown({shown}): {error}") from None
        return self._shutdown(Actor(via="code", pid=os.getpid()), asked)

    def drain(self) -> "Future[StateResult]":
        """Take this instance out of rotation; it serves on. `resume` undoes it."""
        return Orders(self).drain(Actor(via="code", pid=os.getpid()))

    def resume(self) -> "Future[StateResult]":
        """Put a draining instance back into rotation."""
        return Orders(self).resume(Actor(via="code", pid=os.getpid()))

    def status(self) -> StatusResult:
        """Tell what an operator wants to know at a glance; from any thread."""
        owner = self._running()
        now, lifecycle, retreat, ledger = time.time(), owner.lifecycle, owner.retreat, self._core.ledger
        activity = self._core.engine.activity()
        stopping = lifecycle.state is State.STOPPING and retreat is not None
        return StatusResult(
            name=self.name,
            state=lifecycle.state.value,
            since=lifecycle.since,
            uptime=round(now - self._started, 3),
            pid=os.getpid(),
            app=self.settings.app or name_of(self.app),
            ready=lifecycle.ready,
            in_flight=max(ledger.in_flight, activity.busy),
            connections=activity.connections,
            served=ledger.served(),
            engine=self._core.engine.name,
            engine_why=self._engine_why,
            threads=self.settings.threads,
            versions=self._versions,
            listeners=self.listeners,
            endpoints=self.endpoints,
            process_exits=self._process_exits,
            requested_by=lifecycle.by,
            requested_at=lifecycle.since if lifecycle.by else None,
            phase=retreat.phase.value if stopping and retreat else None,
            deadline_left=round(max(0.0, retreat.deadline - time.monotonic()), 3)
            if stopping and retreat
            else None,
            last_error=ledger.last_error,
            last_stop=self._note.before if self._note is not None else None,
        )

    def requests(self) -> RequestsResult:
        """List the requests in flight, oldest first; raises WrongState where the ledger is off."""
        if not self.settings.ledger:
            raise WrongState(
                "the ledger of requests is off (--no-ledger)", hint="`flaskd_ctl status` counts them"
            )
        self._running()
        return RequestsResult(requests=self._core.requests())

    def order_drain(self, by: Actor) -> "Future[StateResult]":
        """Go out of rotation, asked for by `by`."""
        return self._running().ask(owner.Drain(by))

    def order_resume(self, by: Actor) -> "Future[StateResult]":
        """Go back into rotation, asked for by `by`."""
        return self._running().ask(owner.Resume(by))

    def order_shutdown(
        self,
        by: Actor,
        *,
        grace: float | None,
        lame_duck: float | None = None,
        wait_unrouted: float | None = None,
    ) -> "Future[ShutdownResult]":
        """Stop, asked for by `by`; completes when nothing is left to answer, before the control socket closes.

        Raises WrongState where requests are to be counted and no ledger does.
        """
        owner.check_countable(wait_unrouted, ledger=self.settings.ledger)
        return self._running().ask(
            owner.Shutdown(by, grace=grace, lame_duck=lame_duck, wait_unrouted=wait_unrouted)
        )

    def order_kill(self, by: Actor) -> None:
        """End without waiting for any request."""
        self._running().ask(owner.Kill(by))

    def _running(self) -> owner.Owner:
        if self._owner is None:
            raise IllegalMove("not started", "operate")
        if os.getpid() != self._pid:
            raise IllegalMove("another process's, which forked this one", "operate")
        return self._owner

    def _shutdown(self, by: Actor, asked: ShutdownParams | None = None) -> "Future[ShutdownResult]":
        if not self._stopped.done():
            Orders(self).shutdown(by, asked or ShutdownParams())
        return self._stopped

    def _signalled(self, name: str, again: bool) -> None:
        by = Actor(via="signal", detail=name)
        if self._owner is None:
            self._stop_early = by
        else:
            self._shutdown(by, ShutdownParams(grace=0.0 if again else None))

    def _at_exit(self) -> None:
        if os.getpid() == self._pid:
            self.shutdown().exception()

    def _open(self) -> None:
        """Acquire everything, in the order in which it must not be seen too early; undo all of it on failure."""
        if self._owner is not None:
            raise IllegalMove(self._owner.lifecycle.state.value, "start")
        self._started = time.time()
        self._pid = os.getpid()
        self._listeners = []
        self._stopped = Future()
        self._stopped.set_running_or_notify_cancel()
        try:
            self._acquire()
        except BaseException as error:
            self._never_served(error)
            raise

    def _never_served(self, error: BaseException) -> None:
        self._stopped.set_exception(error)  # for who asked it to stop while it started
        if self._owner is not None:
            self._owner.answer_rest()
            self._owner = None

    def _acquire(self) -> None:
        settings = self.settings
        self._tls = tls.load(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._mailbox)
            claim = remote = None
            rules = rules_of(settings, owner=os.geteuid())
            if settings.control:
                claim = stack.enter_context(
                    Claim(
                        place_for(
                            self.name,
                            runtime_dir=settings.runtime_dir or None,
                            environ=os.environ,
                            uid=os.geteuid(),
                        ),
                        rules,
                    )
                )
                remote = remote_of(settings, claim.place)
                if remote is not None:
                    stack.enter_context(remote)
                self._endpoints = [*claim.place.endpoints, *(remote.urls if remote else [])]
            # A program's stderr is its own, and what it asks of itself is written down only if it wants that.
            self.audit = Audit.of(settings.audit_log or "off", self.name, tell=quiet)
            if claim is not None:
                note = Note(self.name, claim.place.directory, audit_log=self.audit.path)
                self._note = stack.enter_context(note)
            for address in settings.bind:
                scheme = "https" if settings.tls_cert else "http"
                self._listeners.append(listeners.bind(address, backlog=settings.backlog, scheme=scheme))
                stack.callback(self._listeners[-1].close)
            log = None
            if settings.access_log != "off":
                log = stack.enter_context(AccessLog(settings.access_log, sys.stdout)).put
            self._serve_http(log)
            stack.callback(self._core.close)
            if claim is not None:
                self._control = ControlThread(claim, self, rules, remote=remote)
                self._control.start()
                stack.callback(self._control.stop)
                claim.publish(self._facts())
            self._running().move(Event.READY)  # the last: who is told so can use all of it
            self._resources = stack.pop_all()

    def _serve_http(self, log: Callable[[Line], None] | None) -> None:
        settings = self.settings
        choice = choose(settings.engine, embedded=True)
        self._engine_why = choice.why
        engine = make_engine(choice.name, engine_options(settings, tls=self._tls))
        self._core = Core(
            self.app,
            settings,
            engine=engine,
            listeners=self._listeners,
            extension=self,
            shutdown_hook=self._hooked,
            log=log,
        )
        self._versions = self._core.versions()
        self._owner = owner.Owner(
            mailbox=self._mailbox,
            charge=self._core,
            bus=self.bus,
            grace=settings.grace,
            linger=settings.linger,
            lame_duck=LameDuck(settings.lame_duck, settings.wait_unrouted),
            pid=os.getpid(),
            process_exits=self._process_exits,
        )
        self._core.serve(self._owner.changed)

    def _hooked(self) -> None:
        self._shutdown(Actor(via="http", detail="werkzeug.server.shutdown"))

    def _own(self) -> None:
        """Be the owner until the instance has stopped, then let go of everything."""
        running = self._running()
        if self._stop_early is not None:
            self._shutdown(self._stop_early)
        try:
            try:
                with signals.waking(self._mailbox.wake_descriptor()):
                    result = running.run()
                self._note_stop(result)
            finally:
                self._resources.close()
                running.answer_rest()
                atexit.unregister(self._at_exit)
        except BaseException as error:  # the thread's outer edge: whoever waits is told, when all is closed
            self._stopped.set_exception(error)
            raise
        self._stopped.set_result(result)

    def _facts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pid": os.getpid(),
            "app": self.settings.app or name_of(self.app),
            "started": self._started,
            "protocol": PROTOCOL_VERSION,
            "version": self.version,
            "endpoints": self.endpoints,
            "listeners": self.listeners,
            "process_exits": self._process_exits,
            "audit_log": self.audit.path,
            "last_stop": msgspec.to_builtins(self._note.before) if self._note is not None else None,
        }

    def _note_stop(self, result: ShutdownResult) -> None:
        """Take down how it ended, for the note that is left before the place is given back."""
        if self._note is not None:
            by = self._running().ended_by
            self._note.ended(by, result=result, killed=self.killed, who=self.audit.who_asked(by))
