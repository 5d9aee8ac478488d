"""Processes that the application forks or starts: signals end them, and what was forked does not outlive its worker."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.caller import call
from tests.support.daemons import StartDaemon
from tests.support.operating import all_gone, children, ctl

pytestmark = pytest.mark.live

APP = """
import multiprocessing, os, signal, subprocess, time, flask
app = flask.Flask(__name__)

@app.get("/terminate")
def terminate():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
    child.start()
    child.terminate()
    child.join(10)
    code = child.exitcode
    child.kill()
    return str(code)

@app.get("/pool")
def pool():
    for _ in range(5):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map(abs, [1, -2])
    return str(found)

@app.get("/leave")
def leave():
    started = []
    for method in ("fork", "spawn", "forkserver"):
        child = multiprocessing.get_context(method).Process(target=time.sleep, args=(300,), daemon=True)
        child.start()
        started.append(child.pid)
    stubborn = os.fork()
    if not stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
        os._exit(0)
    program = subprocess.Popen(["sleep", "300"])
    return " ".join(map(str, [program.pid, stubborn, *started]))
"""


@pytest.mark.parametrize("engine", ["waitress", "granian"])
def test_what_was_forked_ends_by_sigterm_and_with_the_instance(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """A program that the application has started lives on, as without flaskd."""
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--engine", engine, cwd=tmp_path)
    assert call(daemon.url, "/terminate") == "-15"
    assert call(daemon.url, "/pool") == "[1, 2]"
    program, *forked = map(int, call(daemon.url, "/leave").split())
    try:
        with all_gone(*forked):
            assert ctl("shop", "shutdown").returncode == 0
            assert daemon.wait() == 0
        os.kill(program, 0)
    finally:
        os.kill(program, signal.SIGKILL)


def test_what_was_forked_ends_with_a_worker_that_was_killed(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """No clean-up of Python's runs there."""
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", cwd=tmp_path)
    program, *forked = map(int, call(daemon.url, "/leave").split())
    try:
        with all_gone(*forked):
            os.kill(children(daemon.pid)[0], signal.SIGKILL)
        os.kill(program, 0)
    finally:
        os.kill(program, signal.SIGKILL)


def test_a_program_is_started_with_the_signals_that_it_would_have_without_flaskd(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """What nohup(1) has ignored stays ignored; what a careless parent has blocked does not stay blocked."""
    (tmp_path / "shop.py").write_text(
        "import subprocess, flask\n"
        "app = flask.Flask(__name__)\n"
        "@app.get('/')\n"
        "def status():\n"
        "    return subprocess.run(['cat', '/proc/self/status'], capture_output=True, text=True).stdout\n"
    )
    daemon = start_daemon(
        "shop:app", cwd=tmp_path, prefix=["env", "--ignore-signal=HUP", "--block-signal=USR1"]
    )
    fields = dict(line.split(":", 1) for line in call(daemon.url, "/").splitlines() if ":" in line)
    ignored, blocked = int(fields["SigIgn"], 16), int(fields["SigBlk"], 16)
    assert ignored == 1 << (signal.SIGHUP - 1)
    assert blocked == 0
