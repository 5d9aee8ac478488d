"""The law with `--preload`: workers that come from a template lose no request, whatever becomes of them or of the template."""

import itertools
import os
import signal
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

import pytest

from tests.support.changing import changes
from tests.support.daemons import Daemon, StartDaemon
from tests.support.exchange import Plan
from tests.support.extent import FULL
from tests.support.load import Load
from tests.support.operating import Watch, client
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

Event = Literal["reload", "scale", "restart", "recycling", "template killed"]
Engine = Literal["werkzeug", "granian", "waitress"]
Mode = Literal["closed", "open"]


class Case(NamedTuple):
    """What happens meanwhile, to what, under which load."""

    what: Event
    engine: Engine
    workers: int
    mode: Mode


COVERING: Final = [  # each pair of two columns' values is there for the engines and the loads
    Case("reload", "granian", 2, "closed"),
    Case("reload", "waitress", 1, "open"),
    Case("reload", "werkzeug", 2, "closed"),
    Case("scale", "granian", 1, "open"),
    Case("restart", "werkzeug", 1, "open"),
    Case("recycling", "waitress", 2, "closed"),
    Case("template killed", "granian", 2, "closed"),
]
ALL: Final = [
    Case(*each) for each in itertools.product(get_args(Event), get_args(Engine), (1, 2), get_args(Mode))
]
CASES: Final = ALL if FULL else COVERING
TIMES: Final = 20 if FULL else 4


def recyclings(daemon: Daemon, _workers: int) -> None:
    """Wait until so many workers have been replaced because they have served enough."""
    with Watch(daemon) as watch:
        assert {watch.until_worker("leaving")["why"] for _ in range(TIMES)} == {"max requests"}


def kills(daemon: Daemon, workers: int) -> None:
    """Kill the template before each second change: the next worker has another one."""
    with client(daemon) as shop, Watch(daemon) as watch:
        for number in range(TIMES):
            (template,) = shop.status().templates
            if number % 2 == 0:
                os.kill(template.pid, signal.SIGKILL)
                watch.until(lambda event: event["event"] == "template" and event["state"] == "gone")
            shop.restart_worker(max(worker.id for worker in shop.workers() if worker.state == "serving"))
        assert len([each for each in shop.workers() if each.state == "serving"]) == workers


EVENTS: Final[dict[Event, Callable[[Daemon, int], None]]] = {
    "reload": lambda daemon, workers: changes(daemon, "reload", TIMES, workers=workers),
    "scale": lambda daemon, workers: changes(daemon, "scale", TIMES, workers=workers),
    "restart": lambda daemon, workers: changes(daemon, "restart", TIMES, workers=workers),
    "recycling": recyclings,
    "template killed": kills,
}


@pytest.mark.timeout(170)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_nothing_is_lost_refused_or_closed_under_a_request(start_daemon: StartDaemon, case: Case) -> None:
    """A request may come a second after its connect, the next one two seconds later, as without a template."""
    args = ["--preload", "--engine", case.engine, "--workers", str(case.workers), "--threads", "8"]
    if case.what == "recycling":
        args += ["--max-requests", "20", "--max-requests-jitter", "10"]
    daemon = start_daemon("httpbin:app", *args)
    plan = Plan(mode=case.mode, clients=5, rate=20, send_delay=1.0, think=2.0, seconds=120)
    with Load(daemon.url, plan) as load:
        load.wait_answered(20)
        EVENTS[case.what](daemon, case.workers)
        report = load.end(tail=0.3)
    print(report.as_json())

    assert (report.lost, report.refused, report.races) == ([], 0, [])
    assert report.ok >= 2 * TIMES
    with Shutdown(daemon) as shutdown:
        assert shutdown.result()["clean"]
    assert daemon.wait() == 0
    assert "panic" not in daemon.output()
