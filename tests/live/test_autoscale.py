"""The number of workers of a real daemon follows the load and loses nothing; an idle one sleeps; the OOM killer is believed."""

import contextlib
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import pytest

from flaskd.supervisor.plan import OOM_PAUSE
from tests.support.cgroups import limited
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.exchange import Plan
from tests.support.extent import FULL
from tests.support.load import Load
from tests.support.needs import requires
from tests.support.operating import Watch, client, ctl
from tests.support.pressure import Pressure
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

Engine = Literal["werkzeug", "granian", "waitress"]
Mode = Literal["closed", "open"]

CYCLES: Final = 20 if FULL else 2
"""One takes about seven seconds."""


class Case(NamedTuple):
    """An engine, and the load meanwhile."""

    engine: Engine
    mode: Mode


CASES: Final = (
    [Case(engine, mode) for engine in get_args(Engine) for mode in get_args(Mode)]
    if FULL
    else [Case("werkzeug", "closed"), Case("granian", "open"), Case("waitress", "closed")]
)

MIB: Final = 1 << 20
HUNGRY: Final = """
from flask import Flask

app = Flask(__name__)
kept = []

@app.get("/")
def index():
    return "ok"

@app.get("/eat")
def eat():
    kept.append(b"x" * (600 << 20))
    return "eaten"
"""


def scaled(watch: Watch, wanted: int) -> dict[str, Any]:
    """Return the event of the change to so many workers."""
    return watch.until(lambda event: event["event"] == "scale" and event["wanted"] == wanted)


@pytest.mark.timeout(400 if FULL else 170)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_cycles_of_growing_and_shrinking_under_load_lose_nothing(
    start_daemon: StartDaemon, case: Case
) -> None:
    """Neither of the load that goes on all the time, nor of the one that comes and goes."""
    args = ["--workers", "2..4", "--threads", "8", "--scale-down-after", "1"]
    daemon = start_daemon("httpbin:app", "--engine", case.engine, *args)
    plan = Plan(mode=case.mode, clients=2, rate=8, send_delay=1.0, think=2.0, seconds=380, count=1_000_000)
    with Watch(daemon) as watch, Load(daemon.url, plan) as load:
        load.wait_answered(10)
        for _ in range(CYCLES):
            with Pressure(daemon.url, 40) as pressure:
                scaled(watch, 4)
                watch.until_worker("serving")
            assert not pressure.failures
            assert pressure.answered
            scaled(watch, 2)
            watch.until_worker("gone")
        report = load.end(tail=0.3)
    print(report.as_json())

    assert (report.lost, report.refused, report.races) == ([], 0, [])
    with client(daemon) as shop:
        assert (shop.status().restarts, shop.incidents()) == (0, [])
    with Shutdown(daemon) as shutdown:
        assert shutdown.result()["clean"]
    assert daemon.wait() == 0


def test_the_number_is_told_everywhere(start_daemon: StartDaemon) -> None:
    """In `status`, `config`, metrics and the audit log; an operator overrides it for a time and gives it back."""
    daemon = start_daemon(
        "httpbin:app",
        "--engine",
        "waitress",
        "--workers",
        "1..2",
        "--threads",
        "2",
        "--scale-down-after",
        "2",
    )
    with Watch(daemon) as watch, client(daemon) as running:
        with Pressure(daemon.url, 6) as pressure:
            event = scaled(watch, 2)
            watch.until_worker("serving")
        assert not pressure.failures
        assert (event["was"], event["minimum"], event["maximum"], event["cause"]) == (1, 1, 2, "threads")
        assert "flaskd_scalings_total" in running.metrics()
        assert "flaskd_workers_maximum 2" in running.metrics()
        held = running.scale(2, for_=600.0)
        assert held.until is not None
        scaling = running.status().scaling
        assert scaling is not None
        assert (scaling.setting, scaling.scaled, scaling.until) == ("1..2", 2, held.until)
        shown = next(each for each in running.config().settings if each.name == "workers")
        assert (shown.value, shown.source, shown.until) == ("2", "scale", held.until)
        time_before = time.monotonic()
        assert "1..2" in ctl(daemon.name, "status").stdout
        assert running.scale(auto=True).until is None
        scaled(watch, 1)
        assert time.monotonic() - time_before < PATIENCE
    told = ctl(daemon.name, "history").stdout
    assert "scale" in told
    assert "itself: 2 of 2 threads were busy" in told


def sleeps(pids: list[int]) -> bool:
    """Tell whether no thread of these processes wakes up for three seconds (proc(5), voluntary context switches)."""

    def switches() -> dict[str, int]:
        found = {}
        for pid in pids:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                status = (thread / "status").read_text().splitlines()
                (line,) = (each for each in status if each.startswith("voluntary"))
                found[f"{pid}/{thread.name}"] = int(line.split()[1])
        return found

    before = switches()
    time.sleep(3.0)
    return switches() == before


@pytest.mark.parametrize("engine", ["waitress", "granian"])
def test_an_idle_instance_makes_no_wakeups(start_daemon: StartDaemon, engine: Engine) -> None:
    """With a range as without: nobody looks at a load that is not there. After requests it sleeps again."""
    daemon = start_daemon("httpbin:app", "--engine", engine, "--workers", "2..8")
    with client(daemon) as running:
        pids = [daemon.pid, *(worker.pid for worker in running.workers())]
    assert_falls_asleep(pids)
    for _ in range(5):
        urllib.request.urlopen(f"{daemon.url}/get", timeout=PATIENCE).read()
    assert_falls_asleep(pids)
    assert len(pids) == 3


def assert_falls_asleep(pids: list[int]) -> None:
    """Wait until the last looks are over, a few seconds after the last request."""
    until = time.monotonic() + PATIENCE
    while not sleeps(pids):
        assert time.monotonic() < until, "it wakes up again and again"


@contextlib.contextmanager
def eating(daemon: Daemon) -> Iterator[None]:
    """Have a worker take more memory than there is; its request gets no answer, or an error."""

    def eat() -> None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{daemon.url}/eat", timeout=PATIENCE).read()

    thread = threading.Thread(target=eat, daemon=True)
    thread.start()
    yield
    thread.join(PATIENCE + 5)


@requires("root")
def test_a_worker_that_the_oom_killer_ends_comes_back_after_a_while(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """A fixed number is the operator's; the incident names the cause, the log the next step. A real kill, in a real group."""
    (tmp_path / "hungry.py").write_text(HUNGRY)
    with limited("oom", memory=320 * MIB) as prefix:
        daemon = start_daemon(
            "hungry:app", "--engine", "waitress", "--workers", "2", name="hungry", prefix=prefix
        )
        with Watch(daemon) as watch, client(daemon) as running:
            with eating(daemon):
                incident = watch.until_incident()
                starting = watch.until_worker("starting")
            assert "out of memory" in incident["reason"]
            assert starting["at"] - incident["at"] >= OOM_PAUSE - 0.1
            watch.until_worker("serving")
            assert running.status().wanted_workers == 2
        assert "out of memory (limit: 320 MiB): the kernel has killed worker" in daemon.output()
        daemon.end()


@requires("root")
def test_auto_fits_a_small_container(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Half a CPU is one worker; more CPUs than the memory has room for are as many workers as have room."""
    (tmp_path / "hungry.py").write_text(HUNGRY.replace("kept = []", "kept = [b'x' * (60 << 20)]"))
    with limited("auto", cpus=0.5, memory=512 * MIB) as prefix:
        checked = subprocess.run(
            [
                *prefix,
                os.path.join(os.path.dirname(sys.executable), "flaskd"),
                "check",
                "hungry:app",
                "--workers",
                "auto",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        assert "--workers auto is 1 here: " in checked.stdout
        daemon = start_daemon(
            "hungry:app", "--engine", "waitress", "--workers", "auto", name="hungry", prefix=prefix
        )
        with client(daemon) as running:
            status = running.status()
        assert (status.wanted_workers, len(status.workers)) == (1, 1)
        assert status.scaling is not None
        assert status.scaling.why.startswith("a CPU quota of 0.5 of ") or os.cpu_count() == 1
        daemon.end()
