"""A real `flaskd run` process for tests: it says when it serves, and is ended by its own pid."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from flaskd_ctl.contract.endpoint import Place
from pytest_flaskd.ready import kill_session, start_until_ready, written

PATIENCE = 30.0
"""Seconds after which anything in a test that should have happened has failed."""


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
        return written(self.log)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the exit status; fail if it does not come."""
        return self.process.wait(timeout)

    def end(self) -> None:
        """Kill what is left of the process and of the session it leads."""
        kill_session(self.process)


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
    """Start `command`; return when it serves. Raises NotServing."""
    process = start_until_ready(command, place, log=log, directory=cwd, environ=environ, timeout=PATIENCE)
    return Daemon(process, place, log)


def flaskd_run(target: str, place: Place, *args: str) -> list[str]:
    """Spell out `flaskd run TARGET …` for this interpreter, on a port that the kernel chooses."""
    command = [sys.executable, "-m", "flaskd", "run", target, "--name", place.name]
    command += ["--runtime-dir", os.path.dirname(place.directory)]
    if "--bind" not in args:
        command += ["--bind", "127.0.0.1:0"]
    return [*command, *args]
