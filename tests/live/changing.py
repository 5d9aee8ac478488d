"""Changing the workers of a daemon under load: reloads, other numbers of workers, single workers anew.

By turns with `flaskd_ctl` and with the client. Each change says when it has happened, so nobody waits for anything else.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal

from flaskd_ctl import Client
from tests.daemons import PATIENCE, Daemon

Change = Literal["reload", "scale", "restart"]


def changes(daemon: Daemon, what: Change, times: int, *, workers: int) -> None:
    """Make so many changes one after the other; the daemon has `workers` at its begin and end (`times` is even)."""
    with Client(daemon.name, runtime_dir=os.path.dirname(daemon.place.directory)) as client:
        for number in range(times):
            _CHANGES[what](daemon, client, number, workers)
        assert client.status().restarts == 0
        assert client.incidents() == []


def _reload(daemon: Daemon, client: Client, number: int, workers: int) -> None:
    if number % 2:
        result = client.reload(timeout=PATIENCE)
        assert (result.replaced, result.workers) == (workers, workers)
    else:
        assert _told(daemon, "reload")["replaced"] == workers


def _scale(daemon: Daemon, client: Client, number: int, workers: int) -> None:
    wanted = workers if number % 2 else workers + 1 + number // 2 % 2
    if number // 2 % 2:
        assert client.scale(wanted, timeout=PATIENCE).workers == wanted
    else:
        assert _told(daemon, "scale", str(wanted))["workers"] == wanted


def _restart(daemon: Daemon, client: Client, number: int, workers: int) -> None:
    oldest = next(worker.id for worker in client.workers() if worker.state == "serving")
    if number % 2:
        assert client.restart_worker(oldest, timeout=PATIENCE).replaced == oldest
    else:
        assert _told(daemon, "restart-worker", str(oldest))["replaced"] == oldest


_CHANGES: dict[Change, Callable[[Daemon, Client, int, int], None]] = {
    "reload": _reload,
    "scale": _scale,
    "restart": _restart,
}


def _told(daemon: Daemon, *args: str) -> dict[str, Any]:
    """Run `flaskd_ctl`; return the result that it prints."""
    program = os.path.join(os.path.dirname(sys.executable), "flaskd_ctl")
    done = subprocess.run(
        [program, "--json", "--name", daemon.name, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "FLASKD_RUNTIME_DIR": os.path.dirname(daemon.place.directory)},
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
