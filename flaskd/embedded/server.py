"""`Server`: an application, its listeners, its engine and its control socket, composed in one process.

Threads: the *owner* (the caller of `serve`, or one of ours after `start`) moves the lifecycle; `flaskd-control` answers the
control socket; `flaskd-accept` and `flaskd-http-N` are the engine's and touch only the ledger. The control socket answers
whenever Python threads can run: an extension that holds the GIL silences it, since this is one process.
"""

import atexit
import contextlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

import msgspec

from flaskd.app.loader import name_of
from flaskd.audit.log import quiet
from flaskd.embedded.naming import default_name, is_unnamed
from flaskd.embedded.running import Running
from flaskd.errors import ConfigError, IllegalMove
from flaskd.events import Bus
from flaskd.guard import log_failure
from flaskd.http.cancelling import shielded
from flaskd.instance import Instance
from flaskd.operable import Orders
from flaskd.process import signals
from flaskd.settings.checks import check, check_alone
from flaskd.settings.schema import FIELDS, Settings
from flaskd.version import __version__
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
    once. With port 0 and without `name=`, its name is one that no other server has. `stopping` is set when its stop begins
    (`flaskd.Extension`). Keyword arguments are the settings of `flaskd.settings.schema.Settings`; a bad one raises ConfigError.
    """

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
        changed = _changed(settings or Settings())
        self._places = dict.fromkeys(changed, "Server(settings)") | {
            key: f"Server({key}=)" for key in checked
        }
        self.app = app
        self.name = default_name(app, self.settings)
        self.bus = Bus()
        self.stopping = threading.Event()
        self.version = __version__
        self._process_exits = process_exits
        self._running: Running | None = None
        self._resources = contextlib.ExitStack()
        self._stop_early: Actor | None = None  # a signal that came before there was an owner to tell
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
        return self._running.instance.urls if self._running else []

    @property
    def endpoints(self) -> list[str]:
        """The URLs of the control socket; none where it is off."""
        return self._running.instance.endpoints if self._running else []

    @property
    def killed(self) -> bool:
        """Whether it ended by `kill`: nothing in flight was waited for."""
        return self._running is not None and self._running.owner.killed

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
        with signals.stop_on_signals(self._signalled):
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
        return self._shutdown(_program(), asked)

    def drain(self) -> "Future[StateResult]":
        """Take this instance out of rotation; it serves on. `resume` undoes it."""
        with shielded():
            return Orders(self._checked()).drain(_program())

    def resume(self) -> "Future[StateResult]":
        """Put a draining instance back into rotation."""
        with shielded():
            return Orders(self._checked()).resume(_program())

    def status(self) -> StatusResult:
        """Describe the instance at a glance; from any thread."""
        return self._checked().status()

    def requests(self) -> RequestsResult:
        """List the requests in flight, oldest first; raises WrongState where the ledger is off."""
        return self._checked().requests()

    def _checked(self) -> Running:
        if self._running is None:
            raise IllegalMove("not started", "operate")
        if os.getpid() != self._pid:
            raise IllegalMove("another process's, which forked this one", "operate")
        return self._running

    def _shutdown(self, by: Actor, asked: ShutdownParams = ShutdownParams()) -> "Future[ShutdownResult]":  # noqa: B008 - frozen
        with shielded():  # a request may order it, and be cancelled
            if not self._stopped.done():
                Orders(self._checked()).shutdown(by, asked)
        return self._stopped

    def _signalled(self, name: str, again: bool) -> None:
        by = Actor(via="signal", detail=name)
        if self._running is None:
            self._stop_early = by
        else:
            self._shutdown(by, ShutdownParams(grace=0.0 if again else None))

    def _at_exit(self) -> None:
        if os.getpid() == self._pid:
            self.shutdown().exception()

    def _open(self) -> None:
        """Acquire everything, in the order in which it must not be seen too early; undo all of it on failure."""
        if self._running is not None:
            raise IllegalMove(self._running.owner.lifecycle.state.value, "start")
        self._pid = os.getpid()
        self._stopped = Future()
        self._stopped.set_running_or_notify_cancel()
        try:
            instance = Instance(
                self.settings,
                name=self.name,
                app=self.settings.app or name_of(self.app),
                process_exits=self._process_exits,
                audit_log=self.settings.audit_log or "off",  # a program's own orders are its own business
                report=quiet,
                keep_note=not is_unnamed(self.settings),
            )
            with contextlib.ExitStack() as stack:
                self._running = Running(
                    self.app,
                    instance,
                    stack,
                    bus=self.bus,
                    places=self._places,
                    extension=self,
                    shutdown_hook=self._hooked,
                )
                self._running.serve(stack)
                self._resources = stack.pop_all()
        except BaseException as error:
            self._stopped.set_exception(error)  # for whoever asked it to stop while it started
            if self._running is not None:
                self._running.owner.answer_rest()
                self._running = None
            raise

    def _hooked(self) -> None:
        self._shutdown(Actor(via="http", detail="werkzeug.server.shutdown"))

    def _own(self) -> None:
        """Be the owner until the instance has stopped, then let go of everything."""
        running = self._checked()
        if self._stop_early is not None:
            self._shutdown(self._stop_early)
        try:
            try:
                result = running.run()
            finally:
                with log_failure("close everything"):  # each is closed, also after one that fails
                    self._resources.close()
                running.owner.answer_rest()
                atexit.unregister(self._at_exit)
        except BaseException as error:  # the thread's outer edge: whoever waits is told, when all is closed
            self._stopped.set_exception(error)
            raise
        self._stopped.set_result(result)


def _changed(settings: Settings) -> list[str]:
    """List the settings that differ from their defaults."""
    return [name for name, field in FIELDS.items() if getattr(settings, name) != field.default]


def _program() -> Actor:
    return Actor(via="code", pid=os.getpid())
