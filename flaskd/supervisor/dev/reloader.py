"""`flaskd dev`: reloads when code has changed. It is a reload like any other, except that a newer change overtakes it."""

import asyncio
import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Final, TypeVar

from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd.events import Bus
from flaskd.release.code import on_disk
from flaskd.settings import flask_environment
from flaskd.settings.schema import Settings
from flaskd.supervisor.changes import Changes
from flaskd.supervisor.dev.files import SETTINGS, Watched
from flaskd.supervisor.dev.watcher import Watcher
from flaskd.supervisor.fleet import Fleet
from flaskd.tasks import FilesListed, ListFiles, Ordered, Reply, Task
from flaskd_ctl.errors import ControlError
from flaskd_ctl.protocol import Event, ReloadResult, WorkerEvent

SHOWN: Final = 3
"""Names of changed files that are shown."""

T = TypeVar("T")

Order = Callable[[Task, int], list[Ordered]]
"""Has a worker carry out a task."""


class Reloader:
    """Watches what `settings` name and what workers have loaded, from `start` to `stop`, on the running loop.

    `directory` is where workers load the application. `order` has a worker carry out a task.
    """

    def __init__(
        self, settings: Settings, *, fleet: Fleet, changes: Changes, bus: Bus, directory: str, order: Order
    ) -> None:
        self._fleet = fleet
        self._changes = changes
        self._order = order
        self._directory = os.path.realpath(directory)
        self._loop = asyncio.get_running_loop()
        self._newest = 0
        self._watched = self._named(settings)
        self._watcher = Watcher(self._watched, self._on_loop(self._changed))
        bus.subscribe(self._follow)

    def start(self) -> None:
        """Begin to watch."""
        self._watcher.start()

    def stop(self) -> None:
        """End."""
        self._watcher.stop()

    def _named(self, settings: Settings) -> Watched:
        """Return what is watched whatever a worker loads."""
        roots = {self._directory: None, on_disk(settings.app, self._directory).directory: None}
        names = [*(os.path.join(self._directory, name) for name in SETTINGS), *flask_environment.files()]
        return Watched(
            roots=tuple(filter(None, roots)),
            files=frozenset(map(os.path.realpath, names)),
            globs=settings.watch,
        )

    def _follow(self, event: Event) -> None:
        """Ask a worker that serves what it has loaded."""
        if isinstance(event, WorkerEvent) and event.state == "serving":
            for ordered in self._order(ListFiles(), event.worker):
                ordered.reply.add_done_callback(self._on_loop(self._listed))

    def _listed(self, reply: "Future[Reply]") -> None:
        if reply.cancelled() or reply.exception() is not None:
            return  # it has ended
        if isinstance(found := reply.result(), FilesListed):
            named = self._named(self._fleet.settings)
            files = named.files.union(found.modules)
            self._watcher.use(Watched(named.roots, files, tuple(found.templates), named.globs))

    def _changed(self, paths: list[str]) -> None:
        """Load the code anew, instead of what is being loaded."""
        if self._fleet.held:
            return  # it stops
        self._newest += 1
        say(f"flaskd: {self._names(paths)} changed: loading")
        try:
            reply = self._changes.order_newest_reload()
        except ControlError as error:
            say(f"flaskd: not reloaded: {error}", Priority.WARNING)
            return
        # Once what was being loaded has been ended: it may have written some.
        self._loop.call_soon(_remove_bytecode, paths)
        if reply is not None:
            reply.add_done_callback(self._on_loop(functools.partial(self._reloaded, self._newest)))

    def _reloaded(self, number: int, reply: "Future[ReloadResult]") -> None:
        if number != self._newest or self._fleet.held:
            return  # a newer change is told of; or it stops
        error = reply.exception()
        if error is None:
            say(f"flaskd: reloaded in {reply.result().took:.2f} s")
            return
        trace = str(error.data.get("traceback", "")) if isinstance(error, ControlError) else ""
        for line in trace.splitlines():
            say(line, Priority.ERR)
        hint = "" if trace else getattr(error, "hint", "")
        say(f"flaskd: not reloaded: {error}" + (f". Next: {hint}" if hint else ""), Priority.ERR)

    def _names(self, paths: list[str]) -> str:
        names = [
            os.path.relpath(path, self._directory) if path.startswith(self._directory + os.sep) else path
            for path in paths
        ]
        more = len(names) - SHOWN
        return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")

    def _on_loop(self, call: Callable[[T], None]) -> Callable[[T], None]:
        """Return a function for any thread that has `call` called on the loop, until that is closed."""

        def called(value: T) -> None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call, value)

        return called


def _remove_bytecode(paths: Iterable[str]) -> None:
    """Remove the cached bytecode of source files that have changed.

    Python takes it for current if the file has the same size and was changed in the same second (PEP 552): a new worker would
    load what was saved just before.
    """
    for path in paths:
        if path.endswith(".py"):
            with contextlib.suppress(OSError, NotImplementedError):
                os.unlink(importlib.util.cache_from_source(path))
