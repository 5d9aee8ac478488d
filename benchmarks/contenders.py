"""The servers that are compared: how each is run with 8 threads in one process, and stopped gracefully.

Every one listens on 127.0.0.1, on a port that the kernel chooses, in a session of its own (so its processes
can be found and ended), and is stopped as its documentation says: by a signal, flaskd by `flaskd_ctl
shutdown`.
"""

import contextlib
import dataclasses
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks import procfs
from benchmarks.timing import ENVIRON, command_seconds

ROOT: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
THREADS: Final = "8"
PATIENCE: Final = 40.0
"""Seconds for a server to begin, or to end when told to."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server: `command` takes the application ("module:attribute") and a directory for its files.

    `module` is what must be installed; `stop` is the signal for a graceful stop, None: by the control socket.
    """

    name: str
    module: str
    command: Callable[[str, str], list[str]]
    stop: signal.Signals | None = signal.SIGTERM

    @property
    def installed(self) -> bool:
        """It can be run here."""
        return bool(importlib.util.find_spec(self.module) or shutil.which(script(self.module)))


def script(name: str) -> str:
    """Return the path of a console script beside this interpreter."""
    return os.path.join(os.path.dirname(sys.executable), name)


def python(*args: str) -> list[str]:
    """Spell out a command of this interpreter."""
    return [sys.executable, *args]


def flaskd(*options: str, name: str = "flaskd", engine: str = "werkzeug") -> Contender:
    """Return flaskd with this engine and these options of `flaskd run`."""

    def command(app: str, directory: str) -> list[str]:
        place = ["--name", "bench", "--runtime-dir", directory]
        common = ["--bind", "127.0.0.1:0", "--threads", THREADS]
        return python("-m", "flaskd", "run", app, "--engine", engine, *common, *place, *options)

    return Contender(name, engine, command, stop=None)


FLASKD: Final = flaskd()
FLASKD_GRANIAN: Final = flaskd(name="flaskd on granian", engine="granian")
OURS: Final = (FLASKD, FLASKD_GRANIAN)
WERKZEUG: Final = Contender(
    "werkzeug", "werkzeug", lambda app, _: python("-m", "benchmarks.bare_werkzeug", app)
)
GRANIAN: Final = Contender(
    "granian",
    "granian",
    lambda app, _: python(
        *f"-m granian --interface wsgi --port 0 --blocking-threads {THREADS} --no-log {app}".split(),
    ),
)
GUNICORN: Final = Contender(
    "gunicorn gthread",
    "gunicorn",
    lambda app, directory: python(
        *f"-m gunicorn --bind 127.0.0.1:0 --threads {THREADS} --log-level error {app}".split(),
        *("--control-socket", f"{directory}/gunicorn.ctl"),
    ),
)
WAITRESS: Final = Contender(
    "waitress",
    "waitress",
    lambda app, _: python(*f"-m waitress --listen=127.0.0.1:0 --threads={THREADS} {app}".split()),
    stop=signal.SIGINT,  # it has no handler for SIGTERM; for SIGINT it has its own graceful way
)
UVICORN: Final = Contender(
    "uvicorn + a2wsgi",
    "uvicorn",
    lambda _, __: python(
        *["-m", "uvicorn", "--port", "0", "--log-level", "error", "benchmarks.asgi_app:app"]
    ),
)
UWSGI: Final = Contender(
    "uWSGI",
    "uwsgi",
    lambda app, _: [
        *(script("uwsgi"), "--home", sys.prefix, "--pythonpath", ROOT, "--module", app),
        *f"--http-socket 127.0.0.1:0 --master --workers 1 --threads {THREADS} --disable-logging".split(),
        *("--buffer-size", "32768"),  # longer request heads; and it closes each connection without saying so
        *("--add-header", "Connection: close"),
        *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
    ],
)
PEERS: Final = (GUNICORN, WAITRESS, UVICORN, GRANIAN, UWSGI, WERKZEUG)


class Running:
    """A contender that serves."""

    def __init__(self, contender: Contender, process: subprocess.Popen[bytes], directory: str) -> None:
        self.contender = contender
        self.process = process
        self.directory = directory
        self.url = ""

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return procfs.family(self.process.pid)

    @property
    def control_socket(self) -> str:
        """The plain stream socket of a flaskd."""
        return os.path.join(self.directory, "bench", "sock")

    @property
    def ctl(self) -> list[str]:
        """The beginning of a `flaskd_ctl` command for it."""
        return [script("flaskd_ctl"), "--endpoint", f"unix://{self.control_socket}", "--timeout", "60"]

    def begin_stop(self) -> None:
        """Ask for a graceful stop."""
        if self.contender.stop is None:
            command_seconds([*self.ctl, "shutdown"])
        else:
            self.process.send_signal(self.contender.stop)

    def wait_gone(self) -> int | None:
        """Return the exit status, or None if it is still there when patience has ended."""
        descriptor = os.pidfd_open(self.process.pid)
        try:
            select.select([descriptor], [], [], PATIENCE)
        finally:
            os.close(descriptor)
        return self.process.poll()


@contextlib.contextmanager
def serving(contender: Contender, app: str) -> Iterator[Running]:
    """Run a contender until the block ends; enter the block when it has answered a request."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        log = os.path.join(directory, "log")
        with open(log, "wb") as output:
            process = subprocess.Popen(
                contender.command(app, directory),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={
                    **ENVIRON,
                    "BENCHMARK_APP": app,
                    "XDG_STATE_HOME": directory,
                    "PYTHONWARNINGS": "ignore",
                },
                start_new_session=True,
            )
        running = Running(contender, process, directory)
        try:
            running.url = _wait_serving(running, log)
            yield running
        finally:
            for pid in running.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(PATIENCE)


def _wait_serving(running: Running, log: str) -> str:
    """Ask again and again: these servers have no common way to say that they are ready."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and running.process.poll() is None:
        port = procfs.listening_port(running.pids)
        if port:
            url = f"http://127.0.0.1:{port}"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/", timeout=PATIENCE) as answer:
                answer.read()
                return url
        time.sleep(0.02)
    with open(log, encoding="utf-8", errors="replace") as file:
        raise RuntimeError(f"{running.contender.name} does not serve: {file.read()[-2000:]}")
