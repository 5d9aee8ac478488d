"""A daemon whose sockets, lock or directory somebody removes: it makes them anew, and is never told as stopped."""

import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from flaskd_ctl.errors import Unreachable
from tests.support.daemons import PATIENCE, Daemon, StartDaemon, flaskd_run
from tests.support.operating import Watch, client, ctl

pytestmark = pytest.mark.live

APP = """
import flask
app = flask.Flask(__name__)
@app.get("/")
def index():
    return "hello"
"""

ENGINES = ["waitress", "granian"]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@pytest.fixture
def daemon(start_daemon: StartDaemon, app: Path) -> Daemon:
    return start_daemon("shop:app", "--engine", "waitress", cwd=app)


def until_said(daemon: Daemon, words: str, *, times: int = 1) -> None:
    deadline = time.monotonic() + PATIENCE
    while daemon.output().count(words) < times:
        assert time.monotonic() < deadline, f"not said: {words}"
        time.sleep(0.02)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        content: bytes = answer.read()
    return content


def run_second(daemon: Daemon, app: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        flaskd_run("shop:app", daemon.place),
        cwd=app,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def block(daemon: Daemon) -> str:
    """Put a file where the runtime directory was: nothing can be made there."""
    runtime = os.path.dirname(daemon.place.directory)
    shutil.rmtree(runtime)
    Path(runtime).touch()
    return runtime


def move_runtime_directory(daemon: Daemon) -> None:
    runtime = os.path.dirname(daemon.place.directory)
    os.rename(runtime, f"{runtime}.old")


def replace_socket(daemon: Daemon) -> None:
    os.rename(daemon.place.instance_file, daemon.place.sock)
    os.unlink(daemon.place.sock)


LOSSES: dict[str, Callable[[Daemon], None]] = {
    "directory": lambda daemon: shutil.rmtree(daemon.place.directory),
    "runtime directory": lambda daemon: shutil.rmtree(os.path.dirname(daemon.place.directory)),
    "runtime directory moved": move_runtime_directory,
    "plain socket": lambda daemon: os.unlink(daemon.place.sock),
    "plain socket replaced": replace_socket,
    "ZeroMQ socket": lambda daemon: os.unlink(daemon.place.zmq),
    "lock": lambda daemon: os.unlink(daemon.place.lock),
    "facts": lambda daemon: os.unlink(daemon.place.instance_file),
}


def test_what_is_removed_is_made_anew(daemon: Daemon, app: Path) -> None:
    """Whatever it is, again and again. Connections that are open go on, the name stays taken, the end leaves nothing."""
    with Watch(daemon) as events:
        for times, remove in enumerate(LOSSES.values(), start=1):
            remove(daemon)
            until_said(daemon, "; created again", times=times)

            for scheme, path in (("unix", daemon.place.sock), ("ipc", daemon.place.zmq)):
                with client(daemon, url=f"{scheme}://{path}") as shop:
                    told = shop.status()
                assert (told.pid, told.state) == (daemon.pid, "running")
            assert {"lock", "sock", "zmq", "instance.json"} == set(os.listdir(daemon.place.directory))
            assert os.stat(daemon.place.directory).st_mode & 0o777 == 0o700
            assert os.stat(daemon.place.sock).st_mode & 0o777 == 0o600
        second = run_second(daemon, app, XDG_STATE_HOME="/nonexistent")  # the lock alone refuses it
        assert (second.returncode, str(daemon.pid) in second.stderr) == (1, True)

        assert ctl("shop", "shutdown").returncode == 0
        assert events.until_state("stopped")
    assert daemon.wait() == 0
    assert not os.path.exists(daemon.place.directory)
    assert ctl("shop", "status").returncode == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_one_that_cannot_be_reached_is_never_told_as_stopped(
    start_daemon: StartDaemon, app: Path, engine: str
) -> None:
    """Every command says 4 and what to do; a second instance is refused. What is in the way is removed: all is well again."""
    daemon = start_daemon("shop:app", "--engine", engine, cwd=app)
    url = daemon.url
    runtime = block(daemon)
    until_said(daemon, "cannot be created again")

    for command in (["status"], ["shutdown"], ["shutdown", "--missing-ok"], ["wait", "--for", "stopped"]):
        told = ctl("shop", *command)
        assert (command, told.returncode) == (command, 4)
        assert f"kill {daemon.pid}" in told.stderr
    for scheme, path in (("unix", daemon.place.sock), ("ipc", daemon.place.zmq)):
        with (
            client(daemon, url=f"{scheme}://{path}") as shop,
            pytest.raises(Unreachable, match=f"pid {daemon.pid}"),
        ):
            shop.status()
    assert "unreachable" in ctl("shop", "list").stdout
    assert get(url) == b"hello"
    second = run_second(daemon, app)
    assert (second.returncode, str(daemon.pid) in second.stderr) == (1, True)

    os.unlink(runtime)
    until_said(daemon, "; created again")
    assert ctl("shop", "status").returncode == 0
    assert ctl("shop", "shutdown").returncode == 0
    assert daemon.wait() == 0


def test_told_as_running_also_before_it_has_noticed(daemon: Daemon) -> None:
    """Stopped by a signal it can do nothing; without a name it is found too."""
    os.kill(daemon.pid, signal.SIGSTOP)
    shutil.rmtree(daemon.place.directory)

    assert ctl("shop", "status").returncode == 4
    assert ctl("shop", "shutdown", "--missing-ok").returncode == 4
    os.kill(daemon.pid, signal.SIGCONT)
    until_said(daemon, "; created again")


def test_killed_it_is_told_as_stopped(daemon: Daemon) -> None:
    """The record that it left names a process that has ended."""
    block(daemon)
    daemon.process.kill()
    daemon.wait()

    assert ctl("shop", "status").returncode == 3
    assert ctl("shop", "shutdown", "--missing-ok").returncode == 0


def test_sigterm_stops_it_without_its_place(daemon: Daemon) -> None:
    """As the hint says; its record is gone with it."""
    block(daemon)
    until_said(daemon, "cannot be created again")
    daemon.process.terminate()

    assert daemon.wait() == 0
    assert ctl("shop", "status").returncode == 3
    assert not [
        name for _, _, names in os.walk(os.environ["XDG_STATE_HOME"]) for name in names if ".run" in name
    ]


def test_the_files_of_another_instance_in_our_place_are_left_to_it(
    daemon: Daemon, start_daemon: StartDaemon, app: Path, tmp_path: Path
) -> None:
    """With another state directory a second one can take a place that was removed. The first says so, and removes nothing."""
    os.kill(daemon.pid, signal.SIGSTOP)
    shutil.rmtree(daemon.place.directory)
    second = start_daemon("shop:app", cwd=app, environ={"XDG_STATE_HOME": str(tmp_path / "state")})
    os.kill(daemon.pid, signal.SIGCONT)
    until_said(daemon, f"process {second.pid}")
    daemon.process.terminate()

    assert daemon.wait() == 0
    assert {"lock", "sock", "zmq", "instance.json"} == set(os.listdir(second.place.directory))
    assert second.instance["pid"] == second.pid
    with client(second) as shop:
        assert shop.status().pid == second.pid
