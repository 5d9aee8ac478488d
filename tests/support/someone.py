"""`flaskd_ctl` as another user runs it: one of numbers that no user of the machine has."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.daemons import PATIENCE, Daemon

# What is imported later must be imported before the change: other users may not be able to read the checkout.
_DROP: Final = """
import importlib, json, os, pkgutil, sys
import click.shell_completion, flaskd_ctl, msgspec, zmq
for module in pkgutil.walk_packages(flaskd_ctl.__path__, "flaskd_ctl."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
uid, gid, groups, *arguments = json.loads(sys.argv[1])
os.setgroups(groups); os.setresgid(gid, gid, gid); os.setresuid(uid, uid, uid)
from flaskd_ctl.cli.main import main
sys.argv = ["flaskd_ctl", *arguments]
main()
"""


class Someone:
    """Another user of this host: a uid, a gid and supplementary groups."""

    def __init__(self, uid: int, gid: int, groups: Sequence[int] = ()) -> None:
        self._who = [uid, gid, list(groups)]

    def ctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run `flaskd_ctl` to its end."""
        return self.start(*args).finish()

    def start(self, *args: str) -> "Running":
        """Begin to run `flaskd_ctl`."""
        return Running([sys.executable, "-c", _DROP, json.dumps([*self._who, *args])])

    def asks(self, daemon: Daemon, method: str, *, over: str) -> dict[str, Any]:
        """Return the result of a command without parameters, or what its error is called, over "unix" or "ipc"."""
        path = {"unix": daemon.place.sock, "ipc": daemon.place.zmq}[over]
        asked = self.ctl("--endpoint", f"{over}://{path}", "--json", method)
        told: dict[str, Any] = json.loads(asked.stdout or asked.stderr)
        return told


class Running:
    """A command that was begun; its standard output can be read line by line."""

    def __init__(self, command: Sequence[str]) -> None:
        # Not in the checkout, which this user may not be able to enter.
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": path},
        )

    def has_said_something(self) -> bool:
        """Wait a little for its first word."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 0.05)
        return bool(ready)

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Wait for the end, and return what it said."""
        try:
            output, errors = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, output, errors)
