"""Profiles of a real daemon's workers: what is seen, and when they end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from flaskd import Server
from flaskd_ctl import Client
from flaskd_ctl.errors import InvalidParams, NotFound
from flaskd_ctl.protocol import WorkerProfile
from tests.support import gated
from tests.support.caller import Caller
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.gate import Gate
from tests.support.operating import Watch, client, ctl

pytestmark = pytest.mark.live

ROOT: Final = Path(__file__).parents[2]
ENGINES: Final = ["waitress", "granian", "werkzeug"]
LONG: Final = 600.0
"""Seconds of a profile that must not last so long."""


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, runtime_dir: str) -> Iterator[Gate]:
    """Where requests of the application wait until the test lets them go."""
    monkeypatch.setenv("GATE", f"{runtime_dir}/gate")
    with Gate(f"{runtime_dir}/gate") as gate:
        yield gate


def start(start_daemon: StartDaemon, *args: str) -> Daemon:
    return start_daemon("tests.support.faulty:app", *args, cwd=ROOT)


def calls(profile: WorkerProfile) -> list[str]:
    """The functions of the stack that was seen most often, the oldest call first."""
    return [profile.functions[number].function for number in profile.stacks[0].frames]


def until_profiled(shop: Client) -> None:
    """Wait until a profile is under way, without asking for one."""
    deadline = time.monotonic() + PATIENCE
    while not any(entry.command == "profile" and entry.outcome == "begun" for entry in shop.history()):
        assert time.monotonic() < deadline, "no profile has begun"


def until_free(shop: Client) -> float:
    """Wait until no profile is under way; return how long that took."""
    began = time.monotonic()
    while (error := shop.profile(0.1)[0].error) and time.monotonic() < began + PATIENCE:
        assert "is being profiled already" in error
    assert not error
    return time.monotonic() - began


@pytest.mark.parametrize("engine", ENGINES)
def test_a_profile_shows_where_requests_are(start_daemon: StartDaemon, gate: Gate, engine: str) -> None:
    """Of each worker, by endpoint; and only one at a time in each."""
    daemon = start(start_daemon, "--engine", engine, "--workers", "2")
    with Caller(daemon.url) as caller, client(daemon) as shop:
        caller.get("/held/a")
        gate.wait_for("a")

        profiles = shop.profile(0.5, rate=200)
        front = shop.profile(0.2, endpoint="front")
        wrong = shop.profile(0.2, endpoint="nosuch")
        with pytest.raises(NotFound, match="there is no worker 9"):
            shop.profile(0.2, worker=9)
        with pytest.raises(InvalidParams, match="rate"):
            shop.profile(rate=5000)

    (busy,) = [each for each in profiles if each.stacks]
    assert [each.error for each in profiles] == ["", ""]
    assert calls(busy)[-2:] == ["held", "hold"]
    assert "Ledger.__call__" in calls(busy)
    assert 10 < busy.samples <= 100
    assert sum(stack.count for stack in busy.stacks) == busy.samples
    assert [each.stacks for each in front] == [[], []]
    assert all("has no endpoint 'nosuch': the application has" in each.error for each in wrong)


def test_a_profile_ends_with_the_client_that_asked(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Ctrl-C leaves nothing running; the audit log has who it was."""
    daemon = start(start_daemon)
    command = [os.path.join(os.path.dirname(sys.executable), "flaskd_ctl"), "--name", daemon.name]
    with client(daemon) as shop:
        profiling = subprocess.Popen([*command, "profile", "--seconds", "10m"], stderr=subprocess.PIPE)
        until_profiled(shop)
        refused = ctl(daemon.name, "profile", "--seconds", "1")
        profiling.send_signal(signal.SIGINT)
        profiling.communicate(timeout=PATIENCE)

        assert until_free(shop) < LONG / 10
        assert profiling.returncode == 130
        assert refused.returncode == 1
        assert "is being profiled already, for" in refused.stdout
        assert {"profile"} == {entry.command for entry in shop.history()}


def test_a_client_that_has_said_its_last_still_gets_its_profile(start_daemon: StartDaemon) -> None:
    """As `socat` does at the end of its input: it has closed only its half of the connection."""
    daemon = start(start_daemon)
    with socket.socket(socket.AF_UNIX) as half:
        half.settimeout(PATIENCE)
        half.connect(daemon.place.sock)
        half.sendall(b'{"jsonrpc":"2.0","id":1,"method":"profile","params":{"seconds":0.5}}\n')
        half.shutdown(socket.SHUT_WR)
        with half.makefile("rb") as lines:
            (profile,) = json.loads(lines.readline())["result"]["workers"]

    assert (profile["error"], profile["seconds"] >= 0.5) == ("", True)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stop_is_not_delayed_by_a_profile(start_daemon: StartDaemon, engine: str) -> None:
    """The profile ends with the worker; what was seen is still told if there is time."""
    daemon = start(start_daemon, "--engine", engine)
    with client(daemon) as shop, Watch(daemon, "profile", seconds=LONG) as profiling:
        until_profiled(shop)
        began = time.monotonic()

        shop.restart_worker(1)
        (profile,) = profiling.reply()["workers"]

        assert time.monotonic() - began < PATIENCE
        assert (profile["error"] == "ended before it replied") != bool(profile["samples"])
        assert shop.shutdown().clean
    assert daemon.wait() == 0


def test_a_worker_whose_gil_is_held_is_told_as_that(start_daemon: StartDaemon, gate: Gate) -> None:
    """With the command that shows what is known of it."""
    daemon = start(start_daemon)
    with Caller(daemon.url) as stuck, client(daemon) as shop:
        stuck.get("/gil/60")
        gate.wait_for("gil").let_go()

        (profile,) = shop.profile(0.1)
        shop.kill()

    assert profile.error == (
        "did not reply within 5.1 s; something holds the GIL, or it is stopped: try `flaskd_ctl stacks`"
    )


def test_a_server_in_a_program_can_be_profiled(runtime_dir: str, gate: Gate) -> None:
    """With the program's own threads, if they are asked for."""
    with Server(gated.app, bind="127.0.0.1:0", name="inside") as server, Client("inside") as inside:
        with Caller(server.listeners[0]) as caller:
            caller.get("/held")
            held = gate.wait_for("held")
            (requests,) = inside.profile(0.3)
            (every,) = inside.profile(0.3, all_threads=True)
            held.let_go()

        assert (requests.worker, requests.pid, requests.error) == (0, os.getpid(), "")
        assert calls(requests)[-2:] == ["held", "hold"]
        names = {each.function for each in every.functions}
        assert {"hold", "test_a_server_in_a_program_can_be_profiled"} <= names
