"""A worker's process: the same core as a `Server`'s, with a private line to the supervisor in place of the control socket.

It is started as `python -m flaskd.worker DESCRIPTOR`. The first line that comes over the descriptor, a socket, is the call
`start`: what to load and serve, and how; the answer to it is the word that the worker serves, or why it cannot. In between it
tells that it has loaded, and accepts nothing before it is told to `serve`: until then, who stops it can just kill it. The
line's end is the supervisor's end: what has reached this worker is answered, then it ends too.
"""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from flaskd.app.extension import Instance
from flaskd.app.hooks import Hooks
from flaskd.app.loader import applications_traceback, load
from flaskd.channel.worker_end import Line
from flaskd.console import priority
from flaskd.engines.factory import make_engine
from flaskd.errors import FlaskdError
from flaskd.events import Bus
from flaskd.http.late_answers import LateAnswers
from flaskd.ledger.access_log import AccessLog
from flaskd.ledger.middleware import number_of
from flaskd.ledger.quota import set_quota
from flaskd.ledger.shared_memory import RequestTable
from flaskd.listening import tls
from flaskd.listening.listeners import Inherited
from flaskd.process import ending
from flaskd.serving import Core, engine_options
from flaskd.settings.schema import Settings
from flaskd.shutdown import owner
from flaskd.shutdown.lifecycle import Event
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.phases import Order
from flaskd.worker.orphan import OrphanAlarm
from flaskd_ctl.protocol import Actor, ProgressEvent

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LAST_MOMENT: Final = 5.0
"""Seconds that the application's own threads and atexit functions get after the worker has stopped."""

ESSENTIAL: Final = {"flaskd-line", "flaskd-accept"}
"""Threads without which a worker is none."""

SUPERVISOR: Final = Actor(via="supervisor")


class Start(msgspec.Struct, frozen=True):
    """What the supervisor tells a worker first. Descriptors are inherited under these numbers.

    `marked` wants lines of the log with their priority.
    """

    settings: Settings
    engine: str
    worker: int
    generation: int
    name: str
    listeners: list[int]
    request_table: int
    stacks: int
    log: int
    check: str = ""
    closing: bool = False
    marked: bool = False


class Worker:
    """Loads, serves, steps back: all on the main thread; the line is read on a thread of its own."""

    def __init__(self, line: Line, number: int, start: Start) -> None:
        self._line = line
        self._number = number
        self._start = start
        self._settings = start.settings
        self._bus = Bus()
        self._mailbox: Mailbox[owner.Ask | None] = Mailbox()
        self._owner: owner.Owner | None = None
        self._core: Core | None = None
        self._closing = start.closing
        self._admitted = threading.Event()
        self._late = LateAnswers(number_of) if start.settings.request_timeout_answer else None

    def run(self) -> bool:
        """Serve until told to step back; returns whether nothing was cut. Raises what keeps it from serving."""
        self._orphan = OrphanAlarm(self._settings.grace + LAST_MOMENT)
        threading.Thread(target=self._listen, name="flaskd-line", daemon=True).start()
        settings = self._settings
        app = load(settings.app)
        hooks = Hooks(settings)
        hooks.loaded(app, give_up=self._give_up)
        take_signals()  # again, where the application has taken them
        clean = self._serve(app)
        hooks.stopping(app)
        return clean

    def _serve(self, app: "WSGIApplication") -> bool:
        settings = self._settings
        with ExitStack() as stack:
            stack.enter_context(self._mailbox)
            core = self._core = self._make_core(app, stack)
            self._owner = owner.Owner(
                mailbox=self._mailbox,
                charge=core,
                bus=self._bus,
                grace=settings.grace,
                linger=settings.linger,
                pid=os.getpid(),
                process_exits=True,
            )
            if self._start.check:
                check(app, self._start.check)
            self._bus.subscribe(
                lambda event: (
                    self._line.tell(msgspec.to_builtins(event)) if isinstance(event, ProgressEvent) else None
                )
            )
            self._line.tell({"event": "loaded"})
            self._admitted.wait()
            core.serve(self._owner.changed)
            stack.callback(core.close)
            self._owner.move(Event.READY)
            core.say_close(closing=self._closing)
            self._line.answer(self._number, {"pid": os.getpid(), "versions": core.versions()})
            if settings.max_requests:  # not before: only who serves can be replaced
                set_quota(
                    core.ledger,
                    settings.max_requests,
                    jitter=settings.max_requests_jitter,
                    on_reached=lambda: self._line.tell({"event": "worn"}),
                )
            return self._owner.run().clean

    def _give_up(self, error: FlaskdError, trace: str) -> None:
        """End, and tell why this worker cannot serve."""
        self._line.refuse(self._number, error, hint=error.hint, trace=trace)
        ending.end_now(1)

    def _make_core(self, app: "WSGIApplication", stack: ExitStack) -> Core:
        start, settings = self._start, self._settings
        secured = tls.load(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        scheme = "https" if secured else "http"
        listeners = [Inherited(descriptor, scheme=scheme) for descriptor in start.listeners]
        engine = make_engine(
            start.engine, engine_options(settings, tls=secured, late=self._late, multiprocess=True)
        )
        instance = Instance(self._line, name=start.name, worker=start.worker, generation=start.generation)
        request_table = RequestTable.attach(start.request_table)
        request_table.on_next_request = lambda: self._line.tell({"event": "busy"})
        log = None
        if settings.access_log != "off":
            # Not closed here: that would wait for a line that nobody reads.
            stream = os.fdopen(start.log, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            log = stack.enter_context(AccessLog(settings.access_log, stream)).put
        return Core(
            app,
            settings,
            engine=engine,
            listeners=listeners,
            extension=instance,
            shutdown_hook=instance.shutdown,
            request_table=request_table,
            log=log,
        )

    def _listen(self) -> None:
        """Carry out what the supervisor says; its silence is an order to leave."""
        self._orphan.wake()
        while (message := self._line.read()) is not None:
            number, params = message["id"], message.get("params", {})
            match message["method"]:
                case "serve":
                    self._admitted.set()
                    self._line.answer(number, {})
                case "step_back":
                    self._step_back(number, float(params["grace"]), float(params["linger"]))
                case "say_close":
                    self._closing = bool(params["closing"])
                    if self._core is not None:
                        self._core.say_close(closing=self._closing)
                    self._line.answer(number, {})
                case "reap" if self._core is not None:
                    self._core.carry_out(Order.REAP)
                    self._line.answer(number, {})
                case "look" if self._core is not None:
                    self._core.engine.activity()  # which welcomes what was accepted
                    self._line.answer(number, {})
                case "answer_late" if self._late is not None:
                    self._late.answer(params["request"])
                    self._line.answer(number, {})
                case _:
                    self._line.answer(number, {})
        if not self._admitted.is_set():
            ending.end_now(1)  # it does not serve yet: nobody is to be waited for
        self._orphan.call_off()
        faulthandler.dump_traceback_later(self._settings.grace + LAST_MOMENT, exit=True)  # needs no GIL
        self._step_back(None, self._settings.grace, self._settings.linger)

    def _step_back(self, number: int | None, grace: float, linger: float) -> None:
        order = owner.Shutdown(SUPERVISOR, grace=grace, linger=linger)

        def answer(reply: "Future[Any]") -> None:
            if number is not None and reply.exception() is None:
                self._line.answer(number, msgspec.to_builtins(reply.result()))

        order.reply.add_done_callback(answer)
        if self._owner is not None:
            self._owner.ask(order)


def check(app: "WSGIApplication", path: str) -> None:
    """Ask the application for `path` once, in this process; raises FlaskdError where the answer is an error."""
    from werkzeug.test import Client

    with Client(app).get(path, headers={"User-Agent": "flaskd check"}) as response:
        if response.status_code >= 400:
            raise FlaskdError(
                f"the check {path} was answered {response.status}", hint="the application's log may tell why"
            )


def take_signals() -> None:
    """Pass over signals that reach every process of the instance (systemd, a container engine): the supervisor decides."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Not SIG_IGN, which what the application starts would inherit (execve(2)).
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending.ORDERS)  # the supervisor holds them, which is inherited


def end_with_thread(failed: threading.ExceptHookArgs) -> None:
    """Let a worker that cannot accept or hear any more end, and be replaced, rather than seem to serve."""
    threading.__excepthook__(failed)
    if failed.thread is not None and failed.thread.name in ESSENTIAL:
        ending.end_now(1)


def main() -> NoReturn:
    """Be a worker; the one argument is the number of the descriptor of the line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what is written comes out at once
    take_signals()
    threading.excepthook = end_with_thread
    unclean = False
    ending.skip_finalizing(lambda: unclean)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        line = Line(sock)
        message = line.read()
        if message is None:
            ending.end_now(1)
        number = message["id"]
        line.started_by(number)
        start = msgspec.convert(message["params"], Start)
        if start.marked:
            priority.mark_lines()
        for descriptor in (sock.fileno(), start.stacks, start.log, *start.listeners):
            os.set_inheritable(
                descriptor, False
            )  # they came through an exec; what the application starts goes without
        faulthandler.register(ending.STACKS_SIGNAL, file=start.stacks, all_threads=True)
        try:
            unclean = not Worker(line, number, start).run()
        except BaseException as error:  # noqa: BLE001 - the process's outer edge: the supervisor is told, and tells
            hint = error.hint if isinstance(error, FlaskdError) else ""
            line.refuse(number, error, hint=hint, trace=applications_traceback(error))
            if not isinstance(error, FlaskdError):
                traceback.print_exception(
                    error
                )  # also where it had served: then nobody waits for that answer
            ending.end_now(1)
        ending.end_within(LAST_MOMENT)
        sys.exit(0)
