"""The audit and the last stop of a real daemon: whoever asked, by whatever way, can be found afterwards (docs/audit.md)."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flaskd_ctl import Client
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.errors import WrongState
from pytest_flaskd.ready import NotServing
from tests.support.daemons import PATIENCE, Daemon, StartDaemon, flaskd_run
from tests.support.needs import requires
from tests.support.operating import Watch, client, ctl
from tests.support.someone import Someone

pytestmark = pytest.mark.live

APP = """
import os, subprocess, flask
app = flask.Flask(__name__)
def ask(what, **params):
    getattr(flask.current_app.extensions["flaskd"], what)(**params)
    return "asked"
@app.get("/ask")
def ask_twice():
    ask("shutdown", grace=-5)
    return ask("drain")
@app.get("/stop")
def stop():
    return ask("shutdown")
@app.get("/blocked")
def blocked():
    return subprocess.check_output(["grep", "-h", "SigBlk", "/proc/self/status", f"/proc/{os.getpid()}/status"])
@app.get("/held")
def held():
    with open("gate", "rb") as gate:
        gate.read()
    return "done"
"""


@pytest.fixture
def shop(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    (tmp_path / "shop.py").write_text(APP)
    return start_daemon("shop:app", cwd=tmp_path)


def get(daemon: Daemon, path: str) -> bytes:
    with urllib.request.urlopen(daemon.url + path, timeout=PATIENCE) as response:
        body: bytes = response.read()
    return body


def log_of(name: str = "shop") -> list[dict[str, Any]]:
    with open(
        os.path.join(os.environ["XDG_STATE_HOME"], "flaskd", f"{name}.audit.jsonl"), encoding="ascii"
    ) as file:
        return [json.loads(line) for line in file]


def stopped(name: str = "shop") -> dict[str, Any]:
    """Return what `status` tells of an instance that is gone."""
    told = ctl(name, "status", "--json")
    assert told.returncode == 3
    result: dict[str, Any] = json.loads(told.stdout)
    assert (result["name"], result["state"]) == (name, "stopped")
    stop: dict[str, Any] = result["last_stop"]
    return stop


def test_each_way_to_ask_is_written_down(shop: Daemon) -> None:
    """By the control socket, by signal and by the application, with who it was; and once each in the daemon's own log."""
    with Watch(shop) as watch:
        assert ctl("shop", "reload", "--check", "/nowhere?token=secret").returncode == 1
        os.kill(shop.pid, signal.SIGTTIN)
        watch.until_worker("serving")
        assert get(shop, "/ask") == b"asked"
        watch.until(lambda event: event.get("state") == "draining")
        assert ctl("shop", "resume").returncode == 0

    with client(shop) as instance:
        entries = instance.history()
    asked = [(entry.command, entry.by.via, entry.role, entry.outcome) for entry in entries]
    assert asked == [
        ("reload", "control", "admin", "failed"),
        ("scale", "signal", "", "done"),
        ("shutdown", "application", "", "refused"),
        ("drain", "application", "", "done"),
        ("resume", "control", "admin", "done"),
    ]
    reload, scale, refused, drain, _ = entries
    assert reload.params == {"check": "/nowhere?***"}
    assert reload.who.endswith("--name shop reload --check '/nowhere?***'")
    assert (scale.by.uid, scale.by.pid, scale.by.detail) == (os.getuid(), os.getpid(), "SIGTTIN")
    assert os.path.basename(sys.executable) in scale.who
    assert drain.by.pid != shop.pid
    assert "grace" in refused.error
    assert "secret" not in json.dumps(log_of())
    output = shop.output()
    for command in ("reload check=/nowhere?***", "scale by=1", "drain", "resume"):
        assert output.count(f"flaskd: {command} asked for by ") == 1
    assert ctl("shop", "history").stdout.count("\n") == 1 + 5 + 2  # the head, and why two were in vain


@requires("root")
def test_a_refusal_is_written_down(start_daemon: StartDaemon, runtime_dir: str, tmp_path: Path) -> None:
    """With who it was and what they lacked; a question is not."""
    (tmp_path / "shop.py").write_text(APP)
    for directory in (os.path.dirname(runtime_dir), runtime_dir):
        os.chmod(directory, 0o755)
    start_daemon("shop:app", "--viewers", "user:54321", cwd=tmp_path)
    viewer = Someone(54_321, 54_300)
    assert viewer.ctl("--name", "shop", "status").returncode == 0
    assert viewer.ctl("--name", "shop", "shutdown").returncode == 4

    (refused,) = log_of()

    assert (refused["command"], refused["outcome"], refused["role"]) == ("shutdown", "refused", "viewer")
    assert (refused["by"]["uid"], refused["by"]["gid"]) == (54_321, 54_300)
    assert "needs operator" in refused["error"]
    assert viewer.ctl("--name", "shop", "history").returncode == 4
    assert len(log_of()) == 1


def test_a_caller_that_leaves_does_not_take_the_outcome_along(shop: Daemon) -> None:
    """What is asked for with --no-wait is done all the same."""
    with Watch(shop) as watch:
        assert ctl("shop", "reload", "--no-wait").returncode == 0
        watch.until_worker("gone")

    begun, done = log_of()
    assert (begun["outcome"], done["outcome"]) == ("begun", "done")
    assert begun["id"] == done["id"]


def test_a_daemon_killed_in_the_middle_has_left_who_asked(shop: Daemon, tmp_path: Path) -> None:
    """The order stays "begun", and the next run knows that there was no end."""
    os.mkfifo(tmp_path / "gate")
    with socket.create_connection(shop.address) as held, Watch(shop) as watch:
        held.sendall(b"GET /held HTTP/1.1\r\nHost: shop\r\n\r\n")
        gate = os.open(tmp_path / "gate", os.O_WRONLY)  # returns when the request reads it
        assert ctl("shop", "shutdown", "--no-wait").returncode == 0
        watch.until(lambda event: event.get("state") == "stopping")
        shop.process.kill()
        assert shop.wait() == -signal.SIGKILL
        os.close(gate)

    (begun,) = log_of()
    assert (begun["command"], begun["outcome"]) == ("shutdown", "begun")
    assert "shutdown --no-wait" in begun["who"]
    stop = stopped()
    assert (stop["why"], stop["clean"], stop["pid"]) == ("ended without a note", False, shop.pid)
    assert "begun" in ctl("shop", "history").stdout


def test_the_next_run_tells_of_the_crash(shop: Daemon, start_daemon: StartDaemon, tmp_path: Path) -> None:
    """In `status` and in instance.json, also when the files of the dead one are in its way."""
    os.kill(shop.pid, signal.SIGKILL)
    shop.wait()

    again = start_daemon("shop:app", cwd=tmp_path)

    with client(again) as instance:
        last = instance.status().last_stop
    assert last
    assert (last.why, last.clean, last.at, last.pid) == ("ended without a note", False, None, shop.pid)
    assert again.instance["last_stop"]["why"] == "ended without a note"
    assert "last stop" in ctl("shop", "status").stdout


def test_a_signal_that_ended_it_tells_who_sent_it(
    shop: Daemon, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """sigwaitinfo(2) does; after the end, and in the next run."""
    os.kill(shop.pid, signal.SIGTERM)
    assert shop.wait() == 0

    stop = stopped()

    assert (stop["why"], stop["clean"]) == ("signal SIGTERM", True)
    assert (stop["by"]["uid"], stop["by"]["pid"]) == (os.getuid(), os.getpid())
    assert os.path.basename(sys.executable) in stop["who"]
    told = ctl("shop", "status")
    assert "clean, took" in told.stdout
    assert f": signal SIGTERM by uid {os.getuid()} (pid {os.getpid()}, " in told.stdout
    with client(start_daemon("shop:app", cwd=tmp_path)) as again:
        last = again.status().last_stop
    assert last
    assert (last.why, last.by and last.by.pid) == ("signal SIGTERM", os.getpid())


def test_what_the_supervisor_holds_is_not_held_from_the_application(shop: Daemon) -> None:
    """Signals that are blocked are inherited: a program that the application starts could not be ended any more."""
    assert [int(line.split()[1], 16) for line in get(shop, "/blocked").splitlines()] == [0, 0]
    with open(f"/proc/{shop.pid}/status", encoding="ascii") as status:
        held = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk:"))
    assert held & 1 << signal.SIGTERM - 1


@pytest.mark.parametrize(
    ("command", "why", "code"), [("shutdown", "shutdown command", 0), ("kill", "kill command", 137)]
)
def test_a_command_that_ended_it_tells_its_command_line(
    shop: Daemon, command: str, why: str, code: int
) -> None:
    """Though the process that asked has ended, too."""
    assert ctl("shop", command).returncode == 0
    assert shop.wait() == code

    stop = stopped()

    assert (stop["why"], stop["by"]["uid"]) == (why, os.getuid())
    assert stop["who"].endswith(f"--name shop {command}")
    last = log_of()[-1]
    assert (last["command"], last["outcome"]) == (command, "done")


def test_an_application_that_ended_it_is_told(shop: Daemon) -> None:
    assert get(shop, "/stop") == b"asked"
    assert shop.wait() == 0

    assert (stopped()["why"], stopped()["by"]["via"]) == ("application", "application")
    assert [(line["command"], line["outcome"]) for line in log_of()] == [
        ("shutdown", "begun"),
        ("shutdown", "done"),
    ]


def test_one_that_cannot_start_says_why_afterwards(start_daemon: StartDaemon, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import nothing_of_that_name")
    with pytest.raises(NotServing):
        start_daemon("shop:app", cwd=tmp_path)

    stop = stopped()

    assert stop["why"].startswith("could not start: ")
    assert "nothing_of_that_name" in stop["why"]
    assert stop["clean"] is False


def test_a_log_that_was_named_and_cannot_be_written_is_known_before_it_serves(
    runtime_dir: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    place = Place(os.path.join(runtime_dir, "shop"))
    ran = subprocess.run(
        flaskd_run("shop:app", place, "--audit-log", "/nowhere/log"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 1
    assert (
        "cannot write the audit log /nowhere/log: No such file or directory. Next: choose another"
        in ran.stderr
    )
    assert not os.path.exists(place.directory)


def test_without_a_log_orders_are_said_and_not_kept(start_daemon: StartDaemon, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--audit-log", "off", cwd=tmp_path)
    with Client("shop") as instance:
        instance.drain()
        with pytest.raises(WrongState, match="no audit log is kept"):
            instance.history()

    assert daemon.output().count("flaskd: drain asked for by uid") == 1
    assert not [name for name in os.listdir(Path(os.environ["XDG_STATE_HOME"], "flaskd")) if "audit" in name]
