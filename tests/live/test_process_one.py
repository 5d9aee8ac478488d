"""The daemon as process 1 of a namespace, which is what it is in a container: its signals, and orphans that become its."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.needs import requires
from tests.support.operating import Watch, client

pytestmark = [pytest.mark.live, requires("root", "unshare")]

ORPHANS = 5

APP = f"""
import flask, os, subprocess
app = flask.Flask(__name__)
line, end_of_line = os.pipe()
@app.get("/orphans")
def orphans():
    '''Start processes whose parent is gone when this is answered; they end when nobody has the other end of their line.'''
    script = "for each in {" ".join("x" * ORPHANS)}; do (read word; exit 3) <&%d & done" % line
    subprocess.run(["sh", "-c", script], pass_fds=[line], check=True)
    return "begun"
@app.get("/release")
def release():
    os.close(end_of_line)
    return "closed"
@app.get("/held")
def held():
    def body():
        yield "begun\\n"
        open("gate", "rb").read()
        yield "finished\\n"
    return flask.Response(body())
"""


@pytest.fixture
def daemon(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    """Start it as process 1 of a pid namespace; what `daemon.process` is made it."""
    (tmp_path / "shop.py").write_text(APP)
    os.mkfifo(tmp_path / "gate")
    return start_daemon(
        "shop:app", cwd=tmp_path, prefix=["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    )


def children(pid: int) -> list[int]:
    """List the children of a process, zombies too."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as listed:
        return [int(child) for child in listed.read().split()]


def first(daemon: Daemon) -> int:
    """Find the pid that process 1 of the namespace has out here."""
    (pid,) = children(daemon.pid)
    return pid


def get(daemon: Daemon, path: str) -> str:
    with urllib.request.urlopen(f"{daemon.url}{path}", timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text


@contextlib.contextmanager
def ending(pids: set[int]) -> Iterator[None]:
    """Wait, at the end of the block, until these processes have ended, buried or not."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    yield
    for descriptor in descriptors:
        ended, _, _ = select.select([descriptor], [], [], PATIENCE)
        os.close(descriptor)
        assert ended


def buried(daemon: Daemon, pids: set[int]) -> bool:
    """Tell whether they are out of the table; the daemon heard of their ends before it is asked something for the last time."""
    with client(daemon) as asked:
        for _ in range(100):
            if not pids & set(children(first(daemon))):
                return True
            asked.ping()
    return False


def test_orphans_of_an_application_are_buried(daemon: Daemon) -> None:
    """What nobody else can wait for does not stay in the process table; workers are waited for by who started them."""
    (worker,) = children(first(daemon))
    get(daemon, "/orphans")
    orphans = set(children(first(daemon))) - {worker}
    assert len(orphans) == ORPHANS

    with ending(orphans):
        get(daemon, "/release")

    assert buried(daemon, orphans)
    with client(daemon) as asked:
        assert [each.state for each in asked.workers()] == ["serving"]
        assert asked.incidents() == []


def test_worker_and_orphans_that_end_together_are_told_apart(daemon: Daemon) -> None:
    """A worker's end is an incident with its exit code, whoever else has died at the same time."""
    (worker,) = children(first(daemon))
    get(daemon, "/orphans")
    orphans = set(children(first(daemon))) - {worker}
    os.kill(first(daemon), signal.SIGSTOP)  # so that it sees all of them dead at once

    with ending({worker, *orphans}):
        os.kill(worker, signal.SIGKILL)  # and with it goes the other end of their line
    os.kill(first(daemon), signal.SIGCONT)

    assert buried(daemon, {worker, *orphans})
    with client(daemon) as asked:
        (incident,) = asked.incidents()
        assert "killed by SIGKILL" in incident.reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_process_one_without_losing_a_request(
    daemon: Daemon, number: signal.Signals, tmp_path: Path
) -> None:
    """The kernel gives process 1 no default for a signal: what it does not handle does not reach it."""
    with socket.create_connection(daemon.address, timeout=PATIENCE) as peer:
        peer.sendall(b"GET /held HTTP/1.1\r\nHost: shop\r\n\r\n")
        with peer.makefile("rb") as answer, Watch(daemon) as watch:
            assert b"200" in answer.readline()

            os.kill(first(daemon), number)

            watch.until_state("stopping")
            with open(tmp_path / "gate", "wb"):
                pass
            assert answer.read().endswith(b"finished\n\r\n0\r\n\r\n")
    assert daemon.wait() == 0


def test_signal_in_its_first_moments_ends_it() -> None:
    """Before there is a loop, too; without a handler the signal to process 1 would be as if it had never been sent."""
    script = "import os; from flaskd.process import reaper; reaper.exit_on_sigterm(); os.kill(1, 15)"

    ended = subprocess.run(["unshare", "--pid", "--fork", sys.executable, "-c", script], timeout=PATIENCE)

    assert ended.returncode == 128 + signal.SIGTERM


def test_signal_before_it_serves_ends_it(tmp_path: Path) -> None:
    """SIGTERM is heeded also while the application still loads: nobody has to wait for the engine's own patience."""
    (tmp_path / "shop.py").write_text("open('loading', 'wb').close()\nopen('gate', 'rb').read()\n")
    os.mkfifo(tmp_path / "loading")
    os.mkfifo(tmp_path / "gate")
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        sys.executable,
        "-m",
        "flaskd",
        "run",
        "shop:app",
    ]
    with subprocess.Popen([*command, "--bind", "127.0.0.1:0"], cwd=tmp_path) as process:
        try:
            with open(tmp_path / "loading", "rb") as loading:
                loading.read()

            os.kill(children(process.pid)[0], signal.SIGTERM)

            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
