"""A real `flaskd run` process for tests: it says when it serves, and is ended by its own pid."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from flaskd_ctl.contract.endpoint import Place

PATIENCE = 30.0
"""Seconds after which anything in a test that should have happened has failed."""


class NotServingError(Exception):
    """The daemon ended, or said nothing, when it should have begun to serve."""


class Daemon:
    """A running daemon: its process, its place, and what it printed."""

    def __init__(self, process: subprocess.Popen[bytes], place: Place, log: Path) -> None:
        self.process = process
        self.place = place
        self.log = log

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self.process.pid

    @property
    def name(self) -> str:
        """The instance's name."""
        return self.place.name

    @property
    def instance(self) -> dict[str, Any]:
        """What instance.json says now."""
        with open(self.place.instance_file, "rb") as file:
            content: dict[str, Any] = json.load(file)
        return content

    @property
    def url(self) -> str:
        """The first HTTP listener, without a slash at its end."""
        return str(self.instance["listeners"][0]).rstrip("/")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first HTTP listener."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    def output(self) -> str:
        """Everything that the daemon has printed, on either stream."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the exit status; fail if it does not come."""
        return self.process.wait(timeout)

    def end(self) -> None:
        """Kill what is left of the process and of the session it leads."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


class StartDaemon(Protocol):
    """The `start_daemon` fixture: run TARGET, return when it serves, raise with its output if it does not.

    `prefix` is a command that execs the rest of its arguments (setpriv, say).
    """

    def __call__(
        self,
        target: str,
        *args: str,
        name: str = "shop",
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> Daemon: ...


def spawn(
    command: Sequence[str], place: Place, *, log: Path, cwd: Path, environ: Mapping[str, str]
) -> Daemon:
    """Start `command`; return when it says READY=1 (sd_notify(3)); raise NotServingError if it ends."""
    address = os.path.join(os.path.dirname(place.directory), f"{place.name}.notify")
    os.makedirs(os.path.dirname(address), mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news, open(log, "wb") as output:
        news.bind(address)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**environ, "NOTIFY_SOCKET": address},
            start_new_session=True,
        )
        daemon = Daemon(process, place, log)
        try:
            _wait_until_ready(process, news)
        except BaseException as error:
            daemon.end()
            error.add_note(f"it printed:\n{daemon.output()}")
            raise
        finally:
            os.unlink(address)
    return daemon


def flaskd_run(target: str, place: Place, *args: str) -> list[str]:
    """Spell out `flaskd run TARGET …` for this interpreter, on a port that the kernel chooses."""
    command = [sys.executable, "-m", "flaskd", "run", target, "--name", place.name]
    command += ["--runtime-dir", os.path.dirname(place.directory)]
    if "--bind" not in args:
        command += ["--bind", "127.0.0.1:0"]
    return [*command, *args]


def _wait_until_ready(process: subprocess.Popen[bytes], news: socket.socket) -> None:
    deadline = time.monotonic() + PATIENCE
    gone = os.pidfd_open(process.pid)
    try:
        while True:
            left = deadline - time.monotonic()
            happened, _, _ = select.select([news.fileno(), gone], [], [], max(0.0, left))
            if news.fileno() in happened:
                if b"READY=1" in news.recv(65536).split(b"\n"):
                    return
            elif gone in happened:
                raise NotServingError(f"the daemon ended with {process.wait()} before it served")
            else:
                raise NotServingError(f"the daemon did not say READY=1 within {PATIENCE:.0f} s")
    finally:
        os.close(gone)
