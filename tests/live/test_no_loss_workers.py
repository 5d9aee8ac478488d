"""The law across processes: whatever is done to the workers of a loaded daemon, no request is lost and none refused."""

from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import pytest

from tests.support.certified import certified
from tests.support.changing import Change, changes
from tests.support.daemons import StartDaemon
from tests.support.exchange import Plan
from tests.support.extent import FULL
from tests.support.load import Load
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

TIMES: Final = 20 if FULL else 8
Engine = Literal["werkzeug", "granian", "waitress"]
Mode = Literal["closed", "open"]
Scheme = Literal["http", "https"]


class Case(NamedTuple):
    """What is done meanwhile, to what, under which load."""

    what: Change
    engine: Engine
    workers: int
    mode: Mode
    scheme: Scheme


COVERING: Final = [  # each pair of two columns' values is there, for reloads with granian and waitress a little more
    Case("reload", "werkzeug", 1, "closed", "http"),
    Case("reload", "granian", 2, "open", "https"),
    Case("reload", "granian", 1, "closed", "http"),
    Case("scale", "werkzeug", 1, "open", "https"),
    Case("scale", "granian", 2, "closed", "http"),
    Case("restart", "werkzeug", 2, "closed", "https"),
    Case("restart", "granian", 1, "open", "http"),
    Case("scale", "waitress", 1, "closed", "http"),
    Case("reload", "waitress", 2, "open", "http"),
]
ALL: Final = [
    Case(what, engine, workers, mode, scheme)
    for what in get_args(Change)
    for engine in get_args(Engine)
    for workers in (1, 2)
    for mode in get_args(Mode)
    for scheme in get_args(Scheme)
    if (engine, scheme) != ("waitress", "https")
]
CASES: Final = ALL if FULL else COVERING
"""All 60 take a quarter of an hour."""


@pytest.mark.timeout(170)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_changes_under_load_lose_nothing(start_daemon: StartDaemon, tmp_path: Path, case: Case) -> None:
    """A request may come a second after its connect, the next one two seconds later: who leaves waits for both.

    Nobody is refused, since somebody accepts all the time; and since a leaving worker asks its clients to leave in time, no
    kept connection is closed under a request either.
    """
    args = ["--engine", case.engine, "--workers", str(case.workers), "--threads", "8"]
    secured = certified(tmp_path)
    if case.scheme == "https":
        args += secured.args
    plan = Plan(
        mode=case.mode,
        clients=5,
        rate=20,
        send_delay=1.0,
        think=2.0,
        authority=secured.authority,
        seconds=120,
    )
    daemon = start_daemon("httpbin:app", *args)
    with Load(daemon.url, plan) as load:
        load.wait_answered(20)
        changes(daemon, case.what, TIMES, workers=case.workers)
        report = load.end(tail=0.3)
    print(report.as_json())

    assert (report.lost, report.refused, report.races) == ([], 0, [])
    assert report.ok > 2 * TIMES
    with Shutdown(daemon) as shutdown:
        assert shutdown.result()["clean"]
    assert daemon.wait() == 0
    assert "panic" not in daemon.output()


@pytest.mark.parametrize("engine", get_args(Engine))
@pytest.mark.parametrize(("bind", "mode"), [("[::1]:0", "open"), ("unix:http", "closed")])
def test_reloads_lose_nothing_on_other_listeners_either(
    start_daemon: StartDaemon, tmp_path: Path, engine: Engine, bind: str, mode: Mode
) -> None:
    """On IPv6, and on a Unix socket, where a full queue is no wait but an error."""
    address = bind.replace("unix:", f"unix:{tmp_path}/")
    daemon = start_daemon("httpbin:app", "--engine", engine, "--threads", "8", "--bind", address)
    with Load(daemon.url, Plan(mode=mode, clients=8, rate=20)) as load:
        load.wait_answered(20)
        changes(daemon, "reload", TIMES // 2, workers=1)
        report = load.end()
    assert (report.lost, report.refused, report.races) == ([], 0, [])
