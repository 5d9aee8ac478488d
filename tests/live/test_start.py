"""`flaskd start` and `flaskd_ctl restart`, with real processes: they are found, asked and stopped as any other."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.process_record import identify, is_alive
from tests.support.caller import Caller
from tests.support.daemons import PATIENCE, StartDaemon
from tests.support.gate import Gate
from tests.support.operating import ctl
from tests.support.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.live

GATED: Final = Path(__file__).parents[1] / "support" / "gated.py"

APP: Final = """
import os, flask
app = flask.Flask(__name__)
@app.get("/")
def index():
    print("asked", flush=True)
    return os.environ.get("SHOP_COLOUR", "none")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@pytest.fixture(autouse=True)
def all_ended(runtime_dir: str) -> Iterator[None]:
    """Kill what a failed test has left, by the pid in the record that it writes itself."""
    yield
    for path in state().glob("*.run"):
        record = json.loads(path.read_text())
        if is_alive(record):
            os.kill(record["pid"], signal.SIGKILL)


def state() -> Path:
    return Path(os.environ["XDG_STATE_HOME"], "flaskd")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "flaskd", "start", *words]


def start(
    project: Path, *words: str, target: str = "shop:app", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run `flaskd start` at a free port to its end."""
    return subprocess.run(
        command(target, "--bind", "127.0.0.1:0", *words),
        cwd=project,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE + 30,
        check=False,
    )


def instance(name: str = "shop") -> dict[str, Any]:
    """Return what instance.json says."""
    place = Place(os.path.join(os.environ["FLASKD_RUNTIME_DIR"], name))
    facts: dict[str, Any] = json.loads(Path(place.instance_file).read_text())
    return facts


def ask(name: str = "shop") -> str:
    """Call the application."""
    (url,) = instance(name)["listeners"]
    with Caller(url) as caller:
        return caller.get("/").text()


def fields(pid: object) -> list[str]:
    """Return what /proc says of a process from its state on (proc_pid_stat(5)): ppid, group, session, terminal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def test_it_returns_when_it_serves_and_is_found_later(project: Path) -> None:
    """By `list`, `logs` and `shutdown`; its output says how."""
    started = start(project, "--threads", "3", SHOP_COLOUR="red")
    assert started.returncode == 0
    # A busy machine takes its time.
    assert all("is still starting after 2 s" in line for line in started.stderr.splitlines())
    pid, url = instance()["pid"], instance()["listeners"][0]
    assert started.stdout.splitlines() == [
        f"shop serves {url}, pid {pid}",
        f"  log      {state()}/shop.log",
        "  ask      flaskd_ctl --name shop status",
        "  stop     flaskd_ctl --name shop shutdown",
        "  restart  flaskd_ctl --name shop restart",
    ]
    assert ask() == "red"
    status = json.loads(ctl("shop", "status", "--json").stdout)
    assert (status["threads"], status["restart_command"]) == (3, "flaskd_ctl --name shop restart")
    assert "shop" in ctl("shop", "list").stdout
    assert "asked" in ctl("shop", "logs").stdout
    assert "asked" in (state() / "shop.log").read_text()
    assert ctl("shop", "shutdown").returncode == 0
    assert ctl("shop", "status").returncode == 3
    assert f"Its log is {state()}/shop.log." in ctl("shop", "logs").stderr


def test_it_has_no_terminal_and_cannot_get_one(project: Path) -> None:
    """It is in a session that it does not lead, is nobody's child, and reads nothing (setsid(2))."""
    with Terminal(command("shop:app", "--bind", "127.0.0.1:0"), cwd=project) as terminal:
        assert terminal.wait() == 0
        shown = terminal.text()
    assert "shop serves http://127.0.0.1:" in shown
    pid = instance()["pid"]
    _, parent, _, session, its_terminal, *_ = fields(pid)
    assert its_terminal == "0"
    assert int(session) not in {pid, os.getsid(0)}
    assert int(parent) not in {os.getpid(), terminal.process.pid}
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    for number in (1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == str(state() / "shop.log")
    assert ask() == "none"  # the terminal is closed by now
    assert ctl("shop", "shutdown").returncode == 0


def test_one_that_cannot_serve_is_told_with_the_end_of_its_log(project: Path) -> None:
    """And with the exit code of `flaskd run`. Earlier lines of the log are not shown."""
    (project / "bad.py").write_text("1 / 0\n")
    state().mkdir(parents=True)
    (state() / "bad.log").write_text("an old line\n")
    failed = start(project, target="bad:app")
    assert (failed.returncode, failed.stdout) == (1, "")
    *_, first, last = failed.stderr.splitlines()
    assert "flaskd: cannot load bad:app: ZeroDivisionError" in first
    assert "`flaskd check bad:app --traceback`" in first
    assert last == f"flaskd: bad did not start: exit code 1. Next: see {state()}/bad.log"
    assert "an old line" not in failed.stderr
    assert sorted(each.name for each in state().iterdir()) == ["bad.json", "bad.log"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--threads", "0"), 1, "--threads: threads cannot be '0'"),
        (("--port", "80"), 2, "Next: use --bind 127.0.0.1:8000"),
        (("--dev",), 1, "flaskd start has no terminal, which --dev needs"),
        (("--no-control",), 1, "flaskd start needs the control socket"),
        (("--log-file", "/nowhere/shop.log"), 1, "cannot write the log file /nowhere/shop.log"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_started(
    project: Path, words: tuple[str, ...], code: int, said: str, runtime_dir: str
) -> None:
    """In the words of `flaskd run`."""
    failed = start(project, *words)
    assert (failed.returncode, failed.stdout) == (code, "")
    assert said in failed.stderr
    assert os.listdir(runtime_dir) == []
    assert not (state() / "shop.log").exists()


def test_a_state_directory_that_cannot_be_written_to_is_said(project: Path) -> None:
    """There would be no log."""
    blocked = project / "blocked"
    blocked.write_text("")
    failed = start(project, XDG_STATE_HOME=str(blocked))
    assert failed.returncode == 1
    assert "cannot write to the state directory" in failed.stderr
    assert "set XDG_STATE_HOME to a directory that you may write to" in failed.stderr


def test_it_starts_with_closed_streams(project: Path) -> None:
    """As some programs start others; the log is where it should be."""
    words = " ".join(command("shop:app", "--bind", "127.0.0.1:0"))
    closed = subprocess.run(
        ["sh", "-c", f"exec {words} <&- >&- 2>&-"], cwd=project, timeout=PATIENCE, check=False
    )
    assert closed.returncode == 0
    assert "asked" not in (state() / "shop.log").read_text()
    assert ask() == "none"
    assert "asked" in ctl("shop", "logs").stdout
    assert ctl("shop", "shutdown").returncode == 0


def test_a_second_one_of_the_name_is_refused_and_writes_nothing_into_the_log(
    project: Path, start_daemon: StartDaemon
) -> None:
    """One that was started, and one that runs in a terminal."""
    assert start(project).returncode == 0
    before = (state() / "shop.log").read_text()
    second = start(project)
    assert second.returncode == 1
    assert (
        f"an instance called shop is already running in {os.environ['FLASKD_RUNTIME_DIR']}" in second.stderr
    )
    assert (state() / "shop.log").read_text() == before
    assert ask() == "none"
    assert ctl("shop", "shutdown").returncode == 0
    start_daemon("shop:app", name="other", cwd=project)
    assert "an instance called other is already running" in start(project, "--name", "other").stderr


def test_of_two_starts_at_once_one_is_refused(project: Path, runtime_dir: str) -> None:
    """While the first loads; what it says is its own."""
    (project / "gated.py").write_text(GATED.read_text())
    (project / "slow.py").write_text("from gated import app, hold\nhold('import')\n")
    with Gate(os.path.join(runtime_dir, "gate")) as gate:
        environ = {**os.environ, "GATE": gate.path}
        first = subprocess.Popen(
            command("slow:app", "--bind", "127.0.0.1:0"),
            cwd=project,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        loading = gate.wait_for("import")
        second = start(project, target="slow:app", GATE=gate.path)
        assert second.returncode == 1
        assert "slow is being started by another `flaskd start`" in second.stderr
        loading.let_go()
        out, _ = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0
    assert out.startswith("slow serves ")
    assert ctl("slow", "shutdown").returncode == 0


def test_ctrl_c_during_the_start_stops_what_was_started(project: Path, runtime_dir: str) -> None:
    """Nothing stays behind that nobody has been told of."""
    (project / "gated.py").write_text(GATED.read_text())
    (project / "slow.py").write_text("from gated import app, hold\nhold('import')\n")
    with Gate(os.path.join(runtime_dir, "gate")) as gate:
        words = command("slow:app", "--bind", "127.0.0.1:0")
        with Terminal(words, cwd=project, environ={"GATE": gate.path}) as terminal:
            gate.wait_for("import")
            terminal.wait_for(f"flaskd: slow is still starting after 2 s; its log: {state()}/slow.log\n")
            terminal.type(CTRL_C)
            assert terminal.wait() == 130
            assert "the start of slow was interrupted" in terminal.text()
    assert ctl("slow", "status").returncode == 3
    assert list(state().glob("*.run")) == []


def test_its_log_is_rotated_and_the_access_log_too(project: Path) -> None:
    """By size: what nobody looks after must not fill the disk."""
    started = start(project, "--log-max-size", "2000", "--access-log", "common")
    assert started.returncode == 0, started.stderr
    for _ in range(60):
        ask()
    assert ctl("shop", "shutdown").returncode == 0
    for name in ("shop.log", "shop.access.log"):
        assert (state() / name).stat().st_size < 2000
        assert (state() / f"{name}.1").stat().st_size >= 2000
    assert not (state() / "shop.log.2").exists()


def test_the_application_may_stand_behind_the_end_of_the_options(project: Path) -> None:
    """`--`, as in any command line; a restart gives it again."""
    started = start(project, "--", "shop:app", target="--threads=2")
    assert started.returncode == 0, started.stderr
    restarted = ctl("shop", "restart")
    assert restarted.returncode == 0, restarted.stderr


def test_a_log_that_shall_not_be_rotated_is_not(project: Path) -> None:
    """0 is a size that somebody has chosen, on the command line or in a file."""
    (project / "flaskd.toml").write_text('log_max_size = "0"\n')
    assert start(project).returncode == 0
    settings = json.loads(ctl("shop", "config", "--json").stdout)["settings"]
    assert [each["value"] for each in settings if each["name"] == "log_max_size"] == ["0"]


def test_a_restart_does_what_the_start_did(project: Path) -> None:
    """With its options, directory, environment and umask; the caller's are others."""
    assert start(project, "--threads", "3", SHOP_COLOUR="red").returncode == 0
    record = state() / "shop.start"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    before = instance()
    (project / "shop.py").write_text(APP.replace('"none"', '"new"').replace("SHOP_COLOUR", "SHOP_COLOR"))

    restarted = ctl("shop", "restart")

    assert restarted.returncode == 0, restarted.stderr
    assert "shop: stopped in " in restarted.stderr
    after = instance()
    assert restarted.stdout.startswith(f"shop serves {after['listeners'][0]}, pid {after['pid']}\n")
    assert before["pid"] != after["pid"]
    assert json.loads(ctl("shop", "status", "--json").stdout)["threads"] == 3
    assert Path(f"/proc/{after['pid']}/environ").read_bytes().count(b"SHOP_COLOUR=red\0") == 1
    assert os.readlink(f"/proc/{after['pid']}/cwd") == str(project)
    assert ask() == "new"


def test_a_restart_starts_one_that_has_stopped_or_was_killed(project: Path) -> None:
    """Tomorrow, or after a crash; until it is forgotten."""
    assert start(project, SHOP_COLOUR="red").returncode == 0
    assert ctl("shop", "shutdown").returncode == 0
    assert ctl("shop", "restart").returncode == 0
    assert ask() == "red"
    pid = instance()["pid"]
    died = identify(pid)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while is_alive(died):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert ctl("shop", "restart").returncode == 0
    assert ask() == "red"
    assert ctl("shop", "shutdown").returncode == 0
    unnamed = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "flaskd_ctl"), "restart"],
        capture_output=True,
        text=True,
        timeout=PATIENCE + 30,
        check=False,
    )
    assert unnamed.returncode == 3
    assert "To start shop again: flaskd_ctl --name shop restart." in unnamed.stderr
    assert ctl("shop", "forget", "shop").returncode == 0
    assert ctl("shop", "restart").returncode == 3
    assert (state() / "shop.log").exists()


def test_a_restart_that_fails_may_be_tried_again(project: Path) -> None:
    """Somebody else had the port, say; the record is of the last start that succeeded."""
    assert start(project, SHOP_COLOUR="red").returncode == 0
    assert ctl("shop", "shutdown").returncode == 0
    (project / "shop.py").write_text("1 / 0\n")
    failed = ctl("shop", "restart")
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stderr
    assert (
        f"shop has stopped and could not be started again: exit code 1. See {state()}/shop.log."
        in failed.stderr
    )
    (project / "shop.py").write_text(APP)
    assert ctl("shop", "restart").returncode == 0
    assert ask() == "red"


def test_what_ran_last_in_another_way_is_not_started(project: Path, start_daemon: StartDaemon) -> None:
    """By systemd, say, since the day it was tried with `flaskd start`."""
    assert start(project).returncode == 0
    assert ctl("shop", "shutdown").returncode == 0
    daemon = start_daemon("shop:app", cwd=project)
    assert ctl("shop", "shutdown").returncode == 0
    assert daemon.wait() == 0
    assert ctl("shop", "restart").returncode == 3


def test_code_that_cannot_be_loaded_is_not_restarted_into(project: Path) -> None:
    """What serves goes on, as with a reload."""
    assert start(project).returncode == 0
    pid = instance()["pid"]
    (project / "shop.py").write_text("1 / 0\n")
    failed = ctl("shop", "restart")
    assert failed.returncode == 1
    assert (
        "shop is not restarted, because it could not start: cannot load shop:app: ZeroDivisionError"
        in failed.stderr
    )
    assert "Traceback (most recent call last):" in failed.stderr
    assert instance()["pid"] == pid
    assert ask() == "none"


def test_what_flaskd_start_has_not_started_is_not_restarted(project: Path, start_daemon: StartDaemon) -> None:
    """Only its terminal or its service manager can; it is said how, and nothing happens."""
    daemon = start_daemon("shop:app", cwd=project)
    refused = ctl("shop", "restart")
    assert refused.returncode == 1
    assert "shop was not started by `flaskd start`" in refused.stderr
    assert "`flaskd_ctl --name shop reload`" in refused.stderr
    managed = start_daemon("shop:app", name="managed", cwd=project, environ={"INVOCATION_ID": "1" * 32})
    refused = ctl("managed", "restart")
    assert refused.returncode == 1
    assert "systemd runs managed. Use `systemctl restart " in refused.stderr
    assert daemon.process.poll() is managed.process.poll() is None


def test_a_record_that_others_can_write_is_not_run(project: Path) -> None:
    """What it says is run with the caller's rights."""
    assert start(project).returncode == 0
    pid = instance()["pid"]
    (state() / "shop.start").chmod(0o620)
    refused = ctl("shop", "restart")
    assert refused.returncode == 4
    assert "or the record of its start is gone" in refused.stderr
    assert instance()["pid"] == pid
