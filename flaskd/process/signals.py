"""Signals as orders: to stop a `Server`; to stop, reload and scale a supervisor. No signal is needed for anything.

A handler of Python's is not told who sent the signal. A supervisor wants to know, for its audit: it blocks its signals and
has a thread wait for them (sigwaitinfo(2)). A process inherits what is blocked: a worker lets them through again
(`worker.take_signals`).
"""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from types import FrameType
from typing import Any, Final, Protocol

from flaskd.console.say import say
from flaskd.process import forks
from flaskd.process.ending import SUPERVISOR_SIGNALS
from flaskd_ctl.errors import ControlError
from flaskd_ctl.protocol import Actor

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP is what a terminal sends when it is closed: by itself it would end the process, requests and all."""


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[str, bool], None]) -> Iterator[None]:
    """Call `stop(name, again)` for each of STOPPING; `again` from the second on. The old handlers come back after.

    Off the main thread none is handled.

    What is ignored stays so, but for SIGTERM: that is how a shell without job control keeps Ctrl-C from what it runs in the
    background, and how nohup(1) works.

    `stop` runs on the main thread between two bytecodes of whatever it was doing, so it may only wake the owner.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen, depth = 0, forks.depth

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        stop(signal.Signals(number).name, seen > 1)

    taken = [
        number
        for number in STOPPING
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
    ]
    for number in taken:
        forks.take_signal(number, handle)
    try:
        yield
    finally:
        if forks.depth == depth:  # a forked child that leaves the block has its handlers already
            for number in taken:
                forks.give_signal_back(number)


@contextlib.contextmanager
def wakeup_fd(descriptor: int) -> Iterator[None]:
    """Write a byte to `descriptor` for each signal, so that whoever waits on its other end runs the handler at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    depth = forks.depth
    before = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    forks.undo_in_children(lambda: _end_wakeup(descriptor))
    try:
        yield
    finally:
        if forks.depth == depth:
            signal.set_wakeup_fd(before)


def _end_wakeup(descriptor: int) -> None:
    """Stop waking the parent, whose descriptor a forked child shares."""
    if (now := signal.set_wakeup_fd(-1)) not in {-1, descriptor}:
        signal.set_wakeup_fd(now)


SENT: Final = {0, -1, -6}
"""SI_USER, SI_QUEUE and SI_TKILL (sigaction(2)): a process sent it. Others, as Ctrl-C, are the kernel's own."""


DUPLICATE_WINDOW: Final = 0.5
"""Seconds in which a process sends a signal only once, whatever comes of it."""


def block() -> None:
    """Block the signals of a supervisor, here and in every thread that is started later, until `handle_signals` takes them."""
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _handled())


def _handled() -> set[signal.Signals]:
    """Return what is to be taken. What is ignored stays so, but for SIGTERM: so work nohup(1) and a shell's background."""
    return {
        number
        for number in SUPERVISOR_SIGNALS
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
    }


class Orders(Protocol):
    """What signals order (see `operable.Orders`)."""

    def stop(self, by: Actor, *, again: bool) -> None:
        """Stop; `again` says that a signal has asked before."""

    def reload(self, by: Actor) -> Future[Any]:
        """Replace every worker."""

    def scale(self, by: Actor, count: int) -> Future[Any]:
        """Run `count` more workers, or fewer."""


def handle_signals(loop: asyncio.AbstractEventLoop, orders: Orders) -> None:
    """Take signals as orders on `loop`, until it is closed: SIGTERM and SIGINT stop, SIGHUP reloads, SIGTTIN and SIGTTOU scale.

    `Duplicates` do not count. Where signals are held (`block`), the orders say who sent them.
    """
    had_terminal = _has_terminal()
    stops = 0
    echoes = Duplicates()

    def stopping(by: Actor) -> None:
        nonlocal stops
        if not echoes.is_duplicate(by, loop.time()):
            stops += 1
            orders.stop(by, again=stops > 1)

    def hung_up(by: Actor) -> None:
        """Reload; but a terminal that was closed, which sends the same signal, ends what runs in it."""
        if had_terminal and not _has_terminal():
            stopping(by)
        else:
            _say_outcome(by, lambda: orders.reload(by))

    def ignored(by: Actor) -> None:
        """Go on: from other servers people know it for new log files or an upgrade; by itself it would end us."""
        say(f"flaskd: {by.detail} was ignored: it asks for nothing here")

    def scaling(by: Actor, count: int) -> None:
        _say_outcome(by, lambda: orders.scale(by, count))

    handlers: dict[signal.Signals, Callable[[Actor], None]] = {
        signal.SIGTERM: stopping,
        signal.SIGINT: stopping,
        signal.SIGHUP: hung_up,
        signal.SIGTTIN: lambda by: scaling(by, 1),
        signal.SIGTTOU: lambda by: scaling(by, -1),
        signal.SIGUSR1: ignored,
        signal.SIGUSR2: ignored,
    }
    numbers = _handled()
    if numbers <= signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        take = _SignalThread(loop, numbers, handlers)
        threading.Thread(target=take.run, name="flaskd-signals", daemon=True).start()
        return
    for number in numbers:  # not held: from whom they come stays unknown
        loop.add_signal_handler(number, handlers[number], Actor(via="signal", detail=number.name))


class Duplicates:
    """Knows which orders to stop are the one before once more: the same signal of the same process, within DUPLICATE_WINDOW.

    timeout(1) and others signal their child, and then the process group that it is in. That is no hurry: taken for it, it
    would cut what is in flight.
    """

    def __init__(self) -> None:
        self._by: Actor | None = None
        self._at = 0.0

    def is_duplicate(self, by: Actor, now: float) -> bool:
        """Tell it of an order `by` somebody, at `now` (seconds of any clock); of the kernel's own, as Ctrl-C, each counts."""
        echo = by.pid is not None and by == self._by and now < self._at + DUPLICATE_WINDOW
        if not echo:
            self._by, self._at = by, now
        return echo


class _SignalThread:
    """Waits for signals on a thread, and has each handled on `loop`, until that is closed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        orders: set[signal.Signals],
        handlers: Mapping[signal.Signals, Callable[[Actor], None]],
    ) -> None:
        self._loop = loop
        self._orders = orders
        self._handlers = handlers

    def run(self) -> None:
        while True:
            info = signal.sigwaitinfo(self._orders)
            number = signal.Signals(info.si_signo)
            by = Actor(via="signal", detail=number.name)
            if info.si_code in SENT:  # pid 0: a process outside our namespace
                by = Actor(via="signal", detail=number.name, uid=info.si_uid, pid=info.si_pid or None)
            try:
                self._loop.call_soon_threadsafe(self._handlers[number], by)
            except RuntimeError:  # it is closed
                return


def _say_outcome(by: Actor, order: Callable[[], Future[Any]]) -> None:
    """Say what has to be known beside the outcome, which the audit says."""

    def tell(future: Future[Any]) -> None:
        if future.exception() is None and (settings := getattr(future.result(), "needs_restart", [])):
            waiting = ", ".join(settings)
            say(f"flaskd: {by.detail}: changed, but holds only after a restart of the daemon: {waiting}")

    with contextlib.suppress(ControlError):  # refused, as the audit says
        order().add_done_callback(tell)


def _has_terminal() -> bool:
    """Tell whether we have a controlling terminal (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
