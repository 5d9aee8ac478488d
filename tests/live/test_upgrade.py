"""flaskd is replaced, broken or removed on disk while a daemon runs from it: no request is lost, no two versions are mixed."""

import os
import re
import signal
from pathlib import Path

import pytest

import flaskd
from flaskd_ctl.protocol import StatusResult
from tests.support.caller import Caller, call
from tests.support.daemons import Daemon, StartDaemon
from tests.support.gate import Gate
from tests.support.installation import Installation
from tests.support.operating import Watch, client, ctl

pytestmark = pytest.mark.live

ENGINES = ["waitress", "granian"]
NEWER = "9.9.9"
PAGE = Path(__file__).parents[2] / "docs" / "upgrading.md"

APP = """
import os, socket, flask
def wait(label):
    if os.path.exists(os.environ["GATE"]):
        with socket.socket(socket.AF_UNIX) as gate:
            gate.connect(os.environ["GATE"])
            gate.sendall(f"{label} {os.getpid()}".encode())
            gate.recv(1)
wait("import")
app = flask.Flask(__name__)
@app.get("/")
def front():
    return "answered"
@app.get("/held")
def held():
    wait("request")
    return "answered"
"""


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "site")


@pytest.fixture
def gate_path(runtime_dir: str) -> str:
    return f"{runtime_dir}/gate"


@pytest.fixture
def start(start_daemon: StartDaemon, installation: Installation, tmp_path: Path, gate_path: str) -> "Start":
    (tmp_path / "shop.py").write_text(APP)
    return Start(start_daemon, {**installation.environ, "GATE": gate_path})


class Start:
    """Starts daemons that run from the installation."""

    def __init__(self, start_daemon: StartDaemon, environ: dict[str, str]) -> None:
        self._start_daemon = start_daemon
        self._environ = environ

    def __call__(self, *args: str) -> Daemon:
        return self._start_daemon("shop:app", *args, environ=self._environ)


def status_of(daemon: Daemon) -> StatusResult:
    with client(daemon) as shop:
        return shop.status()


def serving(status: StatusResult) -> list[int]:
    return [worker.id for worker in status.workers if worker.state == "serving"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reload_is_refused_and_a_restart_brings_the_new_version(
    start: Start, installation: Installation, engine: str
) -> None:
    """Nothing has changed; the sentence has both versions and the next step, and so has `status`."""
    daemon = start("--engine", engine)
    installation.install(NEWER)

    done = ctl("shop", "reload")

    assert (done.returncode, done.stdout) == (1, "")
    assert f"flaskd {NEWER} is installed now, but this instance runs {flaskd.__version__}" in done.stderr
    assert "nothing was changed" in done.stderr
    assert "Restart the instance" in done.stderr
    status = status_of(daemon)
    assert (status.versions["flaskd"], status.installed_flaskd) == (flaskd.__version__, NEWER)
    assert (status.state, status.generation, serving(status)) == ("running", 1, [1])
    (shown,) = re.findall(r"^  installed .*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert shown.replace("0.2.0", NEWER) in ctl("shop", "status").stdout
    assert call(daemon.url, "/") == "answered"

    assert ctl("shop", "shutdown").returncode == 0
    status = status_of(start("--engine", engine))
    assert (status.versions["flaskd"], status.installed_flaskd) == (NEWER, NEWER)


def test_a_worker_of_another_version_does_not_replace_one_that_died(
    start: Start, installation: Installation
) -> None:
    """The others serve on, `status` says why one is missing, and the old version, installed again, fills the gap."""
    daemon = start("--workers", "2")
    installation.install(NEWER)

    with Watch(daemon) as watch:
        os.kill(status_of(daemon).workers[0].pid, signal.SIGKILL)
        watch.until_state("degraded")

    status = status_of(daemon)
    assert serving(status) == [2]
    assert status.last_failure is not None
    assert f"flaskd {NEWER} is installed now" in status.last_failure.reason
    assert {call(daemon.url, "/") for _ in range(5)} == {"answered"}

    installation.install(flaskd.__version__)
    with Watch(daemon) as watch:
        done = ctl("shop", "reload")
        assert done.returncode == 0, done.stderr
        watch.until_state("running")


def test_an_upgrade_while_a_worker_loads_keeps_that_worker_out(
    start: Start, installation: Installation, gate_path: str
) -> None:
    """It has perhaps imported modules of both versions."""
    daemon = start()

    with Gate(gate_path) as gate, Watch(daemon, "reload") as reload:
        held = gate.wait_for("import")
        installation.install(NEWER)
        held.let_go()
        refused = reload.reply()

    assert f"flaskd {NEWER} is installed now" in refused["message"]
    assert "1 worker serves on" in refused["message"]
    assert serving(status_of(daemon)) == [1]
    assert call(daemon.url, "/") == "answered"


@pytest.mark.parametrize("missing", ["flaskd/ledger", "flaskd/worker/__main__.py", "flaskd/version.py"])
def test_half_an_installation_fails_the_reload_and_nothing_else(
    start: Start, installation: Installation, missing: str
) -> None:
    """Whatever of it is missing, the worker that serves goes on."""
    daemon = start()
    installation.remove(missing)

    done = ctl("shop", "reload")

    assert done.returncode == 1
    assert "flaskd" in done.stderr
    status = status_of(daemon)
    assert (status.state, serving(status), call(daemon.url, "/")) == ("running", [1], "answered")
    installation.install(flaskd.__version__)
    assert ctl("shop", "reload").returncode == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_daemon_whose_flaskd_was_removed_is_operated_and_stopped_without_a_loss(
    start: Start, installation: Installation, gate_path: str, engine: str
) -> None:
    """All that it needs is loaded: commands answer, the request in flight is answered, and the stop is clean."""
    daemon = start("--engine", engine, "--workers", "2", "--access-log", "common")
    installation.remove()

    done = ctl("shop", "reload")
    assert "no longer completely installed" in done.stderr
    assert "Install flaskd again" in done.stderr
    assert "not completely installed" in ctl("shop", "status").stdout
    for command in ("drain", "resume", "requests", "workers", "incidents", "describe", "scale 1"):
        done = ctl("shop", *command.split())
        assert done.returncode == 0, f"{command}: {done.stderr}"
    with Gate(gate_path) as gate, Caller(daemon.url) as caller, Watch(daemon) as watch:
        caller.get("/held")
        held = gate.wait_for("request")
        os.kill(daemon.pid, signal.SIGTERM)
        watch.until_state("stopping")
        held.let_go()
        assert caller.text() == "answered"
    assert daemon.wait() == 0
    assert "Traceback" not in daemon.output()
