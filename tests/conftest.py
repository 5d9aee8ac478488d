"""What every test gets: places of its own, real daemons that end with it, and no silent skips in CI."""

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from flaskd_ctl.contract.endpoint import Place
from tests.support.daemons import Daemon, StartDaemon, flaskd_run, spawn

CI = bool(os.environ.get("FLASKD_CI"))
"""Set by .ci/run: there a skipped test is a failed one."""

# How long an example takes tells how busy the machine is. The rest of hypothesis' own profile stays (in CI, derandomize).
settings.register_profile(
    "flaskd", settings(), deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("flaskd")

_PLACES = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET")


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give each test a runtime directory and a state directory of its own, in a short path (unix(7))."""
    base = tempfile.mkdtemp(prefix="fd-", dir="/tmp")
    settings = [variable for variable in os.environ if variable.startswith("FLASKD_")]
    for variable in (*_PLACES, *settings):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("FLASKD_RUNTIME_DIR", os.path.join(base, "r"))
    monkeypatch.setenv("XDG_STATE_HOME", os.path.join(base, "s"))
    monkeypatch.setenv("XDG_CONFIG_HOME", os.path.join(base, "c"))
    os.mkdir(os.path.join(base, "r"), mode=0o700)
    yield os.path.join(base, "r")
    shutil.rmtree(base)


@pytest.fixture
def start_daemon(runtime_dir: str, tmp_path: Path) -> Iterator[StartDaemon]:
    """Start real daemons: `start_daemon("shop:app", "--threads", "2")`; all are killed at the end."""
    daemons: list[Daemon] = []

    def start(
        target: str,
        *args: str,
        name: str = "shop",
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> Daemon:
        place = Place(os.path.join(runtime_dir, name))
        daemon = spawn(
            [*prefix, *flaskd_run(target, place, *args)],
            place,
            log=tmp_path / f"{name}-{len(daemons)}.log",
            cwd=cwd or tmp_path,
            environ={**os.environ, **(environ or {})},
        )
        daemons.append(daemon)
        return daemon

    yield start
    for daemon in daemons:
        daemon.end()
        print(f"--- {daemon.name}, pid {daemon.pid}, exit {daemon.process.returncode}:\n{daemon.output()}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI: a gate that tests nothing must not be green."""
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
