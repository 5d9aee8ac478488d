"""Changing the workers of a daemon under load: reloads, other numbers of workers, single workers anew.

By turns with `flaskd_ctl` and with the client. Each change says when it has happened, so nobody waits for anything else.
"""

import json
from collections.abc import Callable
from typing import Any, Literal

from flaskd_ctl import Client
from tests.support.daemons import PATIENCE, Daemon
from tests.support.operating import client, ctl

Change = Literal["reload", "scale", "restart"]


def changes(daemon: Daemon, what: Change, times: int, *, workers: int) -> None:
    """Make so many changes one after the other; the daemon has `workers` at its begin and end (`times` is even)."""
    with client(daemon) as shop:
        for number in range(times):
            _CHANGES[what](daemon, shop, number, workers)
        assert shop.status().restarts == 0
        assert shop.incidents() == []


def _reload(daemon: Daemon, shop: Client, number: int, workers: int) -> None:
    if number % 2:
        result = shop.reload(timeout=PATIENCE)
        assert (result.replaced, result.workers) == (workers, workers)
    else:
        assert _told(daemon, "reload")["replaced"] == workers


def _scale(daemon: Daemon, shop: Client, number: int, workers: int) -> None:
    wanted = workers if number % 2 else workers + 1 + number // 2 % 2
    if number // 2 % 2:
        assert shop.scale(wanted, timeout=PATIENCE).workers == wanted
    else:
        assert _told(daemon, "scale", str(wanted))["workers"] == wanted


def _restart(daemon: Daemon, shop: Client, number: int, workers: int) -> None:
    oldest = next(worker.id for worker in shop.workers() if worker.state == "serving")
    if number % 2:
        assert shop.restart_worker(oldest, timeout=PATIENCE).replaced == oldest
    else:
        assert _told(daemon, "restart-worker", str(oldest))["replaced"] == oldest


_CHANGES: dict[Change, Callable[[Daemon, Client, int, int], None]] = {
    "reload": _reload,
    "scale": _scale,
    "restart": _restart,
}


def _told(daemon: Daemon, *args: str) -> dict[str, Any]:
    """Run `flaskd_ctl`; return the result that it prints."""
    done = ctl(daemon.name, "--json", *args)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
