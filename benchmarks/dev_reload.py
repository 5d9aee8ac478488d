"""Development servers: from saving a file to the first answer of the new code, for a hello.

`flask run --debug` looks at the files once a second. With watchdog installed it would have the kernel tell it of each file in
all directories of `sys.path`, among them a whole checkout, so it is measured as `pip install flask` leaves it. The client
asks every ten milliseconds; meanwhile it is refused, waits, or gets the old code.
"""

import contextlib
import http.client
import itertools
import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.findings import Findings, Rounds, ratio
from benchmarks.running import PATIENCE, script
from benchmarks.side_by_side import interleave, main
from benchmarks.start_and_stop import free_port
from benchmarks.timing import ENVIRON

OURS: Final = "flaskd dev"
FLASK: Final = "flask run --debug"
WHAT: Final = "save to new code, flaskd dev"

APP: Final = """from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return "{version}"
"""
LONGEST: Final = 10.0
"""Seconds after which a save was not noticed."""

AGAIN: Final = 0.01
"""Seconds between two questions."""


def measure(quick: bool) -> Findings:
    """Save for each in turns."""
    with contextlib.ExitStack() as stack:
        work = {name: stack.enter_context(_developing(name)) for name in (OURS, FLASK)}
        taken = interleave(work, 2 if quick else 20)
    figure = ratio(WHAT, ours=taken[OURS], theirs=taken[FLASK], against=FLASK, goal=1.0, unit="s")
    return Findings([figure], [Rounds("dev-reload", "save to new code", "s", taken)])


@contextlib.contextmanager
def _developing(name: str) -> Iterator[Callable[[], float]]:
    """Run a development server in a project of its own; yields what saves once and returns the seconds until it serves."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        project, hidden = os.path.join(directory, "project"), os.path.join(directory, "hidden")
        os.mkdir(project)
        os.makedirs(os.path.join(hidden, "watchdog"))
        with open(os.path.join(hidden, "watchdog", "__init__.py"), "w", encoding="utf-8") as stub:
            stub.write("raise ImportError('not installed')\n")
        file, port = os.path.join(project, "shop.py"), free_port()
        versions = itertools.count()
        _save(file, next(versions))
        flask = [script("flask"), "--app", "shop", "run", "--debug", "--port", str(port)]
        ours = [
            script("flaskd"),
            "dev",
            "shop:app",
            "--bind",
            f"127.0.0.1:{port}",
            "--runtime-dir",
            directory,
        ]
        process = subprocess.Popen(
            ours if name == OURS else flask,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=project,
            env={
                **ENVIRON,
                "XDG_STATE_HOME": directory,
                "PYTHONPATH": hidden,
            },
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}/"

        def once() -> float:
            version = next(versions)
            _save(file, version)
            begun = time.perf_counter()
            _wait_for(url, version)
            return time.perf_counter() - begun

        try:
            _wait_for(url, 0)
            _warm_up(once)
            yield once
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


def _save(file: str, version: int) -> None:
    """Save the code, each time with another size: Python would take its bytecode for current within the same second."""
    with open(file, "w", encoding="utf-8") as opened:
        opened.write(APP.replace("{version}", str(version)) + "#" * (version % 50) + "\n")


def _warm_up(once: Callable[[], float]) -> None:
    """Save until it is noticed: Flask's reloader takes what it sees first, after it has begun to serve, as unchanged."""
    for _ in range(5):
        with contextlib.suppress(RuntimeError):
            once()
            return
    raise RuntimeError("saves are not noticed")


def _wait_for(url: str, version: int) -> None:
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            urllib.request.urlopen(url, timeout=PATIENCE) as answer,
        ):
            if answer.read() == str(version).encode():
                return
        time.sleep(AGAIN)
    raise RuntimeError(f"version {version} does not serve at {url}")


if __name__ == "__main__":
    main(measure)
