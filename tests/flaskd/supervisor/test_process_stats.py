"""What is seen of a worker without asking it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flaskd.listening import addresses
from flaskd.listening.listeners import Listener
from flaskd.process.resident import resident
from flaskd.supervisor import process_stats
from flaskd.supervisor.process_stats import MAX_AGE, ProcessStats, is_stopped
from tests.flaskd.supervisor.clocked import Clock

WAIT = 10.0
NOBODY = 2**22 + 1  # above the largest pid (proc(5), pid_max)


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest, runtime_dir: str) -> Iterator[Listener]:
    address = "127.0.0.1:0" if request.param == "tcp" else f"unix:{runtime_dir}/http"
    listener = addresses.bind(address, backlog=16)
    yield listener
    listener.close()


def connect(listener: Listener) -> socket.socket:
    client = socket.socket(listener.socket.family)
    client.connect(listener.socket.getsockname())
    return client


@pytest.fixture
def idle() -> Iterator[int]:
    """A process that does nothing, and holds nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    yield process.pid
    process.kill()
    process.communicate()


def test_accepted_connections_are_those_of_the_process_that_accepted(listener: Listener, idle: int) -> None:
    """What waits in the queue is nobody's yet, and the clients' own ends are not counted."""
    with connect(listener), connect(listener), connect(listener):
        first, second = (listener.socket.accept()[0] for _ in range(2))
        with first:
            with second:
                assert ProcessStats([listener]).connections(os.getpid()) == 2
                assert ProcessStats([listener]).connections(idle) == 0
            assert ProcessStats([listener]).connections(os.getpid()) == 1


def test_memory_is_told_in_bytes() -> None:
    """A Python takes some MiB; what it shares with others counts in part only."""
    look = ProcessStats([]).of([os.getpid()])[os.getpid()]

    assert look.rss is not None
    assert look.pss is not None
    assert 4 << 20 < look.pss <= look.rss < 4 << 30
    assert resident(os.getpid()) == pytest.approx(look.rss, rel=0.2)


def test_a_process_that_is_gone_is_not_known(listener: Listener) -> None:
    """Nothing is raised: a worker may end between two lines of a status."""
    with connect(listener), listener.socket.accept()[0]:
        assert ProcessStats([listener]).of([NOBODY])[NOBODY] == (None, None, None)
    assert resident(NOBODY) is None
    assert not is_stopped(NOBODY)


def test_status_may_be_asked_often_without_a_look_each_time(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look is good for a while; a worker that was not there then is looked at now."""
    clock = Clock()
    monkeypatch.setattr(process_stats, "time", clock)
    ours = ProcessStats([listener])
    assert ours.of([os.getpid()])[os.getpid()].connections == 0
    with connect(listener), listener.socket.accept()[0]:
        clock.now += MAX_AGE - 0.01
        assert ours.of([os.getpid()])[os.getpid()].connections == 0

        assert ours.of([os.getpid(), NOBODY])[os.getpid()].connections == 1

    clock.now += MAX_AGE
    assert ours.of([os.getpid()])[os.getpid()].connections == 0


def test_a_stopped_process_is_told_from_one_that_hangs(idle: int) -> None:
    """SIGSTOP, until SIGCONT."""
    assert not is_stopped(idle)
    os.kill(idle, signal.SIGSTOP)
    os.waitid(os.P_PID, idle, os.WSTOPPED | os.WNOWAIT)
    assert is_stopped(idle)
    os.kill(idle, signal.SIGCONT)
    os.waitid(os.P_PID, idle, os.WCONTINUED | os.WNOWAIT)
    assert not is_stopped(idle)
