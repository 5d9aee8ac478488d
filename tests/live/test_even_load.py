"""Workers share the load: connections become even, also those that are kept, and a worker that hangs keeps nobody waiting."""

import math
import os
import signal
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.caller import Caller, call
from tests.support.certified import certified
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.gate import Gate
from tests.support.operating import client, ctl, until_stopped

pytestmark = pytest.mark.live

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = 16
STEADY: Final = 40
"""Rounds of requests in which no connection is closed once all is even."""


HAND_OVER: Final = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
address = "127.0.0.1:%d" % listener.getsockname()[1]
os.dup2(listener.detach(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
command = [word.replace("127.0.0.1:0", address) for word in sys.argv[1:]]
os.execv(command[0], command)
"""
"""What a service manager does that opens the listener itself (sd_listen_fds(3))."""


class Kept:
    """Clients that keep their connections and ask again and again; `pids` has the worker that each is connected to.

    `tls` is for an https address.
    """

    def __init__(self, url: str, workers: int, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self.workers = workers
        self.tls = tls
        self.callers = [self.connected() for _ in range(KEPT)]
        self.pids = [0] * KEPT
        self.closed = 0

    def connected(self) -> Caller:
        """Connect another client."""
        caller = Caller(self.url)
        if self.tls is not None:
            caller.socket = self.tls.wrap_socket(caller.socket, server_hostname="127.0.0.1")
        return caller

    def ask_all(self) -> None:
        """Send one request on each connection, and read the answers; a connection that ends is followed by a new one."""
        for caller in self.callers:
            caller.get("/")
        for number, caller in enumerate(self.callers):
            self.pids[number] = int(caller.text())
            if "close" in caller.response.headers.get("connection", ""):
                caller.socket.close()
                self.callers[number] = self.connected()
                self.pids[number] = 0
                self.closed += 1

    def ask_until_even(self, workers: int) -> None:
        """Go on until each of so many workers has its part, and no connection is closed any more."""
        deadline, steady = time.monotonic() + PATIENCE, 0
        while steady < STEADY:
            assert time.monotonic() < deadline, f"{Counter(self.pids)}"
            before = self.closed
            self.ask_all()
            part = math.ceil(KEPT / workers)
            counts = Counter(self.pids)
            even = len(counts) == workers and max(counts.values()) <= part + max(1, part // 4)
            steady = steady + 1 if even and self.closed == before else 0

    def close(self) -> None:
        for caller in self.callers:
            caller.socket.close()


@pytest.fixture
def kept(request: pytest.FixtureRequest, start_daemon: StartDaemon) -> Iterator[tuple[Daemon, Kept]]:
    """16 clients of an instance with so many workers of an engine."""
    engine, workers, *args = request.param
    daemon = start_daemon("tests.support.shop:app", "--engine", engine, "--workers", workers, *args, cwd=ROOT)
    clients = Kept(daemon.url, int(workers))
    yield daemon, clients
    clients.close()


def both(workers: str, *args: str) -> list[tuple[str, ...]]:
    """Return the parameters for each engine that keeps connections."""
    return [("waitress", workers, *args), ("granian", workers, *args)]


@pytest.mark.parametrize("kept", both("4"), indirect=True)
def test_each_worker_gets_its_part_of_kept_connections(kept: tuple[Daemon, Kept]) -> None:
    """Then they stay where they are."""
    _, clients = kept
    clients.ask_until_even(clients.workers)


@pytest.mark.parametrize("engine", ["waitress", "granian"])
def test_so_it_is_with_a_listener_that_was_handed_over(start_daemon: StartDaemon, engine: str) -> None:
    """As systemd does. If it were not used, its address would be in use."""
    hand_over = [sys.executable, "-c", HAND_OVER]
    app = "tests.support.shop:app"
    daemon = start_daemon(app, "--engine", engine, "--workers", "4", cwd=ROOT, prefix=hand_over)
    clients = Kept(daemon.url, 4)
    clients.ask_until_even(4)
    clients.close()


def test_so_it_is_with_https(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """On the engine that keeps connections and has HTTPS."""
    files = certified(tmp_path)
    daemon = start_daemon(
        "tests.support.shop:app", "--engine", "granian", "--workers", "4", *files.args, cwd=ROOT
    )
    clients = Kept(daemon.url, 4, ssl.create_default_context(cafile=files.authority))
    clients.ask_until_even(4)
    clients.close()


@pytest.mark.parametrize("kept", both("1"), indirect=True)
def test_a_new_worker_gets_its_part(kept: tuple[Daemon, Kept]) -> None:
    """Also where all clients were connected before it came."""
    daemon, clients = kept
    clients.ask_until_even(1)
    assert clients.closed == 0
    assert ctl(daemon.name, "scale", "2").returncode == 0
    clients.ask_until_even(2)


@pytest.mark.parametrize("engine", ["waitress", "granian", "werkzeug"])
def test_a_stopped_worker_with_the_fewest_connections_keeps_nobody_waiting(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch, runtime_dir: str, engine: str
) -> None:
    """It has none, and each of the others has some: the next ones are theirs, too."""
    monkeypatch.setenv("GATE", f"{runtime_dir}/gate")
    with Gate(f"{runtime_dir}/gate") as gate:
        daemon = start_daemon(
            "tests.support.gated:app", "--engine", engine, "--workers", "3", "--threads", "16", cwd=ROOT
        )
        with client(daemon) as shop:
            stopped, *others = [worker.pid for worker in shop.workers()]
        os.kill(stopped, signal.SIGSTOP)
        until_stopped(stopped)
        callers = []
        try:
            holding = set()
            for _ in range(12):
                callers.append(Caller(daemon.url).get("/held"))
                holding.add(gate.wait_for("held").pid)
            assert holding <= set(others)
            began = time.monotonic()
            assert call(daemon.url, "/") == "front\n"
            assert time.monotonic() - began < PATIENCE / 4
        finally:
            for caller in callers:
                caller.socket.close()
            os.kill(stopped, signal.SIGCONT)
