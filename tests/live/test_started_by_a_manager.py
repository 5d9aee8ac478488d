"""A daemon that a service manager has started, played by the test: what it is handed, what it tells, and that it sleeps."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caller import Caller, call
from tests.support.daemons import PATIENCE

pytestmark = pytest.mark.live

SPY = """
import json, os

from flask import Flask

app = Flask(__name__)


@app.get("/environ")
def environ():
    return json.dumps({name: value for name, value in os.environ.items() if "LISTEN" in name or "NOTIFY" in name})


@app.get("/slow")
def slow():
    def body():
        yield "begun"
        with open("gate", "rb") as gate:
            gate.read()
    return app.response_class(body())
"""


HANDED = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}

HAND_OVER = """
import os, sys

os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def started(sock: socket.socket, *args: str) -> list[str]:
    """Spell out how to start the daemon with `sock` as descriptor 3: the process that is told so becomes the daemon."""
    command = [sys.executable, "-m", "flaskd", "run", "spy:app", *args]
    return [sys.executable, "-c", HAND_OVER, str(sock.fileno()), *command]


class Manager:
    """What systemd is to a service: it holds the listener and hears what it is told."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._news = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._news.settimeout(PATIENCE)
        self._news.bind(f"{directory}/notify")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.process: subprocess.Popen[bytes]

    def start(self, *args: str) -> None:
        """Start the daemon, which is handed the listener as descriptor 3; returns when it is ready."""
        self.process = subprocess.Popen(
            started(self.listener, *args),
            cwd=self._directory,
            env={**os.environ, **HANDED, "NOTIFY_SOCKET": f"{self._directory}/notify"},
            pass_fds=[self.listener.fileno()],
            start_new_session=True,
        )
        while "READY=1" not in self.hear():
            pass

    def hear(self) -> list[str]:
        """Return the next message; fail if none comes."""
        return self._news.recv(65536).decode().split("\n")

    def hears_nothing(self, seconds: float) -> bool:
        """Tell whether no message comes for so long."""
        self._news.settimeout(seconds)
        try:
            self._news.recv(65536)
        except TimeoutError:
            return True
        finally:
            self._news.settimeout(PATIENCE)
        return False

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self.listener.close()
        self._news.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    (tmp_path / "spy.py").write_text(SPY)
    os.mkfifo(tmp_path / "gate")
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def switches(pid: int) -> int:
    """Count how often the threads of a process went to sleep: each wake-up is one more (proc(5))."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        (line,) = (
            line for line in (thread / "status").read_text().splitlines() if line.startswith("voluntary")
        )
        total += int(line.split()[1])
    return total


def sleeps(manager: Manager) -> bool:
    """Tell whether the daemon does not wake up for 3 s; nor must it say anything."""
    before = switches(manager.process.pid)
    assert manager.hears_nothing(3.0)
    return switches(manager.process.pid) == before


def test_application_sees_nothing_of_what_is_for_the_daemon(manager: Manager) -> None:
    """A library in it that knows these variables would take our listener, or speak for us."""
    manager.start()

    assert json.loads(call(manager.url, "/environ")) == {}


def test_listener_outlives_the_daemon_and_the_next_one_answers_what_waits(manager: Manager) -> None:
    """Nobody is turned away, nothing is closed: what comes after the stop has begun is the next one's."""
    manager.start("--engine", "werkzeug")
    assert call(manager.url, "/environ")
    manager.process.send_signal(signal.SIGTERM)
    assert manager.process.wait(PATIENCE) == 0

    with Caller(manager.url) as waits:
        waits.get("/environ")
        manager.start()

        assert waits.text() == "{}"


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux's /proc")
def test_idle_daemon_sleeps_also_where_it_tells_how_it_stands(manager: Manager) -> None:
    """A status text that is live, and nobody who polls for it: the request itself wakes the supervisor."""
    manager.start()
    with Caller(manager.url) as slow:
        slow.get("/slow").read(until=5)
        assert "STATUS=running, 1 worker, 1 in flight" in manager.hear()
        with open(manager._directory / "gate", "wb"):
            pass
        slow.read()
    assert "STATUS=running, 1 worker, 0 in flight" in manager.hear()
    assert manager.hears_nothing(0.5)

    assert any(sleeps(manager) for _ in range(3))  # what it had to do after that message may be late


def test_watchdog_is_all_that_an_idle_daemon_says(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice in the time that it has."""
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    manager.start()

    assert [manager.hear() for _ in range(4)] == [["WATCHDOG=1"]] * 4


def test_socket_that_cannot_be_served_on_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    """Accept=yes in the socket unit hands over connections, not listeners."""
    with socket.socket() as no_listener:
        done = subprocess.run(
            started(no_listener),
            cwd=tmp_path,
            env={**os.environ, **HANDED},
            pass_fds=[no_listener.fileno()],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert done.returncode == 1
    assert "systemd passed descriptor 3 ('web'), which is not listening" in done.stderr
