"""Signals as orders: to stop a `Server`; to stop, reload and scale a supervisor. No signal is needed for anything."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import FrameType
from typing import Any, Final

from flaskd.banner import say
from flaskd.systemd.priority import Priority
from flaskd_ctl.errors import ControlError
from flaskd_ctl.protocol import Actor

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP is what a terminal sends when it is closed: by itself it would end the process, requests and all."""


@contextlib.contextmanager
def stopping(stop: Callable[[str, bool], None]) -> Iterator[None]:
    """Call `stop(name, again)` for each of STOPPING; `again` from the second on. The old handlers come back after.

    Off the main thread none is handled.

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


def supervise(
    loop: asyncio.AbstractEventLoop,
    *,
    stop: Callable[[Actor, bool], object],
    reload: Callable[[Actor], Future[Any]],
    scale: Callable[[Actor, int], Future[Any]],
) -> None:
    """Take signals as orders on `loop`, until it is closed: SIGTERM and SIGINT stop, SIGHUP reloads, SIGTTIN and SIGTTOU scale.

    `stop` gets whether it is asked again. What cannot be done is said on stderr: there is nobody else to be answered.
    """
    had_terminal = _has_terminal()
    stops = 0

    def stopping(name: str) -> None:
        nonlocal stops
        stops += 1
        stop(Actor(via="signal", detail=name), stops > 1)

    def hung_up(name: str) -> None:
        """Reload; but a terminal that was closed, which sends the same signal, ends what runs in it."""
        if had_terminal and not _has_terminal():
            stopping(name)
        else:
            _say_outcome(name, lambda: reload(Actor(via="signal", detail=name)))

    def ignored(name: str) -> None:
        """Go on: from other servers people know it for new log files or an upgrade; by itself it would end us."""
        say(f"flaskd: {name} was ignored: it asks for nothing here")

    def scaling(name: str, count: int) -> None:
        _say_outcome(name, lambda: scale(Actor(via="signal", detail=name), count))

    handlers: dict[signal.Signals, Callable[[str], None]] = {
        signal.SIGTERM: stopping,
        signal.SIGINT: stopping,
        signal.SIGHUP: hung_up,
        signal.SIGTTIN: lambda name: scaling(name, 1),
        signal.SIGTTOU: lambda name: scaling(name, -1),
        signal.SIGUSR1: ignored,
        signal.SIGUSR2: ignored,
    }
    for number, handler in handlers.items():
        # What is ignored stays so, but for SIGTERM: so works nohup(1), and a shell keeps Ctrl-C from the background.
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, handler, number.name)


def _say_outcome(name: str, order: Callable[[], Future[Any]]) -> None:
    def tell(future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            say(f"flaskd: {name}: {error}", Priority.ERR)
        elif settings := getattr(future.result(), "needs_restart", []):
            say(
                f"flaskd: {name}: changed, but holds only after a restart of the daemon: {', '.join(settings)}"
            )

    try:
        order().add_done_callback(tell)
    except ControlError as error:
        say(f"flaskd: {name}: {error}", Priority.ERR)


def _has_terminal() -> bool:
    """Tell whether we have a controlling terminal (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
