"""What a child that the application forks must not keep alive: our listeners, our lock, our control sockets.

A forked child inherits every descriptor, close-on-exec or not. A listener that lives on in it would let clients connect and
hang after we are gone; a lock would keep the instance's name taken. So in each child the descriptors are replaced, in
place, by /dev/null: their numbers stay taken, and no object inherited from the parent can close a stranger's descriptor.
Only forks that Python knows of come by here (os.fork, multiprocessing); a C library's own fork does not, which is why
listeners are also shut down and the lock explicitly released at the end.
"""

import os
import weakref
from collections.abc import Iterable
from typing import Protocol


class Inherited(Protocol):
    """Something whose descriptors a forked child must not keep."""

    def descriptors(self) -> Iterable[int]:
        """Name the descriptors; called in the child, between fork and the child's own code."""


depth = 0
"""How many forks Python knows of lie between this process and the first one: what differs from it belongs to a parent."""

_guarded: "weakref.WeakSet[Inherited]" = weakref.WeakSet()


def close_in_children(thing: Inherited) -> None:
    """Let no child forked from now on keep `thing`; the guard ends when `thing` is no longer referenced."""
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
