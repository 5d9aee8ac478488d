"""A `Server` from the moment it holds everything it needs."""

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from flaskd import in_process
from flaskd.app.extension import Extension
from flaskd.control.server import control_thread
from flaskd.embedded.tuning import ServerTuning
from flaskd.engines.choice import choose
from flaskd.engines.factory import make_engine
from flaskd.events import Bus
from flaskd.instance import Instance, Operated, stop_times
from flaskd.ledger.access_log import AccessLog
from flaskd.ledger.middleware import current_request_id
from flaskd.ledger.records import Records
from flaskd.listening import tls
from flaskd.logs.ring import Ring
from flaskd.logs.tap import tapped
from flaskd.metrics import openmetrics
from flaskd.metrics.memory import MetricsMemory
from flaskd.metrics.openmetrics import Exposed, State
from flaskd.metrics.overload_watch import Counts, OverloadWatch
from flaskd.metrics.recorder import Recorder
from flaskd.metrics.report import Process, Served, stats_result
from flaskd.metrics.summary import Summary
from flaskd.metrics.totals import Totals
from flaskd.operable import workers_of
from flaskd.process import signals
from flaskd.process.resident import resident
from flaskd.release import code
from flaskd.serving import Core, engine_options
from flaskd.settings.sources import ReadSettings
from flaskd.shutdown.lifecycle import Event, State as States
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.owner import Ask, Owner
from flaskd.tasks import Choice, Note, Ordered, Reply, StacksTaken, Task
from flaskd.tuning.tuner import Tuner
from flaskd_ctl.errors import WrongState
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

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Running(Operated):
    """An instance that serves in this process (see `operable.Operable`)."""

    fleet = None

    def __init__(
        self,
        app: "WSGIApplication",
        instance: Instance,
        stack: contextlib.ExitStack,
        *,
        bus: Bus,
        places: Mapping[str, str],
        extension: Extension,
        shutdown_hook: Callable[[], None],
    ) -> None:
        """Acquire what `instance` holds and what serves `app`, until `stack` is closed; `serve` begins to serve.

        `places` says where settings come from.
        """
        settings = instance.settings
        secured = tls.load(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        mailbox: Mailbox[Ask | None] = stack.enter_context(Mailbox())
        stack.enter_context(instance)
        self.log_ring = Ring()
        stack.enter_context(tapped(self.log_ring, current_request_id))
        log = None
        if settings.access_log != "off":
            log = stack.enter_context(AccessLog(settings.access_log, sys.stdout)).put
        choice = choose(settings.engine, embedded=True)
        self._metrics = MetricsMemory.private()
        self._totals = Totals()
        self._summing = threading.Lock()  # protects _totals
        recorder = Recorder(self._metrics)
        self._overload = OverloadWatch(bus, counts=self._counts, later=_later)
        recorder.on_reject = self._overload.rejected
        stack.callback(self._overload.stop)
        self._mailbox = mailbox
        self._engine = choice
        self._core = Core(
            app,
            settings,
            engine=make_engine(choice.name, engine_options(settings, tls=secured, recorder=recorder)),
            listeners=instance.listeners,
            extension=extension,
            shutdown_hook=shutdown_hook,
            recorder=recorder,
            log=log,
        )
        self._versions = self._core.versions()
        self._core.code, self._core.packages = code.of_application(app), code.packages()
        owned = Owner(
            self._core,
            mailbox=mailbox,
            bus=bus,
            times=stop_times(settings),
            process_exits=instance.process_exits,
        )
        super().__init__(instance, owned, bus)
        tunes = ServerTuning(instance, owned, engine=choice.name, order_task=self.order_task)
        self.tuning = Tuner(ReadSettings(settings, places), tunes, own_levels=False)

    def serve(self, stack: contextlib.ExitStack) -> None:
        """Answer requests and commands from now on, until `stack` is closed.

        Raises what keeps it from that; what has reached it by then is answered first.
        """
        stack.callback(self.tuning.close)
        self._core.serve(self.owner.changed)
        stack.callback(self._core.close)
        try:
            if (server := self.instance.control(self)) is not None:
                stack.enter_context(control_thread(server))
            self.instance.publish()
        except Exception:
            self.order_shutdown(Actor(via="code", detail="a failed start"), ShutdownParams())
            self.owner.run()
            raise
        self.owner.move(Event.READY)  # the last: whoever is told can use all of it

    def run(self) -> ShutdownResult:
        """Be the owner until the instance has stopped."""
        with signals.wakeup_fd(self._mailbox.wake_descriptor()):
            result = self.owner.run()
        self.instance.ended(self.owner, result)
        return result

    def status(self) -> StatusResult:
        """See `Operable.status`; from any thread."""
        ledger, activity = self._core.ledger, self._core.engine.activity()
        return self.instance.status(
            self.owner,
            in_flight=max(ledger.table.in_flight, activity.busy),
            connections=activity.connections,
            served=ledger.table.served(),
            engine=self._engine.name,
            engine_why=self._engine.why,
            versions=self._versions,
            last_error=ledger.table.last_error,
            queued=self._metrics.waiting() + sum(each.waiting() for each in self.instance.listeners),
            rejected=self._counts().rejected,
            saturated=self._overload.saturated,
        )

    def requests(self) -> RequestsResult:
        """See `Operable.requests`; from any thread."""
        self.check_ledger("`flaskd_ctl status` counts them")
        return RequestsResult(requests=self._core.requests())

    def errors(self, ident: str | None) -> ErrorsResult:
        """See `Operable.errors`; from any thread."""
        self.check_ledger("see the application's log")
        return Records().errors({0: self._core.ledger.errors}, ident)

    def slow(self, limit: int) -> SlowResult:
        """See `Operable.slow`; from any thread."""
        self.check_ledger("see the access log")
        return Records().slow({0: self._core.ledger.slow}, limit)

    def stats(self, asked: StatsParams) -> StatsResult:
        """See `Operable.stats`; from any thread."""
        self.check_ledger()
        if asked.worker is not None:
            workers_of(self, "has no workers")
        served, memories = self._served(), {0: self._metrics}
        with self._summing:
            summary = Summary.of(self._totals, memories)
        return stats_result(summary, asked, served, memories)

    def endpoint_stats(self) -> list[EndpointStats]:
        """See `Operable.endpoint_stats`; from any thread."""
        self.check_ledger()
        with self._summing:
            summary = Summary.of(self._totals, {0: self._metrics})
        return summary.endpoints(summary.count())

    def metrics(self, accept: str) -> "Callable[[], tuple[str, bytes]]":
        """See `Operable.metrics`; from any thread."""
        self.check_ledger()
        lifecycle = self.owner.lifecycle
        state = State(
            name=self.instance.name,
            state=lifecycle.state.value,
            states=[each.value for each in States],
            ready=lifecycle.ready,
            saturated=self._overload.saturated,
            wanted=0,
            workers={},
            versions={
                "version": self._versions["flaskd"],
                "python": self._versions["python"],
                "app": self.instance.app,
            },
        )
        with self._summing:
            sums = self._totals.sums({0: self._metrics})
        queues = [(each.url, each.waiting()) for each in self.instance.listeners]
        return functools.partial(openmetrics.write, Exposed(sums, self._served(), state, queues), accept)

    def _counts(self) -> Counts:
        return Counts(self._metrics.rejected(), self._core.ledger.table.finished())

    def _served(self) -> Served:
        process = Process(
            worker=0,
            pid=os.getpid(),
            state=self.owner.lifecycle.state.value,
            age=round(time.time() - self.instance.started, 3),
            in_flight=self._core.ledger.table.in_flight,
            cpu=round(time.process_time(), 3),
            rss=resident(os.getpid()),
            pss=None,
        )
        return Served(
            since=self.instance.started,
            threads=self.instance.settings.threads,
            listeners=self.instance.listeners,
            processes={0: process},
        )

    def order_reopen_logs(self) -> "Future[list[str]]":
        """See `Operable.order_reopen_logs`."""
        raise WrongState(
            f"{self.instance.name} serves in one process, which writes no log file",
            hint="the program that runs it configures `logging`",
        )

    def order_task(
        self,
        task: Task,
        worker: int | Choice | None,
        on_note: Callable[[int, Note], None] | None = None,
    ) -> list[Ordered]:
        """See `Operable.order_task`; from any thread."""
        if isinstance(worker, int):
            workers_of(self, "has no workers")
        reply: Future[Reply] = Future()
        reply.set_running_or_notify_cancel()
        in_process.start(self._core, task, reply, None if on_note is None else functools.partial(on_note, 0))
        return [Ordered(0, os.getpid(), reply)]

    def code_on_disk(self) -> code.Code:
        """See `Operable.code_on_disk`."""
        return code.again(self._core.code)

    def order_stack_dump(self, worker: int) -> "Future[StacksTaken]":
        """See `Operable.order_stack_dump`: nobody else is there who could read it."""
        raise WrongState("its own process cannot describe its threads now", hint="try again")

    def counts_requests(self) -> bool:
        """See `Operated.counts_requests`."""
        return self.instance.settings.ledger


def _later(seconds: float, look: Callable[[], None]) -> Callable[[], None]:
    """Call `look` on a thread of its own after some seconds, unless the result is called before."""
    timer = threading.Timer(seconds, look)
    timer.daemon = True
    timer.start()
    return timer.cancel
