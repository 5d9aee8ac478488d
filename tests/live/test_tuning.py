"""Settings and levels of loggers change in the workers of a real daemon, in those that come later, and back."""

import json
import os
import signal
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flaskd_ctl.errors import InvalidParams, NotFound, WrongState
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.operating import Watch, client, ctl

pytestmark = pytest.mark.live

APP = """
import logging, threading
from flask import Flask

app = Flask(__name__)
logging.getLogger("shop.db").setLevel("ERROR")
both = threading.Barrier(2)

@app.get("/level")
def level():
    return logging.getLevelName(logging.getLogger("shop.db").level)

@app.get("/root")
def root():
    return logging.getLevelName(logging.getLogger().level)

@app.get("/pair")
def pair():
    both.wait(20)
    return "two at a time"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "flaskd.toml").write_text("grace = 20\nthreads = 1\n")
    return tmp_path


@pytest.fixture
def daemon(project: Path, start_daemon: StartDaemon) -> Daemon:
    return start_daemon("shop:app", "--engine", "waitress")


def get(daemon: Daemon, path: str) -> str:
    with urllib.request.urlopen(daemon.url + path, timeout=PATIENCE) as response:
        return str(response.read().decode())


def pair(daemon: Daemon) -> list[str]:
    """Make two requests that are answered only if both are in the application at a time."""
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(daemon, "/pair")), daemon=True) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return answers


def shown(daemon: Daemon) -> dict[str, Any]:
    with client(daemon) as running:
        return {each.name: each for each in running.config().settings}


def replaced(daemon: Daemon, how: Callable[[int], None]) -> None:
    """End the worker, and wait until another serves."""
    with client(daemon) as running, Watch(daemon) as watch:
        (worker,) = running.workers()
        how(worker.pid)
        watch.until_worker("serving")


def test_a_value_holds_in_the_workers_that_there_are_and_in_those_that_come(daemon: Daemon) -> None:
    """After a crash, and after a reload, until it is unset."""
    with client(daemon) as running:
        told = running.set("threads", "2")
        assert [each.error for each in told.workers] == [""]
        assert pair(daemon) == ["two at a time"] * 2

        replaced(daemon, lambda pid: os.kill(pid, signal.SIGKILL))
        assert pair(daemon) == ["two at a time"] * 2

        assert running.reload().overridden == []
        assert pair(daemon) == ["two at a time"] * 2
        assert running.status().threads == 2

        running.unset("threads")
        assert running.status().threads == 1


def test_a_worker_that_loads_while_something_is_set_uses_it(daemon: Daemon, project: Path) -> None:
    """It was started with the value before."""
    gate = project / "gate"
    os.mkfifo(gate)
    (project / "shop.py").write_text(f"open({str(gate)!r}).read()\n{APP}")
    with client(daemon) as running, Watch(daemon) as watch:
        restarting = threading.Thread(target=lambda: ctl(daemon.name, "restart-worker", "1"), daemon=True)
        restarting.start()
        watch.until_worker("starting")
        with open(gate, "w"):  # it loads
            assert [each.worker for each in running.set("threads", 2).workers] == [1]
            running.log_level("DEBUG")
        restarting.join(PATIENCE)
        watch.until_worker("gone", worker=1)
        assert pair(daemon) == ["two at a time"] * 2
        assert get(daemon, "/root") == "DEBUG"


def test_limits_of_workers_hold_at_once(daemon: Daemon) -> None:
    """No check was planned before; the same limit taken away replaces nobody."""
    with client(daemon) as running, Watch(daemon) as watch:
        running.set("max_worker_age", "0.2")
        assert watch.until_worker("starting")["why"] == "max age"
        running.unset("max_worker_age")
        watch.until_worker("gone", worker=1)


def test_a_stop_takes_the_grace_period_that_was_set(daemon: Daemon) -> None:
    """In the supervisor and in its worker."""

    def call() -> None:
        with pytest.raises(OSError):  # noqa: PT011 - reset, or closed: as the kernel has it
            get(daemon, "/pair")

    caller = threading.Thread(target=call, daemon=True)
    with client(daemon) as running:
        caller.start()
        while not running.requests():
            pass
        running.set("grace", "0.2")
        told = running.shutdown()
    assert told is not None
    assert (told.grace, [each.path for each in told.cut]) == (0.2, ["/pair"])
    caller.join(PATIENCE)


def test_a_reload_says_which_changes_have_no_effect(daemon: Daemon, project: Path) -> None:
    """What was set stays; `config` says it before the reload, and what is unset then takes it."""
    with client(daemon) as running:
        running.set("grace", 60)
        (project / "flaskd.toml").write_text("\nthreads = 1\ngrace = 25\nlinger = 1\n")
        before = shown(daemon)
        assert (before["grace"].source, before["grace"].now, before["grace"].takes) == (
            "set",
            25.0,
            "unset and reload",
        )
        assert (before["linger"].now, before["linger"].now_source) == (1.0, "flaskd.toml, line 4")

        told = running.reload()

        assert (told.changed, told.overridden) == (["linger"], ["grace"])
        assert shown(daemon)["grace"].takes == "unset"
        assert running.unset("grace").value == 25.0
        assert shown(daemon)["grace"].source == "flaskd.toml, line 3"


def test_a_failed_reload_keeps_what_was_set(daemon: Daemon, project: Path) -> None:
    """And goes back to the settings before in what was not."""
    with client(daemon) as running:
        running.set("grace", 60)
        (project / "flaskd.toml").write_text("grace = 25\nlinger = 1\nthreads = 1\n")
        (project / "shop.py").write_text("raise RuntimeError('no database')\n")
        assert ctl(daemon.name, "reload").returncode == 1
        assert shown(daemon)["grace"].value == 60.0
        assert (shown(daemon)["linger"].value, shown(daemon)["linger"].takes) == (0.5, "reload")
        assert running.unset("grace").value == 20.0


@pytest.mark.parametrize("content", ["grace = [", "grace = 'x'", "unknown = 1"])
def test_files_that_cannot_be_read_now_are_told_and_what_runs_is_shown(
    daemon: Daemon, project: Path, content: str
) -> None:
    (project / "flaskd.toml").write_text(content)
    with client(daemon) as running:
        told = running.config()
    assert "flaskd.toml" in told.files_error
    assert next(each.value for each in told.settings if each.name == "grace") == 20.0
    assert f"cannot tell what a reload would change: {told.files_error}" in ctl(daemon.name, "config").stdout


def test_a_value_reverts_by_itself_and_the_audit_log_says_so(daemon: Daemon) -> None:
    """With the old and the new value of each change."""
    assert ctl(daemon.name, "set", "grace", "60", "--for", "0.2").returncode == 0
    with client(daemon) as running:
        while (history := running.history())[-1].command != "unset":
            pass
    first, second = history[-2:]
    assert (first.params, first.outcome) == (
        {"setting": "grace", "value": "60", "for": 0.2, "was": 20.0},
        "done",
    )
    assert (second.params, second.outcome) == ({"setting": "grace", "value": 20.0, "was": 60.0}, "done")
    assert "itself after 0.2 s" in ctl(daemon.name, "history").stdout
    assert shown(daemon)["grace"].value == 20.0


def test_a_worker_that_does_not_reply_is_told_and_uses_it_when_it_goes_on(daemon: Daemon) -> None:
    """Exit code 7: the supervisor uses it, and so do workers that come."""
    with client(daemon) as running:
        (worker,) = running.workers()
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            done = ctl(daemon.name, "set", "threads", "2")
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert done.returncode == 7
        assert f"worker 1 (pid {worker.pid}): did not reply within 5 s" in done.stdout
        assert pair(daemon) == ["two at a time"] * 2


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("set", "grace", "soon"), 2, "grace cannot be 'soon'"),
        (("set", "grase", "1"), 1, "there is no setting 'grase'. Similar: grace"),
        (("set", "bind", "x"), 1, "bind cannot change while it runs: it takes a restart"),
        (("set", "threads", "3"), 2, "threads cannot be 3 in a worker that was started with 1: at most 2"),
        (("set", "grace", "5", "--for", "0"), 2, ""),
        (("set", "grace"), 2, "Missing argument"),
        (("log-level", "LOUD"), 2, "there is no level 'LOUD'"),
        (("log-level", "shop.bd", "DEBUG"), 1, "there is no logger 'shop.bd' in any worker"),
        (("log-level", "DEBUG", "--worker", "9"), 1, "there is no worker 9"),
        (("log-level", "a", "b", "c"), 2, "only a level"),
    ],
)
def test_bad_input_is_a_sentence_and_changes_nothing(
    args: tuple[str, ...], code: int, said: str, daemon: Daemon
) -> None:
    """With its exit code."""
    before = shown(daemon)
    done = ctl(daemon.name, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert shown(daemon) == before


def test_a_level_holds_in_all_workers_and_in_those_that_come_later(daemon: Daemon) -> None:
    """Until it is given back; the application's own configuration of it is done before."""
    with client(daemon) as running:
        assert get(daemon, "/level") == "ERROR"
        running.log_level("debug", "shop.db")
        assert get(daemon, "/level") == "DEBUG"
        replaced(daemon, lambda pid: os.kill(pid, signal.SIGKILL))
        assert get(daemon, "/level") == "DEBUG"
        running.scale(2)
        (listed,) = [each for each in running.log_levels().levels if each.logger == "shop.db"]
        assert (listed.level, listed.source, len(listed.workers)) == ("DEBUG", "set", 2)

        told = running.log_level("default", "shop.db")

        assert (told.was, [each.error for each in told.workers]) == ("DEBUG", ["", ""])
        assert get(daemon, "/level") == "ERROR"


def test_a_level_in_one_worker_is_that_workers_only(daemon: Daemon) -> None:
    """The next worker does not have it."""
    with client(daemon) as running:
        running.log_level("INFO", "shop.db", worker=1)
        assert get(daemon, "/level") == "INFO"
        running.restart_worker(1)
        assert get(daemon, "/level") == "ERROR"


def test_a_level_reverts_by_itself(daemon: Daemon) -> None:
    """In the worker, too."""
    with client(daemon) as running:
        running.log_level("INFO", "shop.db", for_=0.2)
        while running.history()[-1].params.get("level") != "default":
            pass
        while get(daemon, "/level") != "ERROR":
            pass


def test_the_commands_show_what_they_did(daemon: Daemon) -> None:
    """For people, and as JSON."""
    assert ctl(daemon.name, "set", "grace", "60").stdout == "grace is 60; it was 20 (flaskd.toml, line 1)\n"
    assert ctl(daemon.name, "unset", "grace").stdout == (
        "grace is 20 (flaskd.toml, line 1); it was 60 (set)\n"
    )
    assert ctl(daemon.name, "log-level", "shop.db", "INFO").stdout == "shop.db has the level INFO\n"
    levels = ctl(daemon.name, "log-level").stdout.splitlines()
    assert [line.split() for line in levels][::2] == [
        ["LOGGER", "LEVEL", "FROM", "WORKERS"],
        ["shop.db", "INFO", "set", "1"],
    ]
    rows = [line.split() for line in ctl(daemon.name, "config").stdout.splitlines()]
    assert ["threads", "1", "flaskd.toml,", "line", "2", "set"] in rows
    assert json.loads(ctl(daemon.name, "config", "--json").stdout)["files_error"] == ""


def test_settings_are_completed_from_those_that_the_instance_can_change(
    daemon: Daemon, runtime_dir: str
) -> None:
    """With granian fewer than with waitress."""
    from click.shell_completion import ShellComplete

    from flaskd_ctl.cli.main import group

    complete = ShellComplete(group(), {}, "flaskd_ctl", "_FLASKD_CTL_COMPLETE")
    words = [each.value for each in complete.get_completions(["--name", daemon.name, "set"], "gr")]
    assert words == ["grace"]
    assert not complete.get_completions(["--name", daemon.name, "set"], "bin")


def test_errors_are_those_of_the_client(daemon: Daemon) -> None:
    """A program tells them apart."""
    with client(daemon) as running:
        with pytest.raises(NotFound):
            running.set("grase", 1)
        with pytest.raises(InvalidParams):
            running.set("grace", "soon")
        with pytest.raises(WrongState):
            running.set("bind", "x")
        with pytest.raises(NotFound):
            running.log_level("DEBUG", "nowhere")
