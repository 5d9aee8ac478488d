"""Clients that mean no good hold nobody up for long, cost nothing when they are gone, and hold no stop up."""

import json
import os
import time
from collections.abc import Callable

import pytest

from tests.http.client import get
from tests.http.hostile import KINDS, Crowd, Kind
from tests.http.servers import ENGINES, ROOT
from tests.support.daemons import Daemon, StartDaemon
from tests.support.operating import ctl

pytestmark = pytest.mark.live

THREADS = 4
TIMEOUT = 1.0
MARGIN = 15.0  # for a busy machine; what hangs, hangs for ever

HOLDING_NOBODY = {
    "waitress": {kind.name for kind in KINDS if kind.sending},
    "granian": {"silent", "silent in the head", "dripping head"},
}
"""What costs an engine no thread, so that nobody waits for any timeout."""


def run(start_daemon: StartDaemon, engine: str, *, timeout: float) -> Daemon:
    times = [f"--{part}-timeout={timeout:g}" for part in ("head", "body", "write")]
    options = ("--engine", engine, "--threads", str(THREADS), "--grace", "60", *times)
    return start_daemon("tests.http.app:app", *options, cwd=ROOT)


def wait_until(true: Callable[[], bool], seconds: float, failing: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, failing
        time.sleep(0.1)


def in_flight(daemon: Daemon) -> list[str]:
    asked = ctl(daemon.name, "--json", "requests")
    assert asked.returncode == 0, asked.stderr
    return [request["path"] for request in json.loads(asked.stdout)["requests"]]


def cpu(daemon: Daemon) -> float:
    """Seconds of CPU that the daemon and its workers have used."""
    seconds = 0.0
    for pid in [daemon.pid, *children(daemon.pid)]:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_crowd_holds_nobody_up_for_longer_than_the_timeouts(
    kind: Kind, engine: str, start_daemon: StartDaemon
) -> None:
    """As many as threads, and three times as many: another client is answered, nothing is left, a stop ends."""
    daemon = run(start_daemon, engine, timeout=TIMEOUT)
    with Crowd(kind, daemon.address, THREADS):
        assert get(daemon.address, "/hello", timeout=TIMEOUT + MARGIN) == b"hello"
        wait_until(lambda: not in_flight(daemon), TIMEOUT + MARGIN, "requests of the crowd are in flight")
    if kind.leaves:
        before = cpu(daemon)
        time.sleep(1)
        assert cpu(daemon) - before < 0.5, "it uses the CPU for nothing"
    turns = 3  # so often all threads may have to wait for a timeout
    with Crowd(kind, daemon.address, turns * THREADS):
        assert get(daemon.address, "/hello", timeout=turns * TIMEOUT + MARGIN) == b"hello"
        stopped = ctl(daemon.name, "shutdown", "--grace", str(turns * TIMEOUT + MARGIN))
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert daemon.wait() == 0


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        pytest.param(engine, kind, id=f"{engine}-{kind.name}")
        for engine, names in HOLDING_NOBODY.items()
        for kind in KINDS
        if kind.name in names
    ],
)
def test_a_crowd_that_sends_costs_no_thread(kind: Kind, engine: str, start_daemon: StartDaemon) -> None:
    """Others are answered at once: the timeouts are far away, and the crowd is still there afterwards."""
    daemon = run(start_daemon, engine, timeout=600)
    with Crowd(kind, daemon.address, 3 * THREADS) as crowd:
        assert get(daemon.address, "/hello") == b"hello"
        assert kind.leaves or crowd.open == 3 * THREADS
