"""What a worker says is believed of itself only, once, and kept short: its application may be anybody's by now."""

import msgspec
import pytest

from flaskd.channel.messages import LONGEST_MESSAGE, LONGEST_TRACE, Loaded, Progress, Ready, Stopped
from flaskd.supervisor.member import LONGEST_CUT, MOST_VERSIONS
from flaskd.supervisor.plan import WorkerState
from flaskd_ctl.errors import NotPermitted
from flaskd_ctl.protocol import InFlight
from tests.flaskd.supervisor.conftest import World

REQUEST = InFlight(id=1, method="GET", path="/", age=1.0, client="::1", thread="t")


def test_a_worker_is_let_in_once_however_often_it_says_that_it_has_loaded(world: World) -> None:
    """Each call that it does not read would be kept for it."""
    world.begin(1)
    worker = world.workers[1]
    worker.receive(Loaded())
    told = worker.calls["Serve"]
    worker.receive(Loaded())
    assert worker.calls["Serve"] is told


def test_a_phase_that_is_none_is_passed_over(world: World) -> None:
    """It changes nothing, and raises nothing into the loop."""
    fleet = world.up(1)
    world.workers[1].receive(Progress("\x1b[2J"))
    world.play(1)
    assert [member.state for member in fleet.members.values()] == [WorkerState.SERVING]


def test_a_reply_of_another_call_is_passed_over(world: World) -> None:
    """A worker that answers `Start` with anything but `Ready` does not serve."""
    world.script = lambda worker: None
    fleet = world.begin(1)
    world.workers[1].calls["Start"].set_result(Stopped(cut=[], connections_cut=0))
    world.play(1)
    assert [member.state for member in fleet.members.values()] == [WorkerState.STARTING]


def test_a_failure_is_kept_short_clean_and_is_a_failure(world: World) -> None:
    """Whatever the worker calls it: it is told in `status`, which has to fit into a message."""
    world.script = lambda worker: None
    fleet = world.begin(1)
    worker = world.workers[1]
    long = "\x1b[2J" + "x" * 1_000_000
    worker.calls["Start"].set_exception(NotPermitted(long, hint=long, data={"traceback": long, "more": long}))
    world.play(1)
    worker.dies("exit code 1")
    world.play(1)
    failure = fleet.history.last_failure
    assert failure is not None
    assert failure.reason.startswith("%1B[2J")
    assert len(failure.reason) < LONGEST_MESSAGE + 10
    assert len(failure.traceback) <= LONGEST_TRACE
    assert worker.reported.failure is not None
    assert (worker.reported.failure.name, list(worker.reported.failure.data)) == ("failed", ["traceback"])


def test_versions_are_few_short_and_clean(world: World) -> None:
    """They are told in `status`, too."""
    world.script = lambda worker: None
    world.begin(1)
    worker = world.workers[1]
    versions = {f"\a{number}": "x" * 1_000_000 for number in range(1000)}
    worker.calls["Start"].set_result(Ready(versions=versions))
    world.play(1)
    assert len(worker.reported.versions) == MOST_VERSIONS
    assert all(name.startswith("%07") and len(text) < 100 for name, text in worker.reported.versions.items())


@pytest.mark.parametrize(
    ("path", "connections", "told"),
    [("/\x1b[2J", 1, (["/%1B[2J"], 1)), ("/" * (LONGEST_CUT + 1), 0, ([], 1))],
)
def test_what_a_worker_reports_as_cut_is_short_and_clean(
    world: World, path: str, connections: int, told: tuple[list[str], int]
) -> None:
    """It is shown on a terminal, and `status` has to fit into a message."""
    world.leave_script = lambda worker: None
    world.up(1)
    worker = world.workers[1]
    worker.stop_gracefully(grace=1, linger=0)
    cut = [msgspec.structs.replace(REQUEST, path=path)]
    worker.calls["StopGracefully"].set_result(Stopped(cut=cut, connections_cut=connections))
    world.play(0.1)
    kept = worker.reported.result
    assert kept is not None
    assert ([request.path for request in kept.cut], kept.connections_cut) == told


def test_one_that_serves_on_without_a_line_is_ended(world: World) -> None:
    """Its line's end told it to leave; nobody can tell it anything else."""
    world.up(1, grace=5)
    worker = world.workers[1]
    worker._watcher.member_lost(worker)
    world.play(14)
    assert [member.state for member in world.fleet.members.values()] == [WorkerState.SERVING]
    world.play(3)
    assert worker not in world.fleet.members.values()
    assert "its channel had ended" in world.fleet.history.incidents.listed(1).incidents[0].reason
