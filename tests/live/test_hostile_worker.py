"""A worker that was taken over cannot stop its supervisor from answering, nor make it grow (docs/threat-model.md).

It is the same user, and so may kill it: what is tested is what it can do by what it was given, which is all that it has
where the kernel keeps the two apart.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from pytest_flaskd.ready import NotServing
from tests.support.caller import Caller
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.hostile import ATTACKS, MIB
from tests.support.needs import requires
from tests.support.operating import Watch, all_gone, client, ctl

pytestmark = pytest.mark.live

ROOT: Final = Path(__file__).parents[2]
ANSWERS_WITHIN: Final = 5.0
"""Seconds in which `status` answers while the attack goes on, on a machine that has other things to do."""

MOST_GROWTH: Final = 64 * MIB
"""Bytes that the supervisor may take more than before: some messages that are as long as they may be."""

MOST_DESCRIPTORS: Final = 32
"""Descriptors that it may have more than before: another worker's, and the client's connections."""


def start(start_daemon: StartDaemon, *args: str) -> Daemon:
    return start_daemon("tests.support.hostile:app", *args, "--grace", "1", cwd=ROOT)


def post(daemon: Daemon, path: str) -> str:
    with Caller(daemon.url) as caller:
        return caller.post(path).text()


def can_run(uid: int, gid: int) -> bool:
    """Tell whether another user can read our Python and the application."""
    imports = [sys.executable, "-c", "import flaskd.worker.main, tests.support.hostile"]
    try:
        ran = subprocess.run(
            imports, user=uid, group=gid, extra_groups=[], capture_output=True, cwd=ROOT, check=False
        )
    except PermissionError:
        return False
    return ran.returncode == 0


def most_memory(pid: int) -> int:
    """Return how much memory a process had at most, in bytes (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_a_worker_does_its_supervisor_answers_and_stops_it(
    start_daemon: StartDaemon, attack: str
) -> None:
    """Status, requests, workers and incidents, in time and in bounded memory; and a shutdown ends all of it."""
    daemon = start(start_daemon)
    before, descriptors = most_memory(daemon.pid), descriptors_of(daemon.pid)
    assert post(daemon, f"/attack/{attack}") == "begun\n"

    with client(daemon) as shop:
        for _ in range(50):
            began = time.perf_counter()
            status = shop.status()
            assert time.perf_counter() - began < ANSWERS_WITHIN
            shop.requests()
            shop.workers()
            shop.incidents()
            shop.errors()
            shop.slow(100)
            shop.stats()
    assert most_memory(daemon.pid) < before + MOST_GROWTH
    assert descriptors_of(daemon.pid) < descriptors + MOST_DESCRIPTORS
    assert status.pid == daemon.pid
    with all_gone(daemon.pid):
        stopped = ctl("shop", "shutdown", "--grace", "1")
    assert stopped.returncode in {0, 6}, stopped
    assert daemon.wait(PATIENCE) == stopped.returncode
    assert "Traceback" not in daemon.output()


def test_an_incident_of_a_worker_that_lied_can_be_shown(start_daemon: StartDaemon) -> None:
    """What it left in its memory takes as much room as it can; an answer has an end, and nothing in it reaches a terminal."""
    daemon = start(start_daemon)
    with Watch(daemon) as watch, client(daemon) as shop:
        post(daemon, "/attack/fill")
        os.kill(shop.status().workers[0].pid, signal.SIGKILL)
        ident = watch.until_incident()["id"]
        [incident] = shop.incidents(ident)
        assert incident.requests
        assert incident.stacks.startswith("%01%01")
    shown = ctl("shop", "incidents", str(ident))
    assert shown.returncode == 0
    assert "\1" not in shown.stdout


def test_a_worker_of_the_same_user_is_as_mighty_as_its_supervisor(start_daemon: StartDaemon) -> None:
    """No user is protected from itself: the kernel knows users only, and the threat model says so."""
    daemon = start(start_daemon)
    with Caller(daemon.url) as caller:
        told = json.loads(caller.get(f"/power?sock={daemon.place.sock}").text())
    assert set(told["may"]) == {"signal", "look into", "ask"}


@requires("root")
def test_a_worker_of_another_user_has_no_power_over_its_supervisor(start_daemon: StartDaemon) -> None:
    """--worker-user: it serves, is reloaded, is seen and ended, and can neither signal, read nor ask its supervisor."""
    arguments = ("--worker-user", "54321:54322", "--start-timeout", "20")
    if not can_run(
        54321, 54322
    ):  # a checkout, or a Python, that is root's alone: then so it is for the worker
        with pytest.raises(NotServing):
            start(start_daemon, *arguments)
        return

    daemon = start(start_daemon, *arguments)
    for _ in range(2):
        with Caller(daemon.url) as caller:
            told = json.loads(caller.get(f"/power?sock={daemon.place.sock}").text())
        assert told == {"uid": 54321, "groups": [], "may": []}
        assert ctl("shop", "reload").returncode == 0
    with client(daemon) as shop:
        [worker] = [each for each in shop.status().workers if each.state == "serving"]
        assert worker.rss
        assert worker.connections == 0
    with all_gone(daemon.pid, worker.pid):
        assert ctl("shop", "shutdown").returncode == 0


def test_a_worker_is_given_nothing_of_the_control_socket(start_daemon: StartDaemon) -> None:
    """Nor of other workers', but for the loads: it has its line, tables, stacks, listener, standard streams, its engine's."""
    daemon = start(start_daemon, "--workers", "2")
    with client(daemon) as shop:
        workers = [held_by(worker.pid) for worker in shop.status().workers]
    supervisor = held_by(daemon.pid)
    for held in workers:
        assert len([target for target, _ in held if "memfd:flaskd" in target]) == 6, held
        assert len([target for target, _ in held & supervisor if target.startswith("socket:")]) == 1  # HTTP
        assert not any(target.startswith(os.path.dirname(daemon.place.directory)) for target, _ in held)
    one, other = workers
    shared = [target for target, _ in one & other if "memfd:flaskd" in target]
    assert [target.partition(" ")[0] for target in shared] == ["/memfd:flaskd-loads"]


def held_by(pid: int) -> set[tuple[str, int]]:
    """Return what a process holds, each with its inode: memories of one name are told apart by that."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            path = f"/proc/{pid}/fd/{name}"
            found.add((os.readlink(path), os.stat(path).st_ino))
    return found
