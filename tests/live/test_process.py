"""A real `flaskd run` process: its start, its ends, and what it leaves behind."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
import urllib.request
from pathlib import Path

import pytest

from flaskd.process.descriptors import RESERVE
from flaskd_ctl import Client
from flaskd_ctl.contract.endpoint import Place
from tests.support.balancers import wait_until
from tests.support.caller import Caller
from tests.support.daemons import PATIENCE, Daemon, StartDaemon, flaskd_run
from tests.support.needs import requires
from tests.support.operating import client

pytestmark = pytest.mark.live

APP = """
import threading, time, flask
app = flask.Flask(__name__)
@app.get("/")
def index():
    return "hello"
@app.get("/slow/<float:seconds>")
def slow(seconds):
    time.sleep(seconds)
    return "slow"
@app.get("/stay")
def stay():
    threading.Thread(target=threading.Event().wait, name="stays-for-ever", daemon=False).start()
    return "stays"
"""


@pytest.fixture
def daemon(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    (tmp_path / "shop.py").write_text(APP)
    return start_daemon("shop:app", cwd=tmp_path)


def ask(daemon: Daemon, method: str, **params: object) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(daemon.place.sock)
        sock.sendall(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"
        )
        with sock.makefile("rb") as lines:
            reply: dict[str, object] = json.loads(lines.readline())["result"]
    return reply


def get(daemon: Daemon, path: str) -> bytes:
    with urllib.request.urlopen(f"{daemon.url}{path}", timeout=PATIENCE) as answer:
        content: bytes = answer.read()
    return content


def test_it_says_in_six_lines_what_it_serves_and_where_and_how_to_go_on(daemon: Daemon) -> None:
    """With the real port, the engine and the control endpoints."""
    wait_until(lambda: "  stop " in daemon.output())
    said = daemon.output()
    # A busy machine takes its time.
    assert len([line for line in said.splitlines() if "is still starting" not in line]) == 6
    for expected in (
        "shop:app",
        daemon.url,
        "granian",
        f"ipc://{daemon.place.zmq}",
        f"unix://{daemon.place.sock}",
        "flaskd_ctl --name shop status",
        "flaskd_ctl --name shop shutdown",
    ):
        assert expected in said


def test_after_kill_9_it_starts_again_at_the_same_place(
    daemon: Daemon, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """What was left is stale, and is cleaned without being asked."""
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()
    assert os.path.exists(daemon.place.sock)
    again = start_daemon("shop:app", cwd=tmp_path)
    assert get(again, "/") == b"hello"
    assert ask(again, "status")["pid"] == again.pid


def test_a_second_instance_of_the_name_ends_with_the_pid_of_the_first(daemon: Daemon, tmp_path: Path) -> None:
    """Exit 1, and the first goes on."""
    second = subprocess.run(
        flaskd_run("shop:app", daemon.place),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert second.returncode == 1
    assert str(daemon.pid) in second.stderr
    assert "Traceback" not in second.stderr
    assert get(daemon, "/") == b"hello"


def test_a_busy_port_is_said_with_who_holds_it(daemon: Daemon, tmp_path: Path) -> None:
    """Exit 1, and the place of the one that could not start is given back."""
    place = daemon.place._replace(directory=f"{os.path.dirname(daemon.place.directory)}/other")
    second = subprocess.run(
        flaskd_run("shop:app", place, "--bind", daemon.url.removeprefix("http://")),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert second.returncode == 1
    assert f"(pid {daemon.pid})" in second.stderr
    assert not os.path.exists(place.directory)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_the_slow_request_answered(daemon: Daemon, number: signal.Signals) -> None:
    """Exit 0, nothing left at its place."""
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(get(daemon, "/slow/1.0")))
    thread.start()
    while not ask(daemon, "status")["in_flight"]:
        pass  # each round is a question to the daemon
    os.kill(daemon.pid, number)
    assert daemon.wait() == 0
    thread.join(PATIENCE)
    assert answers == [b"slow"]
    assert not os.path.exists(daemon.place.directory)


def test_a_closed_terminal_stops_it_though_the_same_signal_reloads(runtime_dir: str, tmp_path: Path) -> None:
    """Nobody is left to see what it prints, and a reload would leave it behind."""
    ours, terminal = pty.openpty()
    (tmp_path / "shop.py").write_text(APP)
    place = Place(os.path.join(runtime_dir, "shop"))

    def take_the_terminal() -> None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    with open(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            flaskd_run("shop:app", place),
            cwd=tmp_path,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=take_the_terminal,
        )
        os.close(terminal)
        shown = b""
        while b"control" not in shown:
            shown += screen.read(4096)
        process.send_signal(signal.SIGHUP)
        with Client(endpoint=f"unix://{place.sock}") as client:
            while client.status().generation < 2:
                pass  # each round is a question to the daemon
    assert process.wait(PATIENCE) == 0
    assert not os.path.exists(place.directory)


def test_kill_ends_it_at_once_with_its_own_exit_code(daemon: Daemon) -> None:
    """Nothing in flight is waited for; the place is given back all the same."""
    failures: list[str] = []

    def fail() -> None:
        try:
            get(daemon, "/slow/600.0")
        except OSError as error:
            failures.append(type(error).__name__)

    thread = threading.Thread(target=fail)
    thread.start()
    while not ask(daemon, "status")["in_flight"]:
        pass
    assert ask(daemon, "kill")["pid"] == daemon.pid
    assert daemon.wait() == 137
    thread.join(PATIENCE)
    assert len(failures) == 1
    assert not os.path.exists(daemon.place.directory)
    assert "was killed: it waited for no request" in daemon.output()


def test_a_stop_that_cuts_a_request_shows_in_the_exit_code(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """However it was asked for: here by a signal, and nobody looks at a reply."""
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--grace", "0.1", cwd=tmp_path)
    with Caller(daemon.url) as caller:
        caller.get("/slow/60.0")
        with client(daemon) as shop:
            while not shop.requests():
                pass
        daemon.process.terminate()

        assert daemon.wait() == 6
    assert "cut GET /slow/60.0" in daemon.output()


def test_a_thread_of_the_application_cannot_keep_the_process_alive(daemon: Daemon) -> None:
    """The interpreter would wait for it for ever; an operator who was told "stopped" waits for the process."""
    assert get(daemon, "/stay") == b"stays"
    assert ask(daemon, "shutdown")["clean"]
    assert daemon.wait() == 0
    assert "stays-for-ever" in daemon.output()


def test_the_last_stop_is_told_after_the_end(daemon: Daemon) -> None:
    """In the state directory, which outlives the runtime directory."""
    ask(daemon, "shutdown")
    daemon.wait()
    with open(os.path.join(os.environ["XDG_STATE_HOME"], "flaskd", "shop.json"), encoding="utf-8") as file:
        last = json.load(file)
    stop = last["stop"]
    assert (stop["pid"], stop["clean"], stop["by"]["uid"]) == (daemon.pid, True, os.getuid())


def test_the_app_of_a_script_is_served_by_run(tmp_path: Path, runtime_dir: str) -> None:
    """`flaskd.run(app)` in place of `app.run()`: Ctrl-C stops it gracefully, and the program goes on after it."""
    (tmp_path / "script.py").write_text(
        APP + "import flaskd\nflaskd.run(app, port=0)\nprint('goes on', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        while b"control" not in (line := process.stderr.readline()):
            assert line
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, b"goes on\n")


@requires("prlimit")
def test_a_flood_of_connections_leaves_descriptors_for_the_control_socket(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """libzmq aborts a process that cannot accept: HTTP gets the limit less a reserve, whatever clients do."""
    (tmp_path / "shop.py").write_text(APP)
    limit = 120
    prefix = ["prlimit", f"--nofile={limit // 2}:{limit}"]
    daemon = start_daemon("shop:app", "--threads", str(limit - RESERVE), cwd=tmp_path, prefix=prefix)
    with open(f"/proc/{daemon.pid}/limits", encoding="ascii") as limits:
        soft = next(line.split()[3] for line in limits if line.startswith("Max open files"))
    assert soft == str(limit)  # raised to the hard limit at the start
    with contextlib.ExitStack() as stack:
        for _ in range(3 * limit):
            stack.enter_context(socket.create_connection(daemon.address, timeout=PATIENCE))
        while ask(daemon, "status")["connections"] != limit - RESERVE:
            pass  # each round is a question to the daemon
        client = stack.enter_context(Client(endpoint=f"ipc://{daemon.place.zmq}"))
        assert client.status().pid == daemon.pid
    assert get(daemon, "/") == b"hello"
    assert daemon.process.poll() is None
