"""A `Server` from the moment it holds everything it needs."""

import contextlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from flaskd import in_process
from flaskd.control.server import control_thread
from flaskd.engines.choice import choose
from flaskd.engines.factory import make_engine
from flaskd.events import Bus
from flaskd.instance import Instance, Operated, stop_times
from flaskd.ledger.access_log import AccessLog
from flaskd.listening import tls
from flaskd.operable import workers_of
from flaskd.process import signals
from flaskd.serving import Core, engine_options
from flaskd.shutdown.lifecycle import Event
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.owner import Ask, Owner
from flaskd.tasks import Ordered, Reply, Task
from flaskd_ctl.errors import WrongState
from flaskd_ctl.protocol import Actor, RequestsResult, ShutdownParams, ShutdownResult, StatusResult

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
        extension: object,
        shutdown_hook: Callable[[], None],
    ) -> None:
        """Acquire what `instance` holds and what serves `app`, until `stack` is closed; `serve` begins to serve."""
        settings = instance.settings
        secured = tls.load(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        mailbox: Mailbox[Ask | None] = stack.enter_context(Mailbox())
        stack.enter_context(instance)
        log = None
        if settings.access_log != "off":
            log = stack.enter_context(AccessLog(settings.access_log, sys.stdout)).put
        choice = choose(settings.engine, embedded=True)
        self._mailbox = mailbox
        self._engine = choice
        self._core = Core(
            app,
            settings,
            engine=make_engine(choice.name, engine_options(settings, tls=secured)),
            listeners=instance.listeners,
            extension=extension,
            shutdown_hook=shutdown_hook,
            log=log,
        )
        self._versions = self._core.versions()
        owned = Owner(
            self._core,
            mailbox=mailbox,
            bus=bus,
            times=stop_times(settings),
            process_exits=instance.process_exits,
        )
        super().__init__(instance, owned, bus)

    def serve(self, stack: contextlib.ExitStack) -> None:
        """Answer requests and commands from now on, until `stack` is closed.

        Raises what keeps it from that; what has reached it by then is answered first.
        """
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
        )

    def requests(self) -> RequestsResult:
        """See `Operable.requests`; from any thread."""
        if not self.counts_requests():
            raise WrongState(
                "the ledger of requests is off (--no-ledger)", hint="`flaskd_ctl status` counts them"
            )
        return RequestsResult(requests=self._core.requests())

    def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
        """See `Operable.order_task`; from any thread."""
        if worker is not None:
            workers_of(self, "has no workers")
        reply: Future[Reply] = Future()
        reply.set_running_or_notify_cancel()
        in_process.start(self._core, task, reply)
        return [Ordered(0, os.getpid(), reply)]

    def counts_requests(self) -> bool:
        """See `Operated.counts_requests`."""
        return self.instance.settings.ledger
