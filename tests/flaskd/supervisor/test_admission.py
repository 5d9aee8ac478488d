"""A worker may be killed until it is let in; from then on it may have requests, and steps back like one that serves."""

import pytest

from flaskd.channel.messages import Loaded
from flaskd.supervisor.plan import WorkerState
from tests.flaskd.supervisor.conftest import ScriptedWorker, World

LOADED = Loaded()


def loads(worker: ScriptedWorker) -> None:
    """It says that it has loaded, and nothing more."""
    worker.world.loop.call_later(1, worker.receive, LOADED)


@pytest.mark.parametrize("let_in", [True, False])
def test_a_worker_that_is_wanted_no_more_steps_back_if_it_was_let_in(world: World, let_in: bool) -> None:
    """Else it is killed, which nobody can notice."""
    world.up(1)
    world.script = loads if let_in else lambda worker: None
    world.changes.order_scale(to=2, by=None)
    world.play(2)
    assert ("Serve" in world.workers[2].calls) == let_in

    world.changes.order_scale(to=1, by=None)
    world.play(2)

    assert ("StopGracefully" in world.workers[2].calls) == let_in
    assert world.story[-2:] == (["2 leaving", "2 gone"] if let_in else ["2 starting", "2 gone"])
    assert (world.incidents, world.serving) == ([], [1])


@pytest.mark.parametrize("let_in", [True, False])
def test_a_stop_kills_only_who_was_not_let_in(world: World, let_in: bool) -> None:
    """One that was let in may still come to serve, and helps to empty the queue."""
    fleet = world.up(1)
    world.script = loads if let_in else lambda worker: None
    world.changes.order_reload(check=None)
    world.play(2)

    fleet.hold()
    world.play(1)

    assert (2 in fleet.members) == let_in
    if let_in:
        world.workers[2].serves()
        world.play(1)
        assert world.workers[2].state is WorkerState.SERVING


def test_a_worker_that_was_dismissed_is_not_let_in(world: World) -> None:
    """Its word that it has loaded may be on its way when it is killed."""
    fleet = world.up(1)
    world.script = lambda worker: None
    world.changes.order_reload(check=None)
    world.play(1)
    worker = world.workers[2]
    worker.kill = lambda: None  # type: ignore[method-assign]  # it takes a while

    fleet.hold()
    worker.receive(LOADED)

    assert "Serve" not in worker.calls


def test_a_worker_whose_time_to_start_is_over_is_not_let_in(world: World) -> None:
    """It writes its stacks and is killed then, with whatever it would have accepted."""
    world.up(1)
    world.script = lambda worker: None
    world.changes.order_reload(check=None)
    world.play(1)
    worker = world.workers[2]
    world.fleet.members[2].verdict = ("hung", "did not start in time")

    worker.receive(LOADED)

    assert "Serve" not in worker.calls
