"""`flaskd_ctl status` as a whole process: against Python with click alone, and other daemons' clients.

Each client asks its own idle daemon for the status of what it runs.
"""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

from benchmarks.contenders import FLASKD, GUNICORN, python
from benchmarks.findings import Findings, missing, ratio
from benchmarks.running import PATIENCE, ROOT, script, serving
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import command_seconds

APP = "benchmarks.hello:app"
WHAT = "`flaskd_ctl status`, whole process"
CLICK = "python -c 'import click'"
CIRCUS = """
[circus]
endpoint = ipc://{0}/circus.ctl
pubsub_endpoint = ipc://{0}/circus.pub

[watcher:sleeper]
cmd = sleep 3600
"""
SUPERVISOR = """
[unix_http_server]
file = {0}/supervisor.ctl

[supervisord]
nodaemon = true
logfile = {0}/supervisord.log
pidfile = {0}/supervisord.pid

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{0}/supervisor.ctl

[program:sleeper]
command = sleep 3600
startsecs = 0
"""


def measure(quick: bool) -> Findings:
    """Run each client in turns."""
    rounds = 2 if quick else 40
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(FLASKD, APP))
        commands = {"flaskd": [*server.ctl, "status"], CLICK: python("-c", "import click")}
        clients = ("gunicornc", "circusctl", "supervisorctl")
        installed = [client for client in clients if os.path.exists(script(client))]
        if "gunicornc" in installed:
            gunicorn = stack.enter_context(serving(GUNICORN, APP))
            control = os.path.join(gunicorn.directory, "gunicorn.ctl")
            commands["gunicornc"] = [script("gunicornc"), "-s", control, "-c", "show workers"]
        if "circusctl" in installed:
            commands["circusctl"] = stack.enter_context(_circus())
        if "supervisorctl" in installed:
            commands["supervisorctl"] = stack.enter_context(_supervisor())
        timed = {name: _timed(command) for name, command in commands.items()}
        interleave(timed, 1)  # bytecode is written, files are in the page cache
        taken = interleave(timed, rounds)
    goals = {CLICK: 1.4, **dict.fromkeys(clients, 0.6)}
    figures = [
        ratio(WHAT, ours=taken["flaskd"], theirs=taken[name], against=name, goal=goal, unit="s")
        if name in taken
        else missing(WHAT, name, "not installed", goal=goal)
        for name, goal in goals.items()
    ]
    return Findings(figures)


def _timed(command: list[str]) -> Callable[[], float]:
    return lambda: command_seconds(command)


@contextlib.contextmanager
def _circus() -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        config = _write(directory, "circus.ini", CIRCUS)
        client = [script("circusctl"), "--endpoint", f"ipc://{directory}/circus.ctl", "status"]
        with _daemon([script("circusd"), config], client):
            yield client


@contextlib.contextmanager
def _supervisor() -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        config = _write(directory, "supervisord.conf", SUPERVISOR)
        client = [script("supervisorctl"), "-c", config, "status"]
        with _daemon([script("supervisord"), "-c", config], client):
            yield client


def _write(directory: str, name: str, content: str) -> str:
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(content.format(directory))
    return path


@contextlib.contextmanager
def _daemon(command: list[str], client: list[str]) -> Iterator[None]:
    """Run a daemon until the block ends; enter it when its own client succeeds."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(client, capture_output=True, timeout=PATIENCE, check=False).returncode:
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{command[0]} does not answer")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


if __name__ == "__main__":
    main(measure)
