"""Applications that replace functions of Python's."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.caller import Caller, call
from tests.support.daemons import PATIENCE, StartDaemon
from tests.support.operating import ctl

pytestmark = pytest.mark.live

LIBRARY: Final = "def patch_all(): raise RuntimeError('cannot release un-acquired lock')\n"

PLAIN: Final = "import flask\napp = flask.Flask(__name__)\n@app.get('/')\ndef index():\n    return 'front'\n"

PATCHED: Final = """
import os, queue, select, selectors, signal, socket, threading, time

def patched(*_, **__):
    raise RuntimeError("the application's own")

def replace():
    for module, names in {
        os: "read write close dup getpid writev",
        queue: "Queue SimpleQueue",
        select: "select poll epoll",
        selectors: "DefaultSelector EpollSelector",
        signal: "signal getsignal pthread_sigmask set_wakeup_fd alarm",
        socket: "socket socketpair create_connection fromfd",
        threading: "Thread Timer",
        time: "time monotonic sleep perf_counter",
    }.items():
        for name in names.split():
            setattr(module, name, patched)
"""


def flaskd(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `flaskd` to its end."""
    command = [sys.executable, "-m", "flaskd", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("how", ["gevent", "eventlet"])
def test_monkey_patching_is_refused_where_it_is_asked_for(
    start_daemon: StartDaemon, tmp_path: Path, how: str
) -> None:
    """With what to do; alike by `check`, `run` and `reload`. In a request it fails that request alone."""
    library, module, call_ = (
        ("gevent", "monkey", "patch_all") if how == "gevent" else ("eventlet", "patcher", "monkey_patch")
    )
    (tmp_path / library).mkdir()
    (tmp_path / library / "__init__.py").write_text("")
    (tmp_path / library / f"{module}.py").write_text(LIBRARY.replace("patch_all", call_))
    patch = f"from {library} import {module}; {module}.{call_}()"
    (tmp_path / "bad.py").write_text(f"\n{patch}\n{PLAIN}")
    said = f"{library}.{module}.{call_}() would replace the threads and sockets that flaskd serves with"
    said += f" ({tmp_path}/bad.py, line 2)"
    for command in (["check", "bad:app"], ["run", "bad:app", "--bind", "127.0.0.1:0"]):
        ended = flaskd(*command, cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert f"cannot load bad:app: {said}. Next: remove the call" in ended.stderr.splitlines()[-1]

    view = f"@app.get('/patch')\ndef patch():\n    {patch}\n    return 'patched'\n"
    (tmp_path / "shop.py").write_text(f"{PLAIN}{view}")
    daemon = start_daemon("shop:app", cwd=tmp_path)
    with Caller(daemon.url) as caller:
        assert caller.get("/patch").read().status == 500
    (tmp_path / "shop.py").write_text(f"\n{patch}\n{PLAIN}")
    reloaded = ctl("shop", "reload")
    assert reloaded.returncode == 1
    assert said.replace("bad.py", "shop.py") in reloaded.stderr
    assert call(daemon.url, "/") == "front"
    assert ctl("shop", "shutdown").returncode == 0
    assert daemon.wait() == 0
    assert f"({tmp_path}/shop.py, line 8)" in daemon.output()


@pytest.mark.parametrize("engine", ["waitress", "granian", "werkzeug"])
def test_what_the_application_replaces_is_not_what_flaskd_uses(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """It serves, drains, reloads and stops with the functions that were there before the application."""
    (tmp_path / "shop.py").write_text(f"{PATCHED}\n{PLAIN}\nreplace()\n")
    options = ("--engine", engine, "--access-log", "common", "--worker-timeout", "30")
    daemon = start_daemon("shop:app", *options, cwd=tmp_path)
    for _ in range(3):
        assert call(daemon.url, "/") == "front"
    assert ctl("shop", "reload").returncode == 0
    with Caller(daemon.url) as caller:
        assert caller.get("/").text() == "front"
        assert ctl("shop", "shutdown").returncode == 0
    assert daemon.wait() == 0
    assert "the application's own" not in daemon.output()
    assert "nothing lost" in daemon.output()
