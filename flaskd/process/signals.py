"""Signals as orders: they stop a `Server`; they stop, reload and scale a supervisor. flaskd needs no signal for anything.

Python does not tell a signal handler who sent the signal. A supervisor's audit log needs the sender, so the supervisor blocks
its signals and a thread waits for them (sigwaitinfo(2)). Child processes inherit blocked signals: a worker unblocks them
(`worker.main`).
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
from flaskd.guard import warn_once
from flaskd.process import forks
from flaskd.process.ending import SUPERVISOR_SIGNALS
from flaskd_ctl.errors import ControlError
from flaskd_ctl.protocol import Actor

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A terminal sends SIGHUP when it is closed; by default it would end the process and cut its requests."""

SENT: Final = {0, -1, -6}
"""SI_USER, SI_QUEUE and SI_TKILL (sigaction(2)): a process sent the signal. Other codes, as for Ctrl-C, are the kernel's."""

DUPLICATE_WINDOW: Final = 0.5
"""Seconds in which the same signal from the same process counts once."""


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[str, bool], None]) -> Iterator[None]:
    """Call `stop(name, again)` for each signal in STOPPING; `again` is True from the second on. Restores the old handlers.

    Does nothing outside the main thread. `stop` runs on the main thread between two bytecodes, so it may only wake the owner.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen, depth = 0, forks.depth

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        stop(signal.Signals(number).name, seen > 1)

    taken = _not_ignored(STOPPING)
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
    """Write a byte to `descriptor` for each signal, which wakes the main thread so that it runs the handler at once."""
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


def block() -> None:
    """Block a supervisor's signals, here and in every thread started later, until `handle_signals` waits for them.

    What the parent has blocked is unblocked. What it ignores is handled again where that would hide how a worker ended.
    """
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_SETMASK, _not_ignored(SUPERVISOR_SIGNALS))
    for number in (signal.SIGCHLD, signal.SIGALRM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def report_ignored() -> None:
    """Tell which orders by signal will not be taken. Of SIGINT that is usual: a shell ignores it for what it runs with `&`."""
    ignored = set(SUPERVISOR_SIGNALS) - _not_ignored(SUPERVISOR_SIGNALS) - {signal.SIGINT}
    if ignored:
        names = ", ".join(sorted(number.name for number in ignored))
        say(f"flaskd: {names} was ignored when flaskd started (nohup does that) and stays so; use flaskd_ctl")


def _not_ignored(signals: tuple[signal.Signals, ...]) -> set[signal.Signals]:
    """Return the signals that are not ignored, and SIGTERM. nohup(1) and background jobs of a shell ignore signals."""
    return {
        number
        for number in signals
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
    }


class Orders(Protocol):
    """What signals can order (see `operable.Orders`)."""

    def stop(self, by: Actor, *, again: bool) -> None:
        """Stop. `again` means that an earlier signal has already asked."""

    def reload(self, by: Actor) -> Future[Any]:
        """Replace every worker."""

    def scale(self, by: Actor, count: int) -> Future[Any]:
        """Run `count` more workers, or fewer."""

    def reopen_logs(self, by: Actor) -> Future[Any]:
        """Open the log files again."""


def handle_signals(loop: asyncio.AbstractEventLoop, orders: Orders, *, log_files: bool = False) -> None:
    """Handle signals on `loop` until it is closed: SIGTERM and SIGINT stop, SIGHUP reloads, SIGTTIN and SIGTTOU scale.

    With `log_files`, SIGUSR1 opens them again.

    `Duplicates` are ignored. If the signals are blocked (`block`), the orders contain the sender.
    """
    had_terminal = _has_terminal()
    stops = 0
    duplicates = Duplicates()

    def stop(by: Actor) -> None:
        nonlocal stops
        if not duplicates.is_duplicate(by, loop.time()):
            stops += 1
            orders.stop(by, again=stops > 1)

    def hang_up(by: Actor) -> None:
        """Reload; but stop if the signal comes from a terminal that was closed."""
        if had_terminal and not _has_terminal():
            stop(by)
        else:
            _report_restarts(by, lambda: orders.reload(by))

    def ignore(by: Actor) -> None:
        """Continue: other servers use the signal for new log files or upgrades, and by default it would end the process."""
        say(f"flaskd: ignored {by.detail}, which has no meaning here")

    handlers: dict[signal.Signals, Callable[[Actor], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: hang_up,
        signal.SIGTTIN: lambda by: _report_restarts(by, lambda: orders.scale(by, 1)),
        signal.SIGTTOU: lambda by: _report_restarts(by, lambda: orders.scale(by, -1)),
        signal.SIGUSR1: (lambda by: _report_restarts(by, lambda: orders.reopen_logs(by)))
        if log_files
        else ignore,
        signal.SIGUSR2: ignore,
    }
    numbers = _not_ignored(SUPERVISOR_SIGNALS)
    if numbers <= signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        waiting = (loop, numbers, handlers)
        threading.Thread(target=_wait_for_signals, args=waiting, name="flaskd-signals", daemon=True).start()
        return
    _add_handlers(loop, numbers, handlers)


def _add_handlers(
    loop: asyncio.AbstractEventLoop,
    numbers: set[signal.Signals],
    handlers: Mapping[signal.Signals, Callable[[Actor], None]],
) -> None:
    """Handle signals on the main thread, as Python does it: the sender remains unknown."""
    for number in numbers:
        loop.add_signal_handler(number, handlers[number], Actor(via="signal", detail=number.name))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


class Duplicates:
    """Recognises duplicate orders to stop: the same signal from the same process within DUPLICATE_WINDOW.

    timeout(1) and other programs signal their child and then its process group. Taken for a second order, that would cut the
    requests in flight.
    """

    def __init__(self) -> None:
        self._by: Actor | None = None
        self._at = 0.0

    def is_duplicate(self, by: Actor, now: float) -> bool:
        """Return whether an order at `now` (seconds of any clock) is a duplicate. Those of the kernel (Ctrl-C) never are."""
        duplicate = by.pid is not None and by == self._by and now < self._at + DUPLICATE_WINDOW
        if not duplicate:
            self._by, self._at = by, now
        return duplicate


def _wait_for_signals(
    loop: asyncio.AbstractEventLoop,
    numbers: set[signal.Signals],
    handlers: Mapping[signal.Signals, Callable[[Actor], None]],
) -> None:
    """Wait for blocked signals, and have each handled on `loop`, until the loop is closed."""
    with contextlib.suppress(RuntimeError):  # the loop is closed
        while True:
            try:
                info = signal.sigwaitinfo(numbers)
            except OSError as error:
                warn_once(f"sigwaitinfo: {error.strerror}; the sender of a signal remains unknown")
                loop.call_soon_threadsafe(_add_handlers, loop, numbers, handlers)
                return
            number = signal.Signals(info.si_signo)
            by = Actor(via="signal", detail=number.name)
            if info.si_code in SENT:  # pid 0: a process outside our namespace
                by = Actor(via="signal", detail=number.name, uid=info.si_uid, pid=info.si_pid or None)
            loop.call_soon_threadsafe(handlers[number], by)


def _report_restarts(by: Actor, order: Callable[[], Future[Any]]) -> None:
    """Give an order, and print the settings that need a restart of the daemon; the audit reports the outcome."""

    def report(future: Future[Any]) -> None:
        if future.exception() is None and (settings := getattr(future.result(), "needs_restart", [])):
            say(f"flaskd: {by.detail}: these settings take effect at the next restart: {', '.join(settings)}")

    with contextlib.suppress(ControlError):  # refused, as the audit reports
        order().add_done_callback(report)


def _has_terminal() -> bool:
    """Return whether we have a controlling terminal (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
