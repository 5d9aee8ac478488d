"""What a worker says is believed of itself only, once, and kept short: its application may be anybody's by now."""

from typing import Any

import pytest

from flaskd.supervisor.member import LONGEST_CUT, LONGEST_SAID, LONGEST_TRACE, MOST_VERSIONS
from flaskd.supervisor.plan import WorkerState
from flaskd_ctl.errors import NotPermitted
from tests.flaskd.supervisor.conftest import World

REQUEST = {"id": 1, "method": "GET", "path": "/", "age": 1.0, "client": "::1", "thread": "t"}


def test_a_worker_is_let_in_once_however_often_it_says_that_it_has_loaded(world: World) -> None:
    """Each call that it does not read would be kept for it."""
    world.begin(1)
    worker = world.workers[1]
    worker._told({"event": "loaded"})
    told = worker.calls["serve"]
    worker._told({"event": "loaded"})
    assert worker.calls["serve"] is told


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event": None},
        {"event": ["progress"]},
        {"event": "progress"},
        {"event": "progress", "phase": ["leaving"]},
        {"event": "progress", "phase": {}},
    ],
)
def test_an_event_that_is_none_is_passed_over(world: World, event: dict[str, Any]) -> None:
    """It changes nothing, and raises nothing into the loop."""
    fleet = world.up(1)
    world.workers[1]._told(event)
    world.play(1)
    assert [member.state for member in fleet.members.values()] == [WorkerState.SERVING]


def test_a_failure_is_kept_short_clean_and_is_a_failure(world: World) -> None:
    """Whatever the worker calls it: it is told in `status`, which has to fit into a message."""
    world.script = lambda worker: None
    fleet = world.begin(1)
    worker = world.workers[1]
    long = "\x1b[2J" + "x" * 1_000_000
    worker.calls["start"].set_exception(NotPermitted(long, hint=long, data={"traceback": long, "more": long}))
    world.play(1)
    worker.dies("exit code 1")
    world.play(1)
    failure = fleet.last_failure
    assert failure is not None
    assert failure.reason.startswith("%1B[2J")
    assert len(failure.reason) < LONGEST_SAID + 10
    assert len(failure.traceback) <= LONGEST_TRACE
    assert worker.failure is not None
    assert (worker.failure.name, list(worker.failure.data)) == ("failed", ["traceback"])


def test_versions_are_few_short_and_clean(world: World) -> None:
    """They are told in `status`, too."""
    world.script = lambda worker: None
    world.begin(1)
    worker = world.workers[1]
    versions = {f"\a{number}": "x" * 1_000_000 for number in range(1000)}
    worker.calls["start"].set_result({"versions": versions})
    world.play(1)
    assert len(worker.versions) == MOST_VERSIONS
    assert all(name.startswith("%07") and len(text) < 100 for name, text in worker.versions.items())


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"cut": [{**REQUEST, "path": "/\x1b[2J"}], "connections_cut": 1}, (["/%1B[2J"], 1)),
        ({"cut": [{**REQUEST, "path": "/" * (LONGEST_CUT + 1)}], "connections_cut": 0}, ([], 1)),
        ({"cut": [], "connections_cut": -1}, None),
        ({"cut": [], "connections_cut": 10**30}, None),
        ({"cut": {}}, None),
    ],
)
def test_what_a_worker_says_it_cut_is_short_clean_and_possible(
    world: World, result: dict[str, Any], told: tuple[list[str], int] | None
) -> None:
    """Or it has said nothing."""
    world.leave_script = lambda worker: None
    world.up(1)
    worker = world.workers[1]
    worker.step_back(grace=1, linger=0)
    worker.calls["step_back"].set_result(result)
    world.play(0.1)
    kept = worker.result and ([request.path for request in worker.result.cut], worker.result.connections_cut)
    assert kept == told


def test_one_that_serves_on_without_a_line_is_ended(world: World) -> None:
    """Its line's end told it to leave; nobody can tell it anything else."""
    world.up(1, grace=5)
    worker = world.workers[1]
    worker._on_lost(worker)
    world.play(14)
    assert [member.state for member in world.fleet.members.values()] == [WorkerState.SERVING]
    world.play(3)
    assert worker not in world.fleet.members.values()
    assert "its line had ended" in world.fleet.incidents.told(1).incidents[0].reason
