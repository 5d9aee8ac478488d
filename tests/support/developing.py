"""A project that is being developed with `flaskd dev`: saved, and waited for by what the terminal shows."""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.support.daemons import PATIENCE, Daemon, StartDaemon

APP = """
from flask import Flask

app = Flask(__name__)

@app.get("/")
def index():
    return "version {version}"

@app.get("/bad")
def bad():
    secret_of_frame = {version}
    return str(secret_of_frame / 0)
"""


class Project:
    """An application of which each version says which it is, in `directory`, served by `flaskd dev`."""

    def __init__(
        self,
        directory: Path,
        start_daemon: StartDaemon,
        *args: str,
        app: str = APP,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._app = app
        self.save(1)
        self.daemon = start_daemon("shop:app", "--dev", *args, cwd=directory, environ=environ)

    def save(self, version: object) -> None:
        """Save the code as an editor does."""
        self.write("shop.py", self._app.replace("{version}", str(version)))

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        (self.directory / name).write_text(text)

    def save_and_wait(self, version: object) -> None:
        """Save the code, and wait until only that serves."""
        count = self.daemon.output().count("reloaded in")
        self.save(version)
        said(self.daemon, "reloaded in", count + 1)

    def get(self, path: str = "/") -> str:
        """Return what it answers, also an error."""
        return get(self.daemon, path)


def get(daemon: Daemon, path: str = "/") -> str:
    """Return what a daemon answers, also an error."""
    try:
        with urllib.request.urlopen(daemon.url + path, timeout=PATIENCE) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def said(daemon: Daemon, text: str, times: int = 1) -> str:
    """Wait until the daemon has printed `text` so often; return all that it has printed."""
    until = time.monotonic() + PATIENCE
    while (output := daemon.output()).count(text) < times:
        assert daemon.process.poll() is None, f"it ended: {output}"
        assert time.monotonic() < until, f"it did not print {text!r} {times} times: {output}"
        time.sleep(0.01)
    return output
