"""A worker process: the same core as a `Server`'s, with a channel to the supervisor in place of the control socket.

It is started as `python -P -m flaskd.worker DESCRIPTOR VERSION` (see `__main__`); the descriptor is its end of the channel
(see `channel.messages`). The first call is `Start`: what to load and serve, and how. The worker reports when it has loaded,
and accepts nothing before `Serve`: until then it can simply be killed. When the channel ends, the supervisor is gone: the
worker answers what has reached it, then exits too.
"""

import faulthandler
import functools
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

import msgspec

from flaskd import in_process
from flaskd.app.hooks import Hooks
from flaskd.app.loader import applications_traceback
from flaskd.channel.messages import (
    AnnounceClose,
    AnnounceStopping,
    AnswerLate,
    Calls,
    CloseIdle,
    Done,
    Loaded,
    Ping,
    Progress,
    QuotaReached,
    Ready,
    RequestBegan,
    RequestRejected,
    Serve,
    Start,
    StopGracefully,
    Stopped,
    TakeAccepted,
)
from flaskd.channel.worker_end import WorkerChannel
from flaskd.engines.factory import make_engine
from flaskd.engines.shared.load_share import LoadShare
from flaskd.errors import FlaskdError, LoadError
from flaskd.events import Bus
from flaskd.http.late_answers import LateAnswers
from flaskd.in_process.tuning import use_levels
from flaskd.installed import check_installed
from flaskd.ledger.access_log import AccessLog
from flaskd.ledger.errors import ErrorTable
from flaskd.ledger.middleware import number_of
from flaskd.ledger.quota import Quota
from flaskd.ledger.shared_memory import RequestTable
from flaskd.ledger.slowest import SlowTable
from flaskd.listening import tls
from flaskd.listening.listeners import SharedListener
from flaskd.metrics.memory import MetricsMemory
from flaskd.metrics.recorder import Recorder
from flaskd.metrics.saturation import LOOK
from flaskd.process import ending
from flaskd.process.load_table import LoadTable
from flaskd.release import code
from flaskd.serving import Core, engine_options
from flaskd.settings.schema import Settings
from flaskd.shutdown import owner
from flaskd.shutdown.lifecycle import Event
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.phases import Action, StopTimes
from flaskd.tasks import Reply, Task
from flaskd.worker.application import Application, load_application
from flaskd.worker.extension import Extension
from flaskd.worker.orphan import OrphanAlarm
from flaskd.worker.process import LAST_MOMENT, WorkerProcess
from flaskd.worker.signals import take_signals
from flaskd_ctl.protocol import Actor, ProgressEvent, ShutdownParams, ShutdownResult

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SUPERVISOR: Final = Actor(via="supervisor")

log = logging.getLogger("flaskd")


class Worker:
    """Loads, serves and stops, all on the main thread; calls from the supervisor are received on a thread of their own."""

    def __init__(self, channel: WorkerChannel, start: Start, load: Callable[[], Application]) -> None:
        self._channel = channel
        self._start = start
        self._load_application = load
        self._settings = start.settings
        if start.tune is not None:
            self._settings = msgspec.structs.replace(start.settings, **start.tune.settings)
        self._bus = Bus()
        self._mailbox: Mailbox[owner.Ask | None] = Mailbox()
        self._owner: owner.Owner | None = None
        self._core: Core | None = None
        self._code = code.Code()
        self._packages: dict[str, str] = {}
        self._quota: Quota | None = None
        self._closing = start.closing
        self._admitted = threading.Event()
        self._report_rejected_from = 0.0  # monotonic
        self._late = LateAnswers(number_of) if start.settings.request_timeout_answer else None
        self._orphan = OrphanAlarm(start.settings.grace + LAST_MOMENT)

    def run(self) -> bool:
        """Serve until told to stop; returns whether nothing was cut. Raises what keeps it from serving."""
        threading.Thread(target=self._receive, name="flaskd-channel", daemon=True).start()
        app, hooks = self._load_or_show()
        take_signals()  # again, where the application has taken them
        if self._start.tune is not None:  # not before: the application configures its loggers
            use_levels(self._start.tune, worker=self._start.worker)
        clean = self._serve(app)
        if hooks is not None:
            hooks.stopping(app)
        return clean

    def _load_or_show(self) -> "tuple[WSGIApplication, Hooks | None]":
        """Load the application; in `flaskd dev`, if no other worker serves, one that shows why it cannot be loaded."""
        try:
            return self._load()
        except LoadError as error:
            if not (self._settings.dev and self._start.alone):
                raise
            from flaskd.app.developing import failing

            sys.stderr.write(applications_traceback(error))
            log.error("%s", error)  # noqa: TRY400 - its traceback has been shown
            return failing(error.__cause__ or error), None

    def _load(self) -> "tuple[WSGIApplication, Hooks]":
        app, self._code, self._packages = self._load_application()
        hooks = Hooks(self._settings)
        hooks.loaded(app, give_up=self._give_up)
        return app, hooks

    def _serve(self, app: "WSGIApplication") -> bool:
        settings, channel = self._settings, self._channel
        with ExitStack() as stack:
            stack.enter_context(self._mailbox)
            core = self._core = self._make_core(app, stack)
            core.on_settings = self._use_settings
            core.code, core.packages = self._code, self._packages
            self._owner = owner.Owner(
                core,
                mailbox=self._mailbox,
                bus=self._bus,
                times=StopTimes(settings.grace, settings.linger),
                process_exits=True,
            )
            if self._start.check:
                check(app, self._start.check)
            self._bus.subscribe(self._report_progress)
            check_installed()  # it may have been replaced while this process imported it
            ready = Ready(versions=core.versions())
            channel.send(Loaded())
            self._admitted.wait()
            core.serve(self._owner.changed)
            stack.callback(core.close)
            self._owner.move(Event.READY)
            core.announce_close(closing=self._closing)
            channel.reply(self._start, ready)
            # Not before: only a worker that serves can be replaced.
            self._quota = Quota(core.ledger, lambda: channel.send(QuotaReached()))
            self._use_settings(core.settings)
            return self._owner.run().clean

    def _use_settings(self, settings: Settings) -> None:
        """Use settings that have changed since the start."""
        self._settings = settings
        if self._quota is not None:
            self._quota.set(settings.max_requests, jitter=settings.max_requests_jitter)

    def _report_rejected(self) -> None:
        """Tell the supervisor of a rejected request; it looks at the counters itself from then on."""
        now = time.monotonic()
        if now >= self._report_rejected_from:
            self._report_rejected_from = now + LOOK
            self._channel.send(RequestRejected())

    def _report_progress(self, event: object) -> None:
        if isinstance(event, ProgressEvent):
            self._channel.send(Progress(event.phase))

    def _give_up(self, error: FlaskdError, trace: str) -> None:
        """Exit, and report why this worker cannot serve."""
        self._channel.refuse(self._start, error, hint=error.hint, trace=trace)
        ending.exit_now(1)

    def _make_core(self, app: "WSGIApplication", stack: ExitStack) -> Core:
        start, settings = self._start, self._settings
        secured = tls.load(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        scheme = "https" if secured else "http"
        extension = Extension(
            self._channel, name=start.name, worker=start.worker, generation=start.generation
        )
        table = RequestTable.attach(start.request_table)
        recorder = Recorder(MetricsMemory.attach(start.metrics))
        table.on_next_request = lambda: self._channel.send(RequestBegan())
        recorder.on_reject = self._report_rejected
        wrap = None
        if settings.dev:
            from flaskd.app.developing import developed

            wrap = functools.partial(developed, settings=settings, announce=start.alone)
        log = None
        if settings.access_log != "off":
            # Not closed here: that would wait for a line that nobody reads.
            stream = os.fdopen(start.log, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            log = stack.enter_context(self._access_log(stream)).put
        return Core(
            app,
            settings,
            engine=make_engine(
                start.engine,
                engine_options(
                    settings,
                    tls=secured,
                    recorder=recorder,
                    late=self._late,
                    multiprocess=True,
                    load_share=LoadShare(LoadTable.attach(start.loads), start.load_row),
                ),
            ),
            listeners=[SharedListener(descriptor, scheme=scheme) for descriptor in start.listeners],
            extension=extension,
            shutdown_hook=extension.shutdown,
            recorder=recorder,
            request_table=table,
            errors=ErrorTable.attach(start.errors),
            slow=SlowTable.attach(start.slow),
            log=log,
            wrap=wrap,
            worker=start.worker,
            base=start.settings,
            tuned=start.tune.serial if start.tune is not None else 0,
        )

    def _access_log(self, stream: TextIO) -> AccessLog:
        coloured = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return AccessLog(self._settings.access_log, stream, worker=self._start.worker, coloured=coloured)

    def _receive(self) -> None:
        """Carry out the supervisor's calls; the end of the channel is an order to stop."""
        self._orphan.wake()
        while (call := self._channel.receive()) is not None:
            if isinstance(call, StopGracefully):
                self._stop(call.grace, call.linger, call)
            elif isinstance(call, Task):
                self._start_task(call)
            elif self._do(call):
                self._channel.reply(call, Done())
            else:
                self._channel.refuse(call, "the worker cannot do that now")
        if not self._admitted.is_set():
            ending.exit_now(1)  # it does not serve yet: there is nobody to wait for
        self._orphan.call_off()
        faulthandler.dump_traceback_later(self._settings.grace + LAST_MOMENT, exit=True)  # needs no GIL
        self._stop(self._settings.grace, self._settings.linger)

    def _do(self, call: Calls) -> bool:
        """Carry out a call; returns False where it cannot be done now."""
        core = self._core
        match call:
            case Ping():
                pass
            case Serve():
                self._admitted.set()
            case AnnounceClose(closing=closing):
                self._closing = closing
                if core is not None:
                    core.announce_close(closing=closing)
            case AnnounceStopping() if core is not None:
                core.announce_stopping()
            case CloseIdle() if core is not None:
                core.carry_out(Action.CLOSE_IDLE)
            case TakeAccepted() if core is not None:
                core.engine.activity()  # which counts what was accepted
            case AnswerLate(request=request) if self._late is not None:
                self._late.answer(request)
            case _:
                return False
        return True

    def _start_task(self, task: Task) -> None:
        def replied(reply: "Future[Reply]") -> None:
            if error := reply.exception():
                self._channel.refuse(task, error)
            else:
                self._channel.reply(task, reply.result())

        if self._core is None and not task.early:
            self._channel.refuse(task, "the worker has not loaded its application")
            return
        reply: Future[Reply] = Future()
        reply.add_done_callback(replied)
        in_process.start(self._core, task, reply, lambda note: self._channel.reply(task, note))

    def _stop(self, grace: float, linger: float, call: StopGracefully | None = None) -> None:
        if self._owner is None:
            if call is not None:
                self._channel.refuse(call, "the worker has not loaded its application")
            return
        stop = owner.Shutdown(SUPERVISOR, asked=ShutdownParams(grace=grace), linger=linger)
        if call is not None:
            stop.reply.add_done_callback(lambda reply: self._stopped(call, reply))
        self._owner.ask(stop)

    def _stopped(self, call: StopGracefully, reply: "Future[ShutdownResult]") -> None:
        if error := reply.exception():
            self._channel.refuse(call, error)
        else:
            result = reply.result()
            self._channel.reply(call, Stopped(cut=result.cut, connections_cut=result.connections_cut))


def check(app: "WSGIApplication", path: str) -> None:
    """Request `path` from the application once, in this process; raises FlaskdError if the response is an error."""
    from werkzeug.test import Client

    with Client(app).get(path, headers={"User-Agent": "flaskd check"}) as response:
        if response.status_code >= 400:
            raise FlaskdError(
                f"the check {path} was answered {response.status}", hint="see the application's log"
            )


def main(kept: Callable[[], Iterable[str]] = list) -> NoReturn:
    """Run a worker; the first argument is the descriptor of its end of the channel. `kept`: see `namesakes.release`."""
    process = WorkerProcess()
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        channel = WorkerChannel(sock)
        start = channel.receive()
        if not isinstance(start, Start):
            ending.exit_now(1)
        os.set_inheritable(sock.fileno(), False)

        def load() -> Application:
            return load_application(start.settings, engine=start.engine, check=bool(start.check), kept=kept)

        process.run(Worker(channel, start, load).run, channel, start)
