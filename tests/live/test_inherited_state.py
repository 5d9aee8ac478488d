"""What a daemon inherits from a careless parent: ignored and blocked signals, a limit of threads."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest

from flaskd_ctl.contract.endpoint import Place
from tests.support.daemons import PATIENCE, StartDaemon, flaskd_run
from tests.support.needs import requires
from tests.support.operating import Watch, children, ctl

pytestmark = pytest.mark.live

SHOP: Final = "import flask\napp = flask.Flask(__name__)\n"


def mask(pid: int, field: str) -> int:
    """Return a signal set of a process (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(f"{field}:"))


@requires("env")
def test_ignored_and_blocked_signals_are_put_right_or_told(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """A parent that ignores SIGCHLD would hide how a worker has ended; one that blocks all would keep it from ending at all."""
    (tmp_path / "shop.py").write_text(SHOP)
    prefix = ["env", "--ignore-signal=CHLD", "--ignore-signal=ALRM", "--ignore-signal=HUP", "--block-signal"]
    daemon = start_daemon("shop:app", cwd=tmp_path, prefix=prefix)
    (worker,) = children(daemon.pid)
    assert mask(worker, "SigBlk") == 0
    assert not mask(daemon.pid, "SigBlk") & 1 << (signal.SIGCHLD - 1)
    with Watch(daemon) as watch:
        os.kill(worker, signal.SIGKILL)
        assert watch.until_incident()["reason"] == "killed by SIGKILL"
        watch.until_worker("serving")
    os.kill(daemon.pid, signal.SIGHUP)
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.wait() == 0
    assert (
        "SIGHUP was ignored when flaskd started (nohup does that) and stays so; use flaskd_ctl"
        in daemon.output()
    )


@requires("root", "setpriv", "prlimit")
def test_a_limit_of_threads_is_told_before_anything_is_started(runtime_dir: str, tmp_path: Path) -> None:
    """libzmq would abort the process. The user has no other process; root has no such limit."""
    (tmp_path / "shop.py").write_text(SHOP)
    uid = str(100_000 + os.getpid())
    user = ["--reuid", uid, "--regid", uid, "--clear-groups"]  # who may read what root installed
    capability = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    command = flaskd_run("shop:app", Place(f"{runtime_dir}/shop"))
    ended = subprocess.run(
        ["setpriv", *user, *capability, "prlimit", "--nproc=4", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "flaskd: flaskd needs 8 threads, and only 2 can be started. Next: raise LimitNPROC="
    )
    assert "Traceback" not in ended.stderr
    assert not os.path.exists(f"{runtime_dir}/shop")


@requires("sh")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_any_closed_standard_descriptor_is_put_right(
    start_daemon: StartDaemon, tmp_path: Path, closed: str
) -> None:
    """It serves, reloads and stops."""
    (tmp_path / "shop.py").write_text(SHOP)
    start_daemon("shop:app", cwd=tmp_path, prefix=["sh", "-c", f'exec "$@" {closed}', "sh"])
    assert ctl("shop", "reload").returncode == 0
    assert ctl("shop", "shutdown").returncode == 0
