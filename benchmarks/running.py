"""A contender that runs: in a session of its own, so that its processes can be found, operated, and ended whatever happens."""

import contextlib
import dataclasses
import http.client
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from benchmarks import procfs
from benchmarks.timing import ENVIRON

ROOT: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATIENCE: Final = 40.0
"""Seconds for a server to begin, to reload, or to end when told to."""


def script(name: str) -> str:
    """Return the path of a console script beside this interpreter."""
    return os.path.join(os.path.dirname(sys.executable), name)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a contender is told: the application ("module:attribute"), a directory for its files, and how to serve."""

    app: str
    directory: str
    workers: int = 1
    port: int = 0


class Contender(Protocol):
    """A server that can be started and operated (see `contenders.Contender`)."""

    @property
    def name(self) -> str: ...
    @property
    def command(self) -> Callable[[Setup], list[str]]: ...
    @property
    def stop(self) -> "Callable[[Running], None]": ...
    @property
    def reload(self) -> "Callable[[Running], None] | None": ...


class Running:
    """A contender that serves. `started_in`: seconds from its command to the end of its first response."""

    def __init__(self, contender: Contender, process: subprocess.Popen[bytes], directory: str) -> None:
        self.contender = contender
        self.process = process
        self.directory = directory
        self.url = ""
        self.started_in = 0.0

    @property
    def pids(self) -> list[int]:
        """Its processes, the first one first."""
        return procfs.family(self.process.pid)

    @property
    def workers(self) -> list[int]:
        """Its processes that serve: those below the first one that have its listener, or else the first one."""
        below = [pid for pid in self.pids if pid != self.process.pid and procfs.listening_port([pid])]
        return below or [self.process.pid]

    @property
    def control_socket(self) -> str:
        """The plain stream socket of a flaskd."""
        return os.path.join(self.directory, "bench", "sock")

    @property
    def ctl(self) -> list[str]:
        """The beginning of a `flaskd_ctl` command for it."""
        return [script("flaskd_ctl"), "--endpoint", f"unix://{self.control_socket}", "--timeout", "60"]

    def log(self) -> str:
        """What it has written to its output so far."""
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def get(self) -> None:
        """Ask for / on a connection of its own, and read the answer."""
        with urllib.request.urlopen(f"{self.url}/", timeout=PATIENCE) as answer:
            answer.read()

    def wait_workers(self, count: int) -> None:
        """Return when so many processes serve: the first one may answer while others are still to be started.

        Raises RuntimeError when patience ends first.
        """
        deadline = time.monotonic() + PATIENCE
        while len(self.workers) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.contender.name} has {len(self.workers)} of {count} workers")
            time.sleep(0.01)

    def begin_stop(self) -> None:
        """Ask for a graceful stop."""
        self.contender.stop(self)

    def wait_gone(self) -> int | None:
        """Return the exit status, or None if it is still there when patience has ended."""
        _wait_end(self.process.pid)
        return self.process.poll()

    def reload(self) -> None:
        """Reload gracefully; return when the workers of before are gone, as many are there again, and an answer comes.

        Raises RuntimeError when patience ends first.
        """
        if self.contender.reload is None:
            raise ValueError(f"{self.contender.name} has no reload")
        old = self.workers
        self.contender.reload(self)
        deadline = time.monotonic() + PATIENCE
        for pid in old:
            _wait_end(pid)
        while len(set(self.workers) - set(old)) < len(old) or not self.answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.contender.name} did not reload")
            time.sleep(0.005)

    def answers(self) -> bool:
        """Tell whether it answers a request now."""
        try:
            self.get()
        except (OSError, http.client.HTTPException):
            return False
        return True


@contextlib.contextmanager
def serving(contender: Contender, app: str, *, workers: int = 1, port: int = 0) -> Iterator[Running]:
    """Run a contender until the block ends; enter the block when it has answered a request.

    It is faster seen to serve on a `port` that is known before.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        begun = time.perf_counter()
        with open(os.path.join(directory, "log"), "wb") as output:
            process = subprocess.Popen(
                contender.command(Setup(app, directory, workers, port)),
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
            _wait_serving(running, port)
            running.started_in = time.perf_counter() - begun
            yield running
        finally:
            for pid in running.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(PATIENCE)


def _wait_serving(running: Running, port: int) -> None:
    """Ask again and again: these servers have no common way to say that they are ready."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and running.process.poll() is None:
        found = port or procfs.listening_port(running.pids)
        if found:
            running.url = f"http://127.0.0.1:{found}"
            if running.answers():
                return
        time.sleep(0.001 if port else 0.02)
    raise RuntimeError(f"{running.contender.name} does not serve: {running.log()[-2000:]}")


def _wait_end(pid: int) -> None:
    """Return when a process has ended, or patience has."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [], PATIENCE)
        finally:
            os.close(descriptor)
