"""A stop that meets what should not happen, on real daemons: requests in flight are answered all the same."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from flaskd_ctl.contract.endpoint import Place
from tests.support.caller import Caller
from tests.support.daemons import PATIENCE, Daemon, StartDaemon, flaskd_run
from tests.support.gate import Gate
from tests.support.needs import requires
from tests.support.operating import Watch, client
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

ROOT: Final = Path(__file__).parents[2]
ENGINES: Final = ["waitress", "granian"]
TARGET: Final = "tests.support.faulty:app"
LOADS_SLOWLY: Final = "hold('loading')"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, runtime_dir: str) -> Iterator[Gate]:
    """Where requests of the application wait until the test lets them go."""
    monkeypatch.setenv("GATE", f"{runtime_dir}/gate")
    with Gate(f"{runtime_dir}/gate") as gate:
        yield gate


@requires("root", "unshare", "nsenter", "mount")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_directory_that_became_read_only_costs_no_request(
    start_daemon: StartDaemon, tmp_path: Path, gate: Gate, engine: str
) -> None:
    """The listener's path, the audit log and the note of the stop stay as they are, which the log says."""
    place = tmp_path / "mounted"
    place.mkdir()
    daemon = start_daemon(
        *(TARGET, "--engine", engine, "--bind", f"unix:{place}/http"),
        cwd=ROOT,
        environ={"XDG_STATE_HOME": f"{place}/state"},
        prefix=["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {place}; exec "$@"', "sh"],
    )
    with Caller(f"unix:/proc/{daemon.pid}/root{place}/http") as caller:
        caller.get("/held/request")
        held = gate.wait_for("request")
        within = ["nsenter", "-t", str(daemon.pid), "-m", "mount", "-o", "remount,ro", str(place)]
        subprocess.run(within, check=True)
        with Shutdown(daemon) as shutdown:
            shutdown.wait_phase("leaving")
            held.let_go()
            assert caller.text() == "let go\n"
            assert shutdown.result()["clean"]

    assert daemon.wait() == 0
    output = daemon.output()
    assert f"cannot remove {place}/http: [Errno 30] Read-only file system" in output
    assert "Traceback" not in output


@contextmanager
def loading(runtime_dir: str, log: Path, *args: str) -> Iterator[Daemon]:
    """Start a daemon whose first worker waits at the gate while it loads the application."""
    place = Place(os.path.join(runtime_dir, "shop"))
    with open(log, "wb") as output:
        process = subprocess.Popen(
            flaskd_run(TARGET, place, *args),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "WHEN_IMPORTED": LOADS_SLOWLY},
        )
    daemon = Daemon(process, place, log)
    try:
        yield daemon
    finally:
        daemon.end()


@pytest.mark.parametrize("by", ["command", "signal"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_stop_while_the_first_worker_loads_answers_what_waits(
    runtime_dir: str, tmp_path: Path, gate: Gate, engine: str, by: str
) -> None:
    """The queue waits for the worker, which then answers and stops; nobody is reset."""
    with loading(runtime_dir, tmp_path / "log", "--engine", engine, "--workers", "2") as daemon:
        first, second = gate.wait_for("loading"), gate.wait_for("loading")
        with client(daemon) as shop:
            (url,) = shop.status().listeners
        with Caller(url) as one, Caller(url) as other, Watch(daemon) as watch:
            one.get("/")
            if by == "command":
                with Shutdown(daemon) as shutdown:
                    shutdown.wait_phase("emptying")
                    first.let_go()
                    assert (one.text(), other.get("/").text()) == ("front\n", "front\n")
                    assert shutdown.result()["clean"]
            else:
                os.kill(daemon.pid, signal.SIGTERM)
                watch.until_state("stopping")
                second.let_go()
                assert (one.text(), other.get("/").text()) == ("front\n", "front\n")
        assert daemon.wait() == 0
        assert "nothing lost" in daemon.output()


def test_a_stop_while_the_first_worker_loads_waits_for_nobody_who_is_not_there(
    runtime_dir: str, tmp_path: Path, gate: Gate
) -> None:
    """It does not load to its end."""
    with loading(runtime_dir, tmp_path / "log") as daemon:
        gate.wait_for("loading")
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.wait(PATIENCE) == 0
        assert "nothing lost" in daemon.output()


def test_what_waits_for_a_worker_that_does_not_load_in_time_is_counted(
    runtime_dir: str, tmp_path: Path, gate: Gate
) -> None:
    """The grace period bounds it."""
    with loading(runtime_dir, tmp_path / "log") as daemon:
        gate.wait_for("loading")
        with client(daemon) as shop:
            (url,) = shop.status().listeners
        with Caller(url) as caller, Shutdown(daemon, grace=0.5) as shutdown:
            caller.get("/")
            result = shutdown.result()
        assert (result["clean"], result["queued_cut"]) == (False, 1)
        assert daemon.wait() == 6
