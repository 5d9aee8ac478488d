"""A real daemon's workers, operated as people do it: reload, scale, restart, signals, and what is refused."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from flaskd import Server
from flaskd.supervisor.plan import CRASH_LOOP
from flaskd_ctl.contract.endpoint import Place
from tests.support.caller import call
from tests.support.daemons import PATIENCE, Daemon, StartDaemon, flaskd_run
from tests.support.gate import Gate
from tests.support.operating import Watch, all_gone, children, client, ctl, name_of

pytestmark = pytest.mark.live

ENGINES = ["werkzeug", "granian"]

APP = """
import fcntl, os, socket, flask
VERSION = {version!r}
if os.path.exists(os.environ["GATE"]):
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(os.environ["GATE"])
        gate.sendall(f"import {{os.getpid()}}\\n".encode())
        gate.recv(1)
if os.path.exists("imports-left"):
    with open("imports-left", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # workers may be started at the same time
        left = int(file.read())
        if not left:
            raise RuntimeError("the database is full")
        file.seek(0)
        file.write(str(left - 1))
app = flask.Flask(__name__)
@app.get("/")
def version():
    return VERSION
@app.get("/pid")
def pid():
    return str(os.getpid())
@app.get("/health")
def health():
    return VERSION, 503 if VERSION == "ill" else 200
"""


@pytest.fixture(autouse=True)
def gate_path(monkeypatch: pytest.MonkeyPatch, runtime_dir: str) -> str:
    """Where the application waits while it is imported, if a `Gate` is there."""
    # Two versions of a file within a second would share their byte code (importlib's pyc holds the time in seconds).
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("GATE", f"{runtime_dir}/gate")
    return f"{runtime_dir}/gate"


def write(directory: Path, version: str) -> None:
    (directory / "shop.py").write_text(APP.format(version=version))


def start(start_daemon: StartDaemon, directory: Path, *args: str) -> Daemon:
    write(directory, "one")
    return start_daemon("shop:app", *args, cwd=directory)


def versions(daemon: Daemon) -> set[str]:
    """Ask often enough to meet every worker."""
    return {call(daemon.url, "/") for _ in range(20)}


def ids(daemon: Daemon) -> list[int]:
    with client(daemon) as shop:
        return [worker.id for worker in shop.workers() if worker.state == "serving"]


def test_the_names_of_processes_tell_supervisor_and_workers_apart(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Also of the first worker, which was forked from the supervisor's process."""
    daemon = start(start_daemon, tmp_path, "--workers", "2")

    assert [name_of(pid) for pid in children(daemon.pid)] == ["flaskd-worker"] * 2
    assert name_of(daemon.pid) == "flaskd"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reload_serves_the_new_code_and_nothing_but_the_new_code(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """Exit 0 means that it has happened: no old worker accepts anything any more."""
    daemon = start(start_daemon, tmp_path, "--workers", "2", "--engine", engine)
    assert versions(daemon) == {"one"}
    write(tmp_path, "two")

    done = ctl("shop", "reload", "--check", "/health")

    assert versions(daemon) == {"two"}
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 workers replaced" in done.stdout
    assert "generation 2" in done.stdout
    with client(daemon) as shop:
        status = shop.status()
        assert (status.generation, status.restarts, status.state) == (2, 0, "running")
        assert [worker.why for worker in status.workers if worker.state == "serving"] == ["reload"] * 2
        assert {worker.generation for worker in status.workers if worker.state == "serving"} == {2}


def test_code_that_fails_its_check_replaces_nothing(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """It never saw a live request; the sentence names worker, check and answer."""
    daemon = start(start_daemon, tmp_path, "--workers", "2")
    before = ids(daemon)
    write(tmp_path, "ill")

    done = ctl("shop", "reload", "--check", "/health")

    assert done.returncode == 1
    assert "worker 3 could not start" in done.stderr
    assert "the check /health was answered 503" in done.stderr
    assert "2 workers serve on" in done.stderr
    assert ids(daemon) == before
    assert versions(daemon) == {"one"}


def test_code_with_a_syntax_error_replaces_nothing_and_its_traceback_is_shown(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """The traceback comes on stderr before the sentence; the daemon goes on as before."""
    daemon = start(start_daemon, tmp_path, "--workers", "2")
    before = ids(daemon)
    (tmp_path / "shop.py").write_text("def broken(:\n    pass\n")

    done = ctl("shop", "reload")

    assert (done.returncode, done.stdout) == (1, "")
    traceback, _, sentence = done.stderr.rpartition("flaskd_ctl: ")
    assert "def broken(:" in traceback
    assert "SyntaxError" in traceback
    assert "worker 3 could not start" in sentence
    assert "2 workers serve on" in sentence
    assert ids(daemon) == before
    assert versions(daemon) == {"one"}
    with client(daemon) as shop:
        status = shop.status()
        assert status.state == "running"
        assert status.last_failure is not None
        assert "SyntaxError" in status.last_failure.traceback
    write(tmp_path, "two")
    assert ctl("shop", "reload").returncode == 0
    assert versions(daemon) == {"two"}


def test_a_reload_ends_where_the_second_new_worker_fails(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """The first new one and the old one that was not replaced yet serve on: as many as wanted, all the time."""
    daemon = start(start_daemon, tmp_path, "--workers", "2")
    write(tmp_path, "two")
    (tmp_path / "imports-left").write_text("1")

    done = ctl("shop", "reload")

    assert done.returncode == 1
    assert "RuntimeError: the database is full" in done.stderr
    assert "2 workers serve on" in done.stderr
    assert ids(daemon) == [2, 3]
    assert versions(daemon) == {"one", "two"}


def test_changed_settings_are_used_by_new_workers_and_what_needs_a_restart_is_said(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """The daemon's own settings hold until it is started anew."""
    (tmp_path / "flaskd.toml").write_text("threads = 3\nbacklog = 100\nworkers = 1\n")
    daemon = start(start_daemon, tmp_path)
    (tmp_path / "flaskd.toml").write_text("threads = 5\nbacklog = 200\nworkers = 2\n")

    done = ctl("shop", "reload")

    assert done.returncode == 0
    changed, later = (line for line in done.stdout.splitlines() if "changed" in line)
    assert "threads" in changed
    assert "workers" in changed
    assert "backlog" in later
    assert "restart" in later
    with client(daemon) as shop:
        status = shop.status()
        assert (status.threads, status.wanted_workers, len(ids(daemon))) == (5, 2, 2)


def test_a_reload_does_not_begin_to_develop(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Other defaults and another environment come with `dev`: half of it would be worse than either."""
    (tmp_path / "flaskd.toml").write_text('workers = "2"\n')
    daemon = start(start_daemon, tmp_path)
    (tmp_path / "flaskd.toml").write_text('dev = true\nworkers = "2"\n')

    refused = ctl("shop", "reload")

    assert refused.returncode == 1
    assert "this instance runs without --dev, and cannot go on with it; nothing was changed" in refused.stderr
    (tmp_path / "flaskd.toml").write_text('workers = "2"\n')
    assert ctl("shop", "reload").returncode == 0
    with client(daemon) as shop:
        serving = [worker.pid for worker in shop.workers() if worker.state == "serving"]
    assert len(serving) == 2
    for pid in serving:
        assert b"WERKZEUG_RUN_MAIN" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_settings_that_cannot_be_read_change_nothing(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Exit 1, and the sentence says what is wrong with them."""
    daemon = start(start_daemon, tmp_path)
    (tmp_path / "flaskd.toml").write_text("threads = 0\n")

    done = ctl("shop", "reload")

    assert done.returncode == 1
    assert "threads cannot be 0" in done.stderr
    assert "nothing was changed" in done.stderr
    assert ids(daemon) == [1]


def test_a_release_that_is_a_symbolic_link_is_followed_anew(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """The daemon stands in the directory by its name, not in the one that the name stood for at its start."""
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        write(tmp_path / release, release)
    (tmp_path / "two/flaskd.toml").write_text("threads = 5")
    current = tmp_path / "current"
    current.symlink_to("one")
    daemon = start_daemon("shop:app", cwd=current, environ={"PWD": str(current)})
    assert versions(daemon) == {"one"}
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(current)
    shutil.rmtree(tmp_path / "one")  # who deploys keeps only the last few

    assert ctl("shop", "reload").returncode == 0

    assert versions(daemon) == {"two"}
    with client(daemon) as shop:
        assert shop.status().threads == 5


def test_who_goes_back_into_rotation_in_a_crash_loop_is_degraded(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """The crash loop came while it was draining; nobody is to be sent where no worker serves."""
    daemon = start(start_daemon, tmp_path)
    (tmp_path / "imports-left").write_text("0")
    with Watch(daemon) as watch, client(daemon) as shop:
        shop.drain()
        os.kill(shop.workers()[0].pid, signal.SIGKILL)
        for _ in range(CRASH_LOOP):
            watch.until_incident()

        shop.resume()

        watch.until_state("degraded")
        assert not shop.status().ready


def test_reloads_at_once_are_one_and_one_more(
    start_daemon: StartDaemon, tmp_path: Path, gate_path: str
) -> None:
    """Who asks while one runs shares the next: what that one loads is no older than the question. Never two at once."""
    daemon = start(start_daemon, tmp_path, "--workers", "2")
    with (
        Gate(gate_path) as gate,
        Watch(daemon) as watch,
        Watch(daemon, "reload", progress=True) as first,
        contextlib.ExitStack() as stack,
    ):
        first.until_worker("starting")
        others = [stack.enter_context(Watch(daemon, "reload", progress=True)) for _ in range(3)]
        with client(daemon) as shop:
            assert shop.ping()  # it has read what came before
        for _ in range(4):
            gate.wait_for("import").let_go()
        assert first.reply()["generation"] == 2
        replies = [other.reply() for other in others]
        assert [reply["generation"] for reply in replies] == [3, 3, 3]
        assert sorted(reply["joined"] for reply in replies) == [False, True, True]
        present: dict[int, str] = {1: "serving", 2: "serving"}
        for event in watch.events():
            if event["event"] != "worker":
                continue
            present[event["worker"]] = event["state"]
            assert sum(state in {"starting", "serving"} for state in present.values()) <= 3
            if (event["worker"], event["state"]) == (6, "serving"):
                break


def test_scale_goes_up_and_down_and_survives_a_reload(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Absolute and relative; each answer says how many serve now and how many did."""
    daemon = start(start_daemon, tmp_path)
    for asked, workers, was in (("3", 3, 1), ("-1", 2, 3), ("+2", 4, 2), ("2", 2, 4), ("2", 2, 2)):
        done = ctl("shop", "scale", asked)
        assert done.returncode == 0, done.stderr
        assert f"{workers} workers" in done.stdout
        assert (f"{was} before" if was != workers else "as before") in done.stdout
        assert len(ids(daemon)) == workers
    assert ctl("shop", "reload").returncode == 0
    assert len(ids(daemon)) == 2


@pytest.mark.parametrize(
    ("asked", "code"),
    [("0", 2), ("-1", 1), ("-5", 1), ("+5000", 1), ("5000", 1), ("x", 2), ("1.5", 2), ("", 2)],
)
def test_a_number_of_workers_that_cannot_be_is_refused(
    start_daemon: StartDaemon, tmp_path: Path, asked: str, code: int
) -> None:
    """With a sentence, and nothing is changed."""
    daemon = start(start_daemon, tmp_path)
    done = ctl("shop", "scale", asked)
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 4
    assert ids(daemon) == [1]


def test_more_workers_that_cannot_start_leave_all_as_it_was(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Also the number that is wanted."""
    daemon = start(start_daemon, tmp_path)
    (tmp_path / "imports-left").write_text("1")
    done = ctl("shop", "scale", "3")
    assert done.returncode == 1
    assert "the database is full" in done.stderr
    with Watch(daemon) as watch, client(daemon) as shop:
        status = shop.status()
        assert (status.wanted_workers, status.state) == (1, "running")
        while len(shop.workers()) > 1:
            watch.until_worker("gone")
    assert versions(daemon) == {"one"}


def test_one_worker_is_restarted_and_the_others_stay(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """New before old; one that there is not is refused, and named beside those that there are."""
    daemon = start(start_daemon, tmp_path, "--workers", "2")
    done = ctl("shop", "restart-worker", "1")
    assert done.returncode == 0
    assert "worker 3 in place of 1" in done.stdout
    assert ids(daemon) == [2, 3]
    done = ctl("shop", "restart-worker", "9")
    assert done.returncode == 1
    assert "there is no worker 9. The workers are 2, 3" in done.stderr


def test_signals_reload_and_scale(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """SIGHUP, SIGTTIN, SIGTTOU: what process managers know; what cannot be is said in the log, and so is what means nothing."""
    daemon = start(start_daemon, tmp_path)
    write(tmp_path, "two")
    with Watch(daemon) as watch:
        os.kill(daemon.pid, signal.SIGTTIN)
        assert watch.until_worker("serving")["why"] == "scale"
        os.kill(daemon.pid, signal.SIGTTOU)
        watch.until_worker("gone", worker=2)
        os.kill(daemon.pid, signal.SIGHUP)
        assert watch.until_worker("serving", worker=3)["why"] == "reload"
        watch.until_worker("gone", worker=1)
        assert versions(daemon) == {"two"}
        os.kill(daemon.pid, signal.SIGTTOU)
        os.kill(daemon.pid, signal.SIGUSR1)
        with client(daemon) as shop:
            assert shop.ping()
        assert ids(daemon) == [3]
    assert ctl("shop", "shutdown").returncode == 0
    assert "cannot run 0 workers (now: 1)" in daemon.output()
    assert "ignored SIGUSR1" in daemon.output()


def test_reload_without_waiting_returns_when_it_has_begun(
    start_daemon: StartDaemon, tmp_path: Path, gate_path: str
) -> None:
    """How it ended is seen in the events."""
    daemon = start(start_daemon, tmp_path)
    with Gate(gate_path) as gate, Watch(daemon) as watch:
        done = ctl("shop", "reload", "--no-wait")
        assert (done.returncode, ids(daemon)) == (0, [1])
        gate.wait_for("import").let_go()
        watch.until_worker("gone", worker=1)
    assert ids(daemon) == [2]


def test_a_reload_under_way_is_told_when_the_instance_stops(
    start_daemon: StartDaemon, tmp_path: Path, gate_path: str
) -> None:
    """A worker that does not serve yet is not waited for."""
    daemon = start(start_daemon, tmp_path)
    with Gate(gate_path), Watch(daemon, "reload", progress=True) as reload:
        reload.until_worker("starting")
        assert ctl("shop", "shutdown").returncode == 0
        assert "stopping" in reload.reply()["message"]


@pytest.mark.parametrize(
    "command", [["reload"], ["scale", "2"], ["restart-worker", "1"], ["workers"], ["incidents"]]
)
def test_a_server_in_a_process_of_its_own_making_has_no_workers(command: list[str]) -> None:
    """Exit 1, and the sentence says what has."""
    with Server(Flask("shop"), bind="127.0.0.1:0", name="shop"):
        done = ctl("shop", *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert "serves in one process" in done.stderr
    assert "flaskd run" in done.stderr


def ended(directory: Path, runtime_dir: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that is to end by itself."""
    return subprocess.run(
        flaskd_run("shop:app", Place(os.path.join(runtime_dir, "shop")), *args),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("workers", ["0", "-1", "x", "1.5", "1000", "2 3"])
def test_a_daemon_is_not_started_with_workers_that_cannot_be(
    tmp_path: Path, runtime_dir: str, workers: str
) -> None:
    """Exit 1, and the sentence says what can."""
    write(tmp_path, "one")
    done = ended(tmp_path, runtime_dir, f"--workers={workers}")
    assert done.returncode == 1
    assert done.stderr == (
        f"flaskd: --workers: workers cannot be {workers!r}: expected a number from 1 to 999, a range such as 2..8, or auto\n"
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_first_worker_that_cannot_start_leaves_nothing_behind(
    tmp_path: Path, runtime_dir: str, engine: str
) -> None:
    """Exit 1 with one sentence; the port, the place and all processes are given back."""
    (tmp_path / "shop.py").write_text(
        "import os, pathlib\n"
        "with open('pids', 'a') as file:\n    file.write(f'{os.getpid()} {os.getppid()}\\n')\n"
        "raise RuntimeError('the database is down')\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = ended(tmp_path, runtime_dir, "--workers", "2", "--engine", engine, "--bind", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr.startswith("flaskd: cannot load shop:app: RuntimeError: the database is down")
    assert len(done.stderr.splitlines()) == 1
    assert not os.path.exists(os.path.join(runtime_dir, "shop"))
    for pid in {int(word) for word in (tmp_path / "pids").read_text().split()}:
        assert not pathlib.Path(f"/proc/{pid}").exists()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_when_shutdown_returns_no_process_is_left(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Neither the daemon nor a worker of any generation."""
    daemon = start(start_daemon, tmp_path, "--workers", "3")
    assert ctl("shop", "reload").returncode == 0
    with all_gone(daemon.pid, *children(daemon.pid)):
        assert ctl("shop", "shutdown").returncode == 0
    assert daemon.wait() == 0
    assert sys.platform != "linux" or not os.path.exists(daemon.place.directory)
