"""`post_load` and `pre_stop` in the workers of a real daemon: when they are called, and what their failures do."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from flaskd_ctl.errors import Failed
from pytest_flaskd.ready import NotServing
from tests.support.caller import Caller, call
from tests.support.daemons import PATIENCE, StartDaemon
from tests.support.operating import client

pytestmark = pytest.mark.live

APP: Final = """
import threading, time, flask
app = flask.Flask("shop")
begun, go_on = threading.Event(), threading.Event()

def say(what):
    print(what, threading.current_thread() is threading.main_thread(), flush=True)

@app.get("/")
def index():
    return "hello"
@app.get("/checked")
def checked():
    say("checked")
    return "fine"
@app.get("/wait")
def wait():
    begun.set()
    go_on.wait(20)
    time.sleep(0.2)
    say("answered")
    return "waited"
@app.get("/begun")
def has_begun():
    begun.wait(20)
    go_on.set()
    return "begun"

def loaded(app):
    say(f"loaded {app.name}")
def stopping(app):
    say(f"stopping {app.name}")
def failing(app):
    raise ValueError("no database")
def slow(app):
    time.sleep(60)
"""


def test_hooks_are_called_with_the_application_before_it_serves_and_after_its_last_response(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """`post_load` before the check, too; `pre_stop` though a request was in flight; both on the main thread."""
    (tmp_path / "shop.py").write_text(APP)
    hooks = ["--post-load", "shop:loaded", "--pre-stop", "shop:stopping"]
    daemon = start_daemon("shop:app", *hooks, "--check", "/checked", cwd=tmp_path)
    with Caller(daemon.url) as caller, client(daemon) as shop:
        caller.get("/wait")
        assert call(daemon.url, "/begun") == "begun"
        assert shop.shutdown().clean
        assert caller.text() == "waited"
    assert daemon.wait() == 0
    said = [line.partition(" [1] ")[2] for line in daemon.output().splitlines() if " [1] " in line]
    assert said == ["loaded shop True", "checked True", "answered False", "stopping shop True"]


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("nowhere:to", "cannot load post_load nowhere:to: there is no module 'nowhere'"),
        ("shop:nothing", "cannot load post_load shop:nothing: shop has no attribute 'nothing'"),
        ("shop:begun", "cannot load post_load shop:begun: it is of type Event, not a function"),
        ("shop:failing", "post_load failed: ValueError: no database"),
        ("shop:slow", "post_load did not end within 0.5 s (--hook-timeout)"),
        ("shop", "--post-load: post_load cannot be 'shop': expected module:function"),
    ],
)
def test_a_worker_whose_post_load_fails_does_not_serve(
    start_daemon: StartDaemon, tmp_path: Path, hook: str, said: str
) -> None:
    """The daemon says why, and ends with 1."""
    (tmp_path / "shop.py").write_text(APP)
    with pytest.raises(NotServing, match="ended with exit code 1") as caught:
        start_daemon("shop:app", "--post-load", hook, "--hook-timeout", "0.5", cwd=tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("shop:failing", "pre_stop failed: ValueError: no database"),
        ("shop:slow", "pre_stop did not end within 0.5 s (--hook-timeout)"),
    ],
)
def test_a_pre_stop_that_fails_keeps_nobody(
    start_daemon: StartDaemon, tmp_path: Path, hook: str, said: str
) -> None:
    """The stop is clean, and the log has what went wrong, with where."""
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--pre-stop", hook, "--hook-timeout", "0.5", cwd=tmp_path)
    with client(daemon) as shop:
        assert shop.shutdown().clean
    assert daemon.wait() == 0
    assert said in daemon.output()
    assert f"in {hook.partition(':')[2]}" in daemon.output()


def test_a_reload_whose_post_load_fails_changes_nothing(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """The old worker serves on, and who asked gets the traceback."""
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--post-load", "shop:loaded", cwd=tmp_path)
    (tmp_path / "shop.py").write_text(APP.replace("def loaded(app):", "def loaded(app):\n    1 / 0"))
    with client(daemon) as shop:
        with pytest.raises(Failed, match="post_load failed: ZeroDivisionError") as caught:
            shop.reload()
        assert "1 / 0" in caught.value.data["traceback"]
        assert [worker.id for worker in shop.status().workers] == [1]
    assert call(daemon.url, "/") == "hello"


def test_check_says_what_is_wrong_with_a_hook_and_calls_none(tmp_path: Path) -> None:
    """Before anything is started."""
    (tmp_path / "shop.py").write_text(APP)
    command = [
        sys.executable,
        "-m",
        "flaskd",
        "check",
        "shop:app",
        "--post-load",
        "shop:failing",
        "--pre-stop",
    ]
    for hook, code, said in (
        ("shop:stopping", 0, ""),
        ("shop:absent", 1, "shop has no attribute 'absent'"),
    ):
        done = subprocess.run(
            [*command, hook], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == code
        assert said in done.stderr
