"""The servers that the table is run against: real processes on loopback, each on a port that the kernel chose.

flaskd's are `flaskd run` with each engine; gunicorn and waitress-serve are as they are, for the comparison.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from flaskd_ctl.contract.endpoint import Place
from tests.support.daemons import PATIENCE, Daemon, flaskd_run, spawn

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINES: Final = ("waitress", "granian", "werkzeug")
PEERS: Final = ("gunicorn", "waitress-serve")
THREADS: Final = 8

BOUNDED: Final = (
    "--max-request-body-size=100",
    "--max-request-header-size=8192",
    "--head-timeout=2",
    "--body-timeout=2",
    "--write-timeout=2",
)


class Server(Protocol):
    """A running server."""

    @property
    def address(self) -> tuple[str, int]: ...

    @property
    def alive(self) -> bool: ...

    def output(self) -> str: ...

    def end(self) -> None: ...


class Flaskd:
    """`flaskd run` with an engine."""

    def __init__(
        self,
        target: str,
        engine: str,
        *options: str,
        cwd: Path = ROOT,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._base = tempfile.mkdtemp(prefix="fd-", dir="/tmp")
        place = Place(os.path.join(self._base, "r", "t"))
        os.mkdir(os.path.dirname(place.directory), mode=0o700)
        command = flaskd_run(target, place, "--engine", engine, *options)
        state = {f"XDG_{kind}_HOME": os.path.join(self._base, kind) for kind in ("STATE", "CONFIG")}
        try:
            self.daemon: Daemon = spawn(
                command,
                place,
                log=Path(self._base, "log"),
                cwd=cwd,
                environ={**_clean(), **state, **(environ or {})},
            )
        except BaseException:
            shutil.rmtree(self._base)
            raise
        self.address = self.daemon.address

    @property
    def alive(self) -> bool:
        """It runs."""
        return self.daemon.process.poll() is None

    def output(self) -> str:
        """All that it has printed."""
        return self.daemon.output()

    def end(self) -> None:
        """Kill it."""
        self.daemon.end()
        shutil.rmtree(self._base)


class Peer:
    """gunicorn or waitress-serve, which print where they listen."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path = ROOT, environ: Mapping[str, str] | None = None
    ) -> None:
        self._base = tempfile.mkdtemp(prefix="fd-", dir="/tmp")
        self._log = Path(self._base, "log")
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**_clean(), **(environ or {})},
                start_new_session=True,
            )
        try:
            self.address = self._listening()
        except BaseException:
            self.end()
            raise

    @property
    def alive(self) -> bool:
        """It runs."""
        return self.process.poll() is None

    def output(self) -> str:
        """All that it has printed."""
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        """Kill it and the session it leads."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        shutil.rmtree(self._base)

    def _listening(self) -> tuple[str, int]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := re.search(r"http://127\.0\.0\.1:([0-9]+)", self.output()):
                return "127.0.0.1", int(found[1])
            if not self.alive:
                break
            time.sleep(0.05)
        raise AssertionError(f"the server did not begin to serve:\n{self.output()}")


def start(
    name: str,
    target: str = "tests.http.app:app",
    *,
    bounded: bool = False,
    threads: int = THREADS,
    options: Sequence[str] = (),
    cwd: Path = ROOT,
    environ: Mapping[str, str] | None = None,
) -> Server:
    """Start one of ENGINES or PEERS; returns when it serves. `options` are for flaskd only."""
    if name in ENGINES:
        limits = BOUNDED if bounded else ()
        return Flaskd(target, name, f"--threads={threads}", *limits, *options, cwd=cwd, environ=environ)
    if name == "gunicorn":
        command = [
            "gunicorn",
            "--bind=127.0.0.1:0",
            "--worker-class=gthread",
            f"--threads={threads}",
            target,
        ]
    else:
        command = ["waitress", "--listen=127.0.0.1:0", f"--threads={threads}", target]
    return Peer(command, cwd=cwd, environ={"PYTHONPATH": str(cwd), **(environ or {})})


class Servers:
    """Starts each server when it is first asked for, and again where it has ended or answers no more; a context manager."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, bool], Server] = {}

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._running.values():
            server.end()

    def get(self, name: str, *, bounded: bool) -> Server:
        """Return the running server."""
        server = self._running.get((name, bounded))
        if server is not None and not server.alive:
            self.drop(name, bounded=bounded)
            server = None
        if server is None:
            server = self._running[name, bounded] = start(name, bounded=bounded)
        return server

    def drop(self, name: str, *, bounded: bool) -> None:
        """End a server that has become useless, so that the next case has a new one."""
        self._running.pop((name, bounded)).end()


def _clean() -> dict[str, str]:
    """The environment without what is said to flaskd there."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLASKD_", "RUNTIME_DIR", "STATE_DIR"))
    }
