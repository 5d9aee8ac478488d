"""Read a gunicorn.conf.py by having a child process run it, as gunicorn does: as this user, with this environment."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any, Final

from flaskd.errors import ConfigError
from flaskd.migrate.gunicorn.child import FILE, MODULE
from flaskd.migrate.option import Given
from flaskd.process.ending import STDERR

DEFAULT: Final = "gunicorn.conf.py"
LIMIT: Final = 30.0
"""Seconds that the file may take."""


def read(location: str, directory: str, *, limit: float = LIMIT) -> dict[str, Given]:
    """Return the settings that a file (a path, `file:PATH` or `python:MODULE`) makes.

    Raises ConfigError: no such file, it raises, it does not end.
    """
    name = location.removeprefix(FILE)
    if not location.startswith(MODULE) and not os.path.exists(os.path.join(directory, name)):
        raise ConfigError(
            f"there is no gunicorn configuration file {name}",
            hint="give its path: -c path/to/gunicorn.conf.py",
        )
    result = _run(location, directory, limit)
    if "error" in result:
        raise ConfigError(
            f"cannot run {name}: {result['error']}",
            hint="migrate where gunicorn runs: in its directory, with its environment and packages",
        )
    return {
        setting: Given(
            each["value"], f"{name}, line {each['line']}" if each["line"] else name, each["computed"]
        )
        for setting, each in result["settings"].items()
    }


def _run(location: str, directory: str, limit: float) -> dict[str, Any]:
    """Return the child's result. Its standard output goes to our stderr."""
    with tempfile.TemporaryFile() as result:
        command = [sys.executable, "-P", "-m", "flaskd.migrate.gunicorn"]
        child = subprocess.Popen(
            [*command, str(result.fileno()), directory, location],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            pass_fds=(result.fileno(),),
            start_new_session=True,
        )
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            raise ConfigError(f"cannot run {location}: it did not end within {limit:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        result.seek(0)
        text = result.read()
    if status or not text:
        raise ConfigError(f"cannot run {location}: it ended the process (status {status})")
    settings: dict[str, Any] = json.loads(text)
    return settings
