"""Signals and descriptors in children that the application forks."""

import os
import signal
from collections.abc import Callable

import pytest

from flaskd.process import forks, signals
from flaskd.process.signals import stop_on_signals


def status_of_child(child: Callable[[], object], *sent: int) -> int:
    """Fork a process that runs `child`, send it signals at once, and return its exit code as `Popen.returncode` shows it."""
    pid = os.fork()
    if not pid:
        try:
            child()
        finally:
            os._exit(0)
    for number in sent:
        os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def stopped(name: str, again: bool) -> None:
    pytest.fail(f"{name} reached the parent")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_forked_child(number: signal.Signals) -> None:
    """Also one that comes before the child has run any Python: multiprocessing.Pool sends it so early."""
    with stop_on_signals(stopped):
        for _ in range(50):
            assert status_of_child(signal.pause, number) == -number


def test_a_forked_child_has_the_handlers_and_the_mask_from_before_ours() -> None:
    """And no wakeup descriptor, which would wake the parent."""

    def check() -> None:
        there = [signal.getsignal(number) for number in signals.STOPPING]
        if there == before and signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask:
            os._exit(7 if signal.set_wakeup_fd(-1) == -1 else 1)

    before = [signal.getsignal(number) for number in signals.STOPPING]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    read, write = os.pipe()
    os.set_blocking(write, False)
    with stop_on_signals(stopped), signals.wakeup_fd(write):
        assert status_of_child(check) == 7
        assert [signal.getsignal(number) for number in signals.STOPPING] != before
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert [signal.getsignal(number) for number in signals.STOPPING] == before
    os.close(read)
    os.close(write)


def test_a_handler_of_the_applications_own_stays_in_its_children() -> None:
    """It replaced ours, and would be there without us."""

    def own(*_: object) -> None:
        os._exit(9)

    def ours(*_: object) -> None:
        pytest.fail("ours")

    before = forks.take_signal(signal.SIGTERM, ours)
    try:
        signal.signal(signal.SIGTERM, own)
        assert status_of_child(signal.pause, signal.SIGTERM) == 9
        assert forks.take_signal(signal.SIGTERM, ours) is own
        assert status_of_child(signal.pause, signal.SIGTERM) == 9
    finally:
        forks.give_signal_back(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


class Held:
    """Something with a pipe; `broken`: it cannot tell its descriptors."""

    def __init__(self, *, broken: bool) -> None:
        self.broken = broken
        self.read, self.write = os.pipe()
        forks.close_in_children(self)

    def descriptors(self) -> list[int]:
        if self.broken:
            raise OSError("no descriptor is left for a look at them")
        return [self.read, self.write]


def test_what_cannot_tell_its_descriptors_keeps_only_its_own_open() -> None:
    """A child gets /dev/null in the place of all the others, in whichever order they come."""
    things = [Held(broken=number % 2 == 0) for number in range(6)]
    null = os.stat(os.devnull).st_rdev

    def check() -> None:
        replaced = [[os.fstat(end).st_rdev == null for end in (each.read, each.write)] for each in things]
        if replaced == [[not each.broken] * 2 for each in things]:
            os._exit(7)

    assert status_of_child(check) == 7
    for each in things:
        os.close(each.read)
        os.close(each.write)
