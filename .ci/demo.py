"""Show flaskd at work on a real application: `python3 .ci/demo.py`.

Serves httpbin, asks for its status, and shuts it down while a slow request is in flight. Each command is printed
before it is run. Ends with 0 only if everything went as it should, in bounded time, and leaves nothing running.
"""

import argparse
import contextlib
import http.client
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import environment

PATIENCE = 30.0
"""Seconds that any one step may take."""

NAME = "demo"
SLOW = "/delay/3"


class SlowRequest(threading.Thread):
    """A request that takes three seconds; it notes what came back."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name="slow request")
        self.connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
        self.outcome = "not answered"
        self.answered = False

    def send(self) -> None:
        """Send the request; it is the server's from here on."""
        self.connection.request("GET", SLOW)
        self.sent = time.monotonic()
        self.start()

    def run(self) -> None:
        """Read the answer to its end."""
        try:
            response = self.connection.getresponse()
            body = response.read()  # raises IncompleteRead if it is cut
        except (OSError, http.client.HTTPException) as error:
            self.outcome = f"lost: {error!r}"
        else:
            self.answered = response.status == 200 and json.loads(body)["url"].endswith(SLOW)
            took = time.monotonic() - self.sent
            self.outcome = f"{response.status} {response.reason}, all {len(body)} bytes, after {took:.1f} s"
        finally:
            self.connection.close()


def control(programs: Path, *args: str, environ: Mapping[str, str], expect: int = 0) -> None:
    """Run `flaskd_ctl` in sight of everybody, as on a terminal; it has to exit with `expect`."""
    command = [f"{programs}/flaskd_ctl", *args]
    environment.show(command)
    if sys.stderr.isatty():
        status = subprocess.run(command, env=environ, timeout=PATIENCE, check=False).returncode
    else:
        status = on_a_terminal(command, environ)
    if status != expect:
        raise SystemExit(f"flaskd_ctl {args[0]} exited with {status}, {expect} was expected")


def on_a_terminal(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command whose stderr is a terminal, so that it shows its progress; print that line by line."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 120))
    with open(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stderr=its)
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        os.close(its)
        try:
            with contextlib.suppress(OSError):  # EIO: nobody has the other end any more (pty(7))
                while seen := terminal.read(4096):
                    for line in re.split(r"[\r\n]+|\x1b\[K", seen.decode(errors="replace")):
                        if line.strip():
                            environment.say(line)
            return process.wait()
        finally:
            watchdog.cancel()


def demonstrate(programs: Path, directory: str) -> None:
    """Tell the story once; raise SystemExit where it does not go as it should."""
    places = {"FLASKD_RUNTIME_DIR": f"{directory}/run", "XDG_STATE_HOME": f"{directory}/state"}
    for variable, value in places.items():
        environment.say(f"$ export {variable}={value}")
    settings = {name for name in os.environ if name.startswith("FLASKD_")}  # not this demonstration's
    environ = {**{name: os.environ[name] for name in os.environ.keys() - settings}, **places}
    command = [f"{programs}/flaskd", "run", "httpbin:app", "--name", NAME, "--bind", "127.0.0.1:0"]
    environment.show(command)
    # In a directory of its own: what is served and what serves it come from the environment, not from this checkout.
    daemon = subprocess.Popen(command, cwd=directory, env=environ, stdin=subprocess.DEVNULL)
    try:
        control(programs, "wait", "--for", "ready", "--name", NAME, "--timeout", "20", environ=environ)
        control(programs, "status", environ=environ)

        instance = json.loads(Path(directory, "run", NAME, "instance.json").read_text(encoding="utf-8"))
        address = urlsplit(instance["listeners"][0])
        slow = SlowRequest(address.hostname or "", address.port or 80)
        environment.say(f"# GET {SLOW}, which takes three seconds, is sent now")
        slow.send()

        control(programs, "shutdown", environ=environ)

        slow.join(PATIENCE)
        environment.say(f"# GET {SLOW}: {slow.outcome}")
        status = daemon.wait(PATIENCE)
        environment.say(f"# flaskd ended with {status}")
        control(programs, "status", "--name", NAME, environ=environ, expect=3)
        if not slow.answered or status:
            raise SystemExit("this is not as it should be")
    finally:
        daemon.kill()  # nothing, if it has ended
        daemon.wait()


def main(args: Sequence[str]) -> None:
    """Make the environment and tell the story in a directory that is gone afterwards."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", type=Path, help="use this Python's environment, make none")
    python = parser.parse_args(args).python or environment.ready(["httpbin>=0.10"])
    with tempfile.TemporaryDirectory(prefix="flaskd-demo-", dir="/tmp") as directory:
        demonstrate(python.parent, directory)
    environment.say("# all is as it should be: nothing was lost, nothing is left running")


if __name__ == "__main__":
    main(sys.argv[1:])
