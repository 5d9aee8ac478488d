"""The law: no request is lost. Real daemons serve a real application and are stopped under load, many times."""

import concurrent.futures
import dataclasses
import os
import random
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from tests.support.certified import certified
from tests.support.daemons import StartDaemon
from tests.support.exchange import Plan
from tests.support.extent import FULL
from tests.support.load import Load
from tests.support.needs import requires
from tests.support.operating import client
from tests.support.outcome import Report
from tests.support.stopping import Shutdown, shut_down

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def werkzeug(runtime_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every daemon of this module served by Werkzeug; `runtime_dir` clears the settings before."""
    monkeypatch.setenv("FLASKD_ENGINE", "werkzeug")


STOPS = 20 if FULL else 8
SIDE_BY_SIDE = 4
THREADS = 8
MODES: tuple[Literal["closed", "open"], ...] = ("closed", "open")


def _plan(mode: Literal["closed", "open"], seed: int) -> Plan:
    """Vary the load: more clients than threads, and more than twice as many."""
    return Plan(mode=mode, clients=(12, 24)[seed // 2 % 2], rate=(50, 100)[seed // 2 % 2], seed=seed)


def _stop_under_load(start_daemon: StartDaemon, plan: Plan, *args: str, prefix: Sequence[str] = ()) -> Report:
    """Run a daemon, load it, stop it at some moment, and prove that it is gone; return what became of the load.

    By turns the order comes from `flaskd_ctl`, over the wire, and as SIGTERM; now and then in the middle of a reload.
    """
    daemon = start_daemon(
        "httpbin:app", "--threads", str(THREADS), *args, name=f"bin{plan.mode}{plan.seed}", prefix=prefix
    )
    with Load(daemon.url, plan) as load:
        load.wait_answered(random.Random(plan.seed).randrange(30, 150))
        if plan.seed % 4 == 1:
            with client(daemon) as shop:
                shop.reload(wait=False)
            load.wait_answered(load.answered + random.Random(plan.seed).randrange(100))
        if plan.seed % 3 == 0:
            done = shut_down(daemon)
            assert done.returncode == 0, done.stderr
        elif plan.seed % 3 == 1:
            with Shutdown(daemon) as shutdown:
                assert shutdown.result()["clean"]
        else:
            daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
        report = load.end(tail=0.3)
    assert report.refused > 0, "the load did not outlast the stop"
    return report


@pytest.mark.timeout(170)
@pytest.mark.parametrize("mode", MODES)
def test_stops_under_load_lose_nothing(
    start_daemon: StartDaemon, tmp_path: Path, mode: Literal["closed", "open"]
) -> None:
    """Whenever the order comes, all that connected is answered in full, and no kept connection is cut short.

    By turns with one worker and two, over HTTP and, where the engine has it, HTTPS; then with a linger that leaves time for
    requests a second late.
    """
    secured = certified(tmp_path)

    def stop(seed: int) -> Report:
        args, plan = ["--workers", str(1 + seed % 2)], _plan(mode, seed)
        if seed // 4 % 2:
            args += ["--linger", "2", "--threads", str(4 * THREADS)]
            plan = dataclasses.replace(plan, send_delay=1.0, rate=30)
            if os.environ["FLASKD_ENGINE"] != "waitress":
                args += secured.args
                plan = dataclasses.replace(plan, authority=secured.authority)
        return _stop_under_load(start_daemon, plan, *args)

    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        reports = list(pool.map(stop, range(STOPS)))
    lost = [(seed, record) for seed, report in enumerate(reports) for record in report.lost]
    races = [(seed, record) for seed, report in enumerate(reports) for record in report.races]
    print([report.as_json() for report in reports])
    assert (lost, races) == ([], [])
    assert sum(report.ok for report in reports) > STOPS * 30


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "bind",
    [
        pytest.param("[::1]:0", marks=pytest.mark.skipif(not _has_ipv6(), reason="needs IPv6")),
        pytest.param("unix:http", id="unix"),
    ],
)
def test_other_listeners_lose_nothing_either(
    start_daemon: StartDaemon, tmp_path: Path, bind: str, mode: Literal["closed", "open"]
) -> None:
    """IPv6 has a SYN filter of its own; a Unix-domain path is unlinked, then its queue emptied."""
    address = f"unix:{tmp_path}/http" if bind.startswith("unix:") else bind
    reports = [
        _stop_under_load(start_daemon, _plan(mode, seed), "--bind", address) for seed in (100, 101, 102)
    ]
    assert [report.lost for report in reports] == [[], [], []]
    assert [report.races for report in reports] == [[], [], []]


@requires("root", "setpriv")
@pytest.mark.parametrize("mode", MODES)
def test_a_daemon_without_privilege_loses_nothing_either(
    start_daemon: StartDaemon, mode: Literal["closed", "open"]
) -> None:
    """Where the kernel lets only CAP_NET_ADMIN attach the SYN filter, the bound on hops takes its place."""
    unprivileged = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    reports = [
        _stop_under_load(
            start_daemon,
            _plan(mode, seed),
            "--bind",
            address,
            "--workers",
            str(1 + seed % 2),
            prefix=unprivileged,
        )
        for seed, address in ((200, "127.0.0.1:0"), (201, "127.0.0.1:0"), (202, "[::1]:0"))
    ]
    assert [report.lost for report in reports] == [[], [], []]
    assert [report.races for report in reports] == [[], [], []]
