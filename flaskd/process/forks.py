"""Keep our listeners, lock, control sockets and signal handlers out of children that the application forks.

A forked child inherits every descriptor, close-on-exec or not. If it kept a listener, clients could connect after our end, and
would hang; if it kept a lock, the instance's name would stay taken. So each child replaces these descriptors with /dev/null:
their numbers stay in use, so that no object inherited from the parent can close another file's descriptor.
Python calls us only for its own forks (os.fork, multiprocessing), not for a fork in a C library; so we also shut down listeners
and explicitly release the lock at the end.

Python's signal handlers survive a fork too. `Process.terminate()` sends SIGTERM, and a child with our handler would ignore it.
So each child gets back the handlers that were there before ours. A signal may come before that: the forking thread blocks these
signals until the child is ready for them.
"""

import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

log: Final = logging.getLogger(__name__)


class Inherited(Protocol):
    """An object whose descriptors a forked child must not keep."""

    def descriptors(self) -> Iterable[int]:
        """Return the descriptors; called in the child, before its own code."""


depth = 0
"""Number of Python's forks between the first process and this one: an object with another depth belongs to a parent."""

_guarded: "weakref.WeakSet[Inherited]" = weakref.WeakSet()
_handlers: dict[int, tuple[Any, Any]] = {}
_undo: list[Callable[[], object]] = []
_forking = threading.local()


def close_in_children(thing: Inherited) -> None:
    """Close the descriptors of `thing` in children forked from now on, while `thing` is referenced."""
    _guarded.add(thing)


def take_signal(number: int, handler: Callable[..., None]) -> Any:
    """Handle a signal in this process, but not in its forked children; returns the handler that children get.

    A child that has set a handler of its own keeps it. Call it on the main thread.
    """
    before = signal.getsignal(number)
    if before is not handler:  # otherwise taken already
        signal.signal(number, handler)
        _handlers[number] = handler, signal.SIG_DFL if before is None else before
    return _handlers[number][1]


def give_signal_back(number: int) -> None:
    """Set the handler from before `take_signal` again."""
    signal.signal(number, _handlers.pop(number)[1])


def undo_in_children(undo: Callable[[], object]) -> None:
    """Call `undo` in each child forked from now on."""
    _undo.append(undo)


def _after_fork_in_child() -> None:
    global depth
    depth += 1
    _restore_signals()
    _unblock()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for thing in list(_guarded):
            try:
                for descriptor in list(thing.descriptors()):
                    os.dup2(null, descriptor, inheritable=False)
            except Exception:  # of one: those of the others must be closed all the same
                log.exception("a child that the application forked keeps descriptors of %r", thing)
    finally:
        os.close(null)
        _guarded.clear()


def _restore_signals() -> None:
    for number, (ours, before) in _handlers.items():
        if signal.getsignal(number) is ours:
            signal.signal(number, before)
    for undo in _undo:
        undo()
    _handlers.clear()
    _undo.clear()


def _block() -> None:
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_after_fork_in_child)
