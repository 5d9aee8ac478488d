"""Close our listeners, lock and control sockets in children that the application forks.

A forked child inherits every descriptor, close-on-exec or not. If it kept a listener, clients could connect after our end, and
would hang; if it kept a lock, the instance's name would stay taken. So each child replaces these descriptors with /dev/null:
their numbers stay in use, so that no object inherited from the parent can close another file's descriptor.
Python calls us only for its own forks (os.fork, multiprocessing), not for a fork in a C library; so we also shut down listeners
and explicitly release the lock at the end.
"""

import os
import weakref
from collections.abc import Iterable
from typing import Protocol


class Inherited(Protocol):
    """An object whose descriptors a forked child must not keep."""

    def descriptors(self) -> Iterable[int]:
        """Return the descriptors; called in the child, before its own code."""


depth = 0
"""Number of Python's forks between the first process and this one: an object with another depth belongs to a parent."""

_guarded: "weakref.WeakSet[Inherited]" = weakref.WeakSet()


def close_in_children(thing: Inherited) -> None:
    """Close the descriptors of `thing` in children forked from now on, while `thing` is referenced."""
    _guarded.add(thing)


def _after_fork_in_child() -> None:
    global depth
    depth += 1
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for thing in list(_guarded):
            for descriptor in list(thing.descriptors()):
                os.dup2(null, descriptor, inheritable=False)
    finally:
        os.close(null)
        _guarded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
