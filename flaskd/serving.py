"""The core that serves in one process, a worker's or a `Server`'s: engine, ledger, application and listeners.

It is what the owner stops (see `shutdown.stoppable`).
"""

import functools
import importlib.metadata
import platform
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from flaskd.app.body_limit import BodyLimit
from flaskd.app.extension import (
    Extension,
    announce_stopping,
    behind_proxies,
    install_extension,
    warn_of_websockets,
    watch_flask,
    with_shutdown_hook,
)
from flaskd.engines.protocol import Engine, LiveOptions, Options
from flaskd.engines.shared.load_share import LoadShare
from flaskd.guard import log_failure
from flaskd.http.queue_limit import QueueLimit
from flaskd.ledger.access_log import Line
from flaskd.ledger.errors import ErrorTable
from flaskd.ledger.middleware import Ledger
from flaskd.ledger.shared_memory import RequestTable
from flaskd.ledger.slowest import SlowTable
from flaskd.listening.listeners import Listener, block_all, close_all
from flaskd.metrics.recorder import Recorder
from flaskd.process.capacity import capacity
from flaskd.release.code import Code
from flaskd.settings.schema import Settings, size
from flaskd.settings.workers import bounds, uses_auto
from flaskd.shutdown.phases import Action, Phase, Snapshot, Stop
from flaskd.shutdown.stoppable import Losses
from flaskd.version import __version__
from flaskd_ctl.protocol import InFlight

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from flaskd.http.late_answers import LateAnswers
    from flaskd.listening.tls import Tls

MOST_AT_CLOSE: Final = 16
"""Callbacks that are kept for the end, the newest."""

VERSIONS_OF: Final = ("flask", "werkzeug")


def engine_options(
    settings: Settings,
    *,
    tls: "Tls | None",
    recorder: Recorder,
    late: "LateAnswers | None" = None,
    multiprocess: bool = False,
    load_share: LoadShare | None = None,
) -> Options:
    """Return what `settings` mean for the engine of one process."""
    cpus = (
        capacity().cpus if uses_auto(settings.workers) else 0
    )  # it takes long, and half a MiB of a forked worker
    return Options(
        threads=settings.threads,
        backlog=settings.backlog,
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        write_timeout=settings.write_timeout,
        max_head=settings.max_request_header_size,
        max_body=settings.max_request_body_size,
        spool=size(settings.max_spool_size) // bounds(settings.workers, cpus).maximum,
        tls=tls,
        late=late,
        multiprocess=multiprocess,
        waiting=recorder.waiting,
        max_queue_time=settings.max_queue_time,
        load_share=load_share,
    )


@functools.cache
def library_versions() -> dict[str, str]:
    """Return the versions of Python, flaskd, Flask and Werkzeug; looked up once, since that reads their metadata."""
    packages = {name: importlib.metadata.version(name) for name in VERSIONS_OF}
    return {"python": platform.python_version(), "flaskd": __version__, **packages}


def live_options(settings: Settings) -> LiveOptions:
    """Return those of `engine_options` that may change while the engine serves."""
    return LiveOptions(
        threads=settings.threads,
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        write_timeout=settings.write_timeout,
        max_head=settings.max_request_header_size,
        max_queue_time=settings.max_queue_time,
    )


class Core:
    """Serves `app` with `engine` on `listeners`, from `serve` to `close`. `extension` becomes `app.extensions["flaskd"]`.

    `wrap` puts middleware around the application. `worker` is the worker's id, 0 in a `Server`. `on_settings` is called with
    settings that `use_settings` brings. `base` are
    the settings without what an operator has set, `tuned` is the serial number of that (see `tasks.Tune`). `code` and
    `packages` are what the application was loaded from.
    """

    report_time = 0.0

    def __init__(
        self,
        app: "WSGIApplication",
        settings: Settings,
        *,
        engine: Engine,
        listeners: Sequence[Listener],
        extension: Extension,
        shutdown_hook: Callable[[], None],
        recorder: Recorder,
        request_table: RequestTable | None = None,
        errors: ErrorTable | None = None,
        slow: SlowTable | None = None,
        log: Callable[[Line], None] | None = None,
        wrap: "Callable[[WSGIApplication], WSGIApplication] | None" = None,
        worker: int = 0,
        base: Settings | None = None,
        tuned: int = 0,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.base = base or settings
        self.tuned = tuned
        self.worker = worker
        self.code = Code()
        self.packages: dict[str, str] = {}
        self.on_settings: Callable[[Settings], None] = lambda settings: None
        self.notifies = engine.reports_changes
        self.app = app
        self._listeners = listeners
        self._extension = extension
        self._unwatch: Callable[[], None] = lambda: None
        self._at_close: deque[Callable[[], None]] = deque(maxlen=MOST_AT_CLOSE)
        self._losses = Losses([], 0, 0)
        inner = app if wrap is None else wrap(app)
        if settings.werkzeug_shutdown_hook:
            inner = with_shutdown_hook(inner, shutdown_hook)
        if settings.max_request_body_size:
            inner = BodyLimit(inner, settings.max_request_body_size)
        self._recorder = recorder
        self.ledger = Ledger(
            inner,
            lambda: None,
            table=request_table,
            errors=errors,
            slow=slow,
            log=log,
            count=recorder.record,
            count_rejected=recorder.reject,
            behind_proxies=bool(settings.trusted_proxies),
        )
        self._limit_queue_time(settings)
        self.outermost = self.ledger if settings.ledger else inner
        if settings.trusted_proxies:  # outermost, so that the ledger shows the real client
            self.outermost = behind_proxies(self.outermost, settings.trusted_proxies)

    def serve(self, on_change: Callable[[], None]) -> None:
        """Begin to accept; returns when requests are answered. `on_change` is called from any thread."""
        self.ledger.on_end = on_change
        install_extension(self.app, self._extension)
        warn_of_websockets(self.engine.name)
        if self.settings.ledger:
            self._unwatch = watch_flask(self.ledger)
            self._recorder.watch_queues([each.waiting for each in self._listeners])
        sockets = [listener.socket for listener in self._listeners]
        self.engine.serve(self.outermost, sockets, on_change=on_change)

    def use_settings(self, settings: Settings) -> None:
        """Use other values of the settings that can change while it serves; from any thread, one at a time."""
        self.settings = settings
        self.engine.change_options(live_options(settings))
        self._limit_queue_time(settings)
        self.on_settings(settings)

    def _limit_queue_time(self, settings: Settings) -> None:
        seconds, behind_proxies = settings.max_queue_time, bool(settings.trusted_proxies)
        self.ledger.queue_limit = QueueLimit(seconds, behind_proxies=behind_proxies) if seconds else None

    def call_at_close(self, step: Callable[[], None]) -> None:
        """Call `step` first when the server closes; from any thread."""
        self._at_close.append(step)

    def close(self) -> None:
        """Stop the engine, after the stop or in its place."""
        for step in (*self._at_close, self.engine.stop_accepting, self.engine.stop, self._unwatch):
            with log_failure("close the engine"):
                step()

    def versions(self) -> dict[str, str]:
        """Return the versions of Python, flaskd, Flask, Werkzeug and the engine."""
        return {**library_versions(), self.engine.name: self.engine.version}

    def snapshot(self, stop: Stop) -> Snapshot:
        """See `Stoppable.snapshot`."""
        emptying = stop.phase is Phase.EMPTYING
        half_open = emptying and any(listener.half_open() for listener in self._listeners)
        lame = stop.phase is Phase.LAME_DUCK
        queued = (emptying or lame) and any(listener.queued() for listener in self._listeners)
        activity = self.engine.activity()
        return Snapshot(
            now=time.monotonic(),
            in_flight=max(self.ledger.table.in_flight, activity.busy),
            connections=activity.connections,
            half_open=half_open,
            queued=queued,
            flushed=not activity.connections,
            begun=self.finished() + self.ledger.table.in_flight if lame else 0,
        )

    def carry_out(self, action: Action, stop: Stop | None = None) -> None:
        """See `Stoppable.carry_out`."""
        match action:
            case Action.TURN_AWAY:
                self.announce_stopping()
                block_all(self._listeners)
            case Action.CLOSE_IDLE:
                self.engine.close_idle(self.settings.linger)
            case Action.STOP_ACCEPTING:
                self.engine.stop_accepting()
            case Action.CLOSE_LISTENERS:
                self._losses = self._losses._replace(queued_cut=close_all(self._listeners))
            case Action.FLUSH:
                self.engine.stop()
            case Action.CUT:
                cut = self.ledger.table.requests()
                self._losses = self._losses._replace(cut=cut, connections_cut=self.engine.abort())

    def announce_stopping(self) -> None:
        """Tell the application that this process begins to stop; from any thread, harmless twice."""
        announce_stopping(self.app, self._extension)

    def announce_close(self, *, closing: bool) -> None:
        """See `Stoppable.announce_close`."""
        self.engine.set_keepalive(enabled=not closing)

    @property
    def counts_requests(self) -> bool:
        """Whether the ledger knows the requests in flight."""
        return self.settings.ledger

    def endpoints(self) -> set[str]:
        """Return the names of the application's endpoints; none where it is not Flask's."""
        views = getattr(self.app, "view_functions", None)
        return set(views) if isinstance(views, dict) else set()

    def requests(self) -> list[InFlight]:
        """See `Stoppable.requests`."""
        return self.ledger.table.requests()

    def finished(self) -> int:
        """See `Stoppable.finished`."""
        return self.ledger.table.finished()

    def losses(self) -> Losses:
        """See `Stoppable.losses`."""
        return self._losses
