"""The code that the workers of a real daemon have loaded, and what is on disk now."""

import os
import signal
import urllib.request
from pathlib import Path

import pytest

from flaskd import Server
from flaskd_ctl import Client
from flaskd_ctl.protocol import InfoResult
from tests.support import shop
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.operating import client, ctl

pytestmark = pytest.mark.live

COMMITS = {"41": "a" * 40, "42": "b" * 40}


@pytest.fixture
def current(tmp_path: Path) -> Path:
    """A link to the first of two releases."""
    for name, commit in COMMITS.items():
        release = tmp_path / "releases" / name
        (release / ".git").mkdir(parents=True)
        (release / ".git" / "HEAD").write_text(commit)
        (release / "shop.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    (tmp_path / "current").symlink_to("releases/41")
    return tmp_path / "current"


@pytest.fixture
def daemon(current: Path, start_daemon: StartDaemon) -> Daemon:
    return start_daemon("shop:app", "--workers", "2", cwd=current, environ={"PWD": str(current)})


def info(daemon: Daemon) -> InfoResult:
    with client(daemon) as running:
        return running.info()


def deploy(current: Path, release: str) -> None:
    new = current.with_name("new")
    new.symlink_to(f"releases/{release}")
    new.rename(current)


def test_a_newer_release_on_disk_is_seen_and_a_reload_loads_it(daemon: Daemon, current: Path) -> None:
    """What a worker has loaded is what it was then, not what the link names now."""
    (before,) = info(daemon).loaded
    assert (before.workers, before.newer) == ([1, 2], False)
    assert before.release.directory == str(current.parent / "releases" / "41")
    assert before.release.commit == COMMITS["41"]
    assert before.packages["flask"]
    assert before.changed == {}

    deploy(current, "42")

    told = info(daemon)
    (loaded,) = told.loaded
    assert (loaded.release.commit, loaded.newer) == (COMMITS["41"], True)
    assert told.on_disk is not None
    assert (told.on_disk.directory, told.on_disk.commit) == (
        str(current.parent / "releases" / "42"),
        COMMITS["42"],
    )
    assert "other code is on disk: `reload`" in ctl(daemon.name, "info").stdout
    assert ctl(daemon.name, "reload").returncode == 0
    while len((told := info(daemon)).loaded) > 1:
        pass  # an old worker still lingers; pytest's time limit ends it
    (after,) = told.loaded
    assert (after.workers, after.release.commit, after.newer) == ([3, 4], COMMITS["42"], False)


def test_workers_that_differ_are_told_apart(daemon: Daemon, current: Path) -> None:
    """As after a reload that failed half-way, or one worker that was replaced; the newest first."""
    deploy(current, "42")
    assert ctl(daemon.name, "restart-worker", "1").returncode == 0
    assert [(each.workers, each.release.commit, each.newer) for each in info(daemon).loaded] == [
        ([3], COMMITS["42"], False),
        ([2], COMMITS["41"], True),
    ]


def test_a_worker_that_cannot_reply_is_named(daemon: Daemon) -> None:
    """The others are described: exit code 7."""
    with client(daemon) as running:
        pid = running.workers()[0].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        told = ctl(daemon.name, "info")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert told.returncode == 7
    assert f"worker 1 (pid {pid}): did not reply within 5 s" in told.stdout
    assert "(worker 2)" in told.stdout


def test_a_server_in_a_program_knows_the_module_of_its_application(runtime_dir: str) -> None:
    """It has no workers and no other release on disk."""
    with Server(shop.app, bind="127.0.0.1:0", name="inside"), Client("inside") as inside:
        told = inside.info()
        (only,) = told.loaded
        assert (only.workers, only.newer) == ([0], False)
        assert only.release.directory == str(Path(shop.__file__).resolve().parents[2])
        assert told.on_disk is not None
        assert told.on_disk.directory == only.release.directory


def test_a_secret_argument_of_a_factory_is_shown_nowhere(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Anybody who reaches the health port reads /metrics, and each viewer the status."""
    (tmp_path / "made.py").write_text(
        "from flask import Flask\ndef create(size, token):\n    return Flask(f'{size}-{token}')\n"
    )
    target = "made:create(size=5, token='hunter2')"
    shown = "made:create(size=5, token=***)"

    daemon = start_daemon(target, "--workers", "1", "--health", "127.0.0.1:0")
    with client(daemon) as running:
        status, told = running.status(), running.info()
        config = {each.name: each.value for each in running.config().settings}
    with urllib.request.urlopen(f"http://{daemon.instance['health']}/metrics", timeout=PATIENCE) as response:
        page = response.read().decode()

    assert (status.app, told.app, config["app"], daemon.instance["app"]) == (shown,) * 4
    assert f'app="{shown}"' in page
    assert shown in daemon.output()
    assert "hunter2" not in daemon.output() + page + ctl(daemon.name, "logs").stdout
