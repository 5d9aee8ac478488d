"""Changes by the hundred, at once and in any order, while workers fail: everybody is answered, and truly."""

import contextlib
from concurrent.futures import Future
from typing import Any

from hypothesis import given, settings, strategies as st

from flaskd.supervisor.plan import PAUSES
from flaskd_ctl.errors import ControlError, Failed
from flaskd_ctl.protocol import ReloadResult, RestartResult, ScaleResult
from tests.flaskd.supervisor.conftest import ScriptedWorker, World, a_world


class Operators:
    """Several who give orders, and what they were told; each answer is held to be true when it comes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waiting: list[Future[Any]] = []
        self.lies: list[Any] = []

    def orders(self, what: str, number: int) -> None:
        fleet = self.world.fleet
        with contextlib.suppress(
            ControlError
        ):  # an impossible number, a worker that is no more: told at once
            match what:
                case "reload":
                    self.wait_for(self.world.changes.order_reload(check=None))
                case "reload with workers":
                    self.world.reread(workers=str(1 + number % 4))
                    self.wait_for(self.world.changes.order_reload(check=None))
                case "scale":
                    self.wait_for(self.world.changes.order_scale(to=1 + number % 5, by=None))
                case "one more":
                    self.wait_for(self.world.changes.order_scale(to=None, by=1))
                case "restart":
                    self.wait_for(self.world.changes.order_restart(number))
                case "recycle":
                    for member in fleet.serving[: number % 3]:
                        fleet.replace(member, "max requests")
                case "crash":
                    serving = fleet.serving
                    if serving:
                        self.world.workers[serving[number % len(serving)].id].dies("killed by SIGKILL")

    def wait_for(self, future: "Future[Any]") -> None:
        self.waiting.append(future)
        future.add_done_callback(self.hear)

    def hear(self, future: "Future[Any]") -> None:
        """Compare an answer with what is; a future swallows what its callbacks raise, so it is noted."""
        fleet, serving = self.world.fleet, self.world.serving
        whole = len(serving) == fleet.wanted
        match future.exception() or future.result():
            case ControlError():
                true = True
            case ReloadResult(generation=generation, workers=workers):
                new = all(member.generation >= generation for member in fleet.serving)
                true = new and whole and workers == len(serving)
            case ScaleResult(workers=workers):
                true = whole and workers == len(serving)
            case RestartResult(worker=worker, replaced=replaced):
                true = worker in serving and replaced not in serving
            case _:
                true = False
        if not true:
            self.lies.append((future, serving, fleet.wanted))


happenings = st.lists(
    st.tuples(
        st.sampled_from(
            ["reload", "reload with workers", "scale", "one more", "restart", "recycle", "crash", "wait"]
        ),
        st.integers(1, 12),
        st.sampled_from([0.0, 0.0, 0.3, 0.6, 1.1, 3.0, 40.0]),
    ),
    max_size=20,
)


@settings(max_examples=400)
@given(
    st.integers(1, 4),
    st.lists(st.booleans(), max_size=12),
    st.lists(st.sampled_from([0.1, 0.5, 2.0, 9.0]), max_size=12),
    happenings,
)
def test_everybody_is_answered_and_the_fleet_is_whole_in_the_end(
    workers: int, good: list[bool], leaving: list[float], happenings: list[tuple[str, int, float]]
) -> None:
    """Whatever is ordered and whatever fails: no order is left without an answer, no worker is left due.

    A success is true at the moment when it is told (`Operators.hear`). When starts succeed again, as many serve as are wanted.
    """
    with a_world() as world:
        world.up(workers)
        operators = Operators(world)
        outcomes, times = iter(good), iter(leaving)

        def start(worker: ScriptedWorker) -> None:
            if next(outcomes, True):
                worker.serves(after=1)
            else:
                worker.fails("no module named till", after=0.5)

        world.script = start
        world.leave_script = lambda worker: worker.leaves(after=next(times, 0.5))
        for what, number, pause in happenings:
            operators.orders(what, number)
            world.play(pause)

        world.play(12 * PAUSES[-1])

        assert all(future.done() for future in operators.waiting)
        assert not operators.lies
        assert len(world.serving) == world.fleet.wanted == len(world.fleet.members)
        assert not any(member.due for member in world.fleet.members.values())
        assert not world.fleet.degraded
        assert world.fleet.wanted >= 1


@settings(max_examples=100)
@given(st.integers(1, 4), happenings, st.floats(0, 3))
def test_a_stop_answers_everybody(
    workers: int, happenings: list[tuple[str, int, float]], pause: float
) -> None:
    """Held in the middle of whatever it was, the fleet starts nothing more, and nobody waits."""
    with a_world() as world:
        world.up(workers)
        operators = Operators(world)
        for what, number, wait in happenings:
            operators.orders(what, number)
            world.play(min(wait, 1.0))
        world.play(pause)

        world.fleet.hold()
        started = len(world.workers)
        world.play(100)

        assert all(future.done() for future in operators.waiting)
        assert len(world.workers) == started
        assert {member.state.value for member in world.fleet.members.values()} <= {"serving"}


def test_changes_that_fail_are_undone_and_answered_the_newest_first(world: World) -> None:
    """Whoever puts something back when its change fails puts it back upon what came before."""
    world.up(2)
    world.script = lambda worker: None
    told: list[int] = []
    for number in (3, 5):
        future = world.changes.order_scale(to=number, by=None)
        future.add_done_callback(lambda _, number=number: told.append(number))  # type: ignore[misc]  # not inferred

    world.changes.fail(Failed("no worker can start"))

    assert told == [5, 3]
