"""SIGTERM, SIGINT and SIGHUP as orders to stop. No signal is needed for anything; off the main thread none is handled."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP is what a terminal sends when it is closed: by itself it would end the process, requests and all."""


@contextlib.contextmanager
def stopping(stop: Callable[[str, bool], None]) -> Iterator[None]:
    """Call `stop(name, again)` for each of STOPPING; `again` from the second on. The old handlers come back after.

    What is ignored stays so, but for SIGTERM: that is how a shell without job control keeps Ctrl-C from what it runs in the
    background, and how nohup(1) works.

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
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
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
