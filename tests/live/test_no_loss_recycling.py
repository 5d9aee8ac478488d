"""The law while workers are replaced by themselves, because they have answered enough: no request is lost, none refused."""

import itertools
from typing import Final, Literal

import pytest

from tests.support.daemons import StartDaemon
from tests.support.exchange import Plan
from tests.support.extent import FULL
from tests.support.load import Load
from tests.support.operating import Watch, client
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

TIMES: Final = 20 if FULL else 8

Mode = Literal["closed", "open"]
Case = tuple[str, int, Mode]

MODES: Final[tuple[Mode, ...]] = ("closed", "open")
COVERING: Final[list[Case]] = [("werkzeug", 2, "closed"), ("granian", 1, "open"), ("granian", 2, "closed")]
ALL: Final[list[Case]] = list(itertools.product(("werkzeug", "granian"), (1, 2), MODES))
CASES: Final = ALL if FULL else COVERING
"""Each takes half a minute."""


@pytest.mark.timeout(170)
@pytest.mark.parametrize(("engine", "workers", "mode"), CASES)
def test_recyclings_under_load_lose_nothing(
    start_daemon: StartDaemon, engine: str, workers: int, mode: Mode
) -> None:
    """Nobody asked for any of them, and nobody is to notice."""
    recycling = ["--max-requests", "20", "--max-requests-jitter", "10"]
    daemon = start_daemon(
        "httpbin:app", "--engine", engine, "--workers", str(workers), "--threads", "8", *recycling
    )
    plan = Plan(mode=mode, clients=8, rate=40, send_delay=1.0, think=2.0, seconds=120)
    with Watch(daemon) as watch, Load(daemon.url, plan) as load:
        whys = [watch.until_worker("leaving")["why"] for _ in range(TIMES)]
        report = load.end(tail=0.3)
    print(report.as_json())

    assert (report.lost, report.refused, report.races) == ([], 0, [])
    assert set(whys) == {"max requests"}
    with client(daemon) as shop:
        assert (shop.status().restarts, shop.incidents()) == (0, [])
    with Shutdown(daemon) as shutdown:
        assert shutdown.result()["clean"]
    assert daemon.wait() == 0
