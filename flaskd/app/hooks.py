"""Functions of the application's that a worker calls once in its life: `post_load` before it serves, `pre_stop` before it ends.

Each is named as `module:function` and is called with the application, on the main thread. A thread beside it watches the time,
since nothing else reaches a function that waits: what takes too long ends with the process.
"""

import contextlib
import importlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from flaskd.app.loader import what_failed
from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd.errors import LoadError
from flaskd.process.ending import end_now
from flaskd.settings.schema import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Hooks:
    """The hooks that are set. Raises LoadError where one cannot be imported; the application's directory must be importable."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.hook_timeout
        self._post_load = _find("post_load", settings.post_load)
        self._pre_stop = _find("pre_stop", settings.pre_stop)

    def loaded(self, app: "WSGIApplication", *, give_up: Callable[[LoadError, str], None]) -> None:
        """Call `post_load`; raises LoadError with what it raised, its traceback on stderr.

        Where it takes too long, `give_up` is called on another thread, with the stack that shows where it hangs; it is to end
        the process.
        """
        if self._post_load is None:
            return
        over = LoadError(f"post_load did not end within {self._limit:g} s (--hook-timeout)")
        with _time_limit(self._limit, lambda trace: give_up(over, trace)):
            try:
                self._post_load(app)
            except (Exception, SystemExit) as error:  # whatever the application's code raises
                traceback.print_exception(error)
                raise LoadError(f"post_load failed: {what_failed(error)}") from error

    def stopping(self, app: "WSGIApplication") -> None:
        """Call `pre_stop`; what it raises is said on stderr, and where it takes too long the process ends."""
        if self._pre_stop is None:
            return

        def give_up(_trace: str) -> None:
            say(f"flaskd: pre_stop did not end within {self._limit:g} s (--hook-timeout)", Priority.WARNING)
            end_now(0)

        with _time_limit(self._limit, give_up):
            try:
                self._pre_stop(app)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the application's code raises
                say(f"flaskd: pre_stop failed: {what_failed(error)}", Priority.WARNING)
                traceback.print_exception(error)


def _find(setting: str, target: str) -> "Callable[[WSGIApplication], Any] | None":
    """Import the function that `target` names for `setting`."""
    if not target:
        return None
    where, _, what = target.partition(":")
    said = f"cannot load {setting} {target}"
    try:
        module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not (where == error.name or where.startswith(f"{error.name}.")):
            raise LoadError(f"{said}: {error}") from error
        raise LoadError(
            f"{said}: there is no module {error.name!r}", hint="name it as module:function"
        ) from None
    except (Exception, SystemExit) as error:  # whatever the application's code raises
        raise LoadError(f"{said}: {what_failed(error)}") from error
    found: Any = module
    for part in what.split("."):
        if not hasattr(found, part):
            raise LoadError(f"{said}: {where} has no function {what!r}", hint="name it as module:function")
        found = getattr(found, part)
    if not callable(found):
        raise LoadError(f"{said}: it is of type {type(found).__name__}, not a function")
    hook: Callable[[WSGIApplication], Any] = found
    return hook


@contextlib.contextmanager
def _time_limit(seconds: float, on_over: Callable[[str], None]) -> Iterator[None]:
    """Call `on_over`, on a thread beside this one, where the block takes longer.

    It gets the stack of the block's thread, which is on stderr by then.
    """
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
