"""The hooks of an application: a worker calls `post_load` before it serves, and `pre_stop` before it ends.

A template calls `pre_fork` before it forks workers.
Each is called with the application, on the main thread. Another thread watches the time, because nothing else can interrupt a
function that waits: the process ends with a hook that takes too long.
"""

import contextlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from flaskd.app.importing import load_function, what_failed
from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd.errors import LoadError
from flaskd.process.ending import exit_now
from flaskd.settings.schema import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Hooks:
    """The hooks of the settings. Raises LoadError if one cannot be imported: load the application first, for sys.path."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.hook_timeout
        self._pre_fork = load_function(settings.pre_fork, "pre_fork") if settings.pre_fork else None
        self._post_load = load_function(settings.post_load, "post_load") if settings.post_load else None
        self._pre_stop = load_function(settings.pre_stop, "pre_stop") if settings.pre_stop else None

    def loaded(self, app: "WSGIApplication", *, give_up: Callable[[LoadError, str], None]) -> None:
        """Call `post_load`. Raises LoadError with the error that it raised, and prints its traceback.

        If it takes too long, another thread calls `give_up` with the stack that shows where it hangs, to end the process.
        """
        if self._post_load is not None:
            self._call("post_load", self._post_load, app, give_up)

    def forking(self, app: "WSGIApplication", *, give_up: Callable[[LoadError, str], None]) -> None:
        """Call `pre_fork`, as `loaded` calls `post_load`."""
        if self._pre_fork is not None:
            self._call("pre_fork", self._pre_fork, app, give_up)

    def stopping(self, app: "WSGIApplication") -> None:
        """Call `pre_stop`. Its error is printed; if it takes too long, the process ends."""
        if self._pre_stop is None:
            return

        def give_up(_trace: str) -> None:
            say(f"flaskd: pre_stop did not end within {self._limit:g} s (--hook-timeout)", Priority.WARNING)
            exit_now(0)

        with _time_limit(self._limit, give_up):
            try:
                self._pre_stop(app)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the application's code raises
                say(f"flaskd: pre_stop failed: {what_failed(error)}", Priority.WARNING)
                traceback.print_exception(error)

    def _call(
        self,
        name: str,
        hook: Callable[..., object],
        app: "WSGIApplication",
        give_up: Callable[[LoadError, str], None],
    ) -> None:
        over = LoadError(f"{name} did not end within {self._limit:g} s (--hook-timeout)")
        with _time_limit(self._limit, lambda trace: give_up(over, trace)):
            try:
                hook(app)
            except (Exception, SystemExit) as error:  # whatever the application's code raises
                traceback.print_exception(error)
                raise LoadError(f"{name} failed: {what_failed(error)}") from error


@contextlib.contextmanager
def _time_limit(seconds: float, on_over: Callable[[str], None]) -> Iterator[None]:
    """Call `on_over` on another thread, with the stack of this one, if the block takes longer. The stack is printed too."""
    ident = threading.get_ident()

    def over() -> None:
        frame = sys._current_frames().get(ident)
        trace = "".join(["Traceback (most recent call last):\n", *traceback.format_stack(frame)])
        sys.stderr.write(trace)
        on_over(trace)

    timer = threading.Timer(seconds, over)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it holds what it was called with, and a template must not fork beside it
