"""SIGTERM and SIGINT as orders to stop. No signal is needed for anything; off the main thread no handler is installed."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stopping(stop: Callable[[str, bool], None]) -> Iterator[None]:
    """Call `stop(name, again)` for each SIGTERM and SIGINT; `again` from the second on. The old handlers come back after.

    A SIGINT that is ignored stays so: that is how a shell without job control keeps Ctrl-C from what it runs in the background.

    `stop` runs on the main thread between two bytecodes of whatever it was doing, so it may only wake the owner.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        stop(signal.Signals(number).name, seen > 1)

    taken = [
        number
        for number in STOPPING
        if not (number is signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN)
    ]
    before = {number: signal.signal(number, handle) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def waking(descriptor: int) -> Iterator[None]:
    """Write a byte to `descriptor` for each signal, so that whoever waits on its other end runs the handler at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
